"""What is served with: pinned by hash, under licences that go with ours, and looked up."""

import re
import runpy
from importlib.metadata import metadata
from typing import Any

import pytest

from tests.support import ROOT

LOCKS = ("requirements.lock", "requirements-dev.lock", "requirements-dist.lock")
audit = runpy.run_path(str(ROOT / "deploy" / "audit.py"))
installer = runpy.run_path(str(ROOT / "deploy" / "install.py"))
# What a program under the MIT licence may be handed on with, also as one file.
FREE = {"MIT", "MIT-0", "BSD-2-Clause", "BSD-3-Clause", "Apache-2.0", "MPL-2.0", "PSF-2.0", "TCL"}
# Words that packages of before say instead.
ALSO = {"MIT License": "MIT", "Apache License 2.0": "Apache-2.0", "": ""}
CLASSIFIERS = {
    "License :: OSI Approved :: MIT License": "MIT",
    "License :: OSI Approved :: Apache Software License": "Apache-2.0",
}


@pytest.mark.parametrize("name", LOCKS)
def test_every_package_is_pinned_by_version_and_hash_and_comes_from_the_index(name: str) -> None:
    # It refuses whatever has no version and no SHA-256.
    lock = installer["read_lock"](ROOT / name)
    assert len(lock) > 10
    text = (ROOT / name).read_text()
    assert not re.search(r"(?m)^(-|.*(://|@ |\.whl|\.git))", text.replace("# ", "#"))
    assert name in audit["LOCKS"]


def licences(package: str) -> set[str]:
    """The licences of an installed package, by their SPDX names."""
    told = metadata(package)
    said = told.get("License-Expression") or ALSO.get(told.get("License") or "") or ""
    said = said or (told.get("License") or "")
    if not said:
        return {CLASSIFIERS.get(each, each) for each in told.get_all("Classifier") or []
                if each.startswith("License ::")}  # fmt: skip
    return set(re.split(r" AND | OR |[()]", said)) - {""}


@pytest.mark.parametrize("package", sorted(installer["read_lock"](ROOT / LOCKS[0])))
def test_what_serves_may_be_handed_on(package: str) -> None:
    assert licences(package)
    assert licences(package) <= FREE


def said(*packages: dict[str, Any]) -> dict[str, Any]:
    return {"dependencies": list(packages), "fixes": []}


CLEAN = {"name": "tornado", "version": "6.6.1", "vulns": []}
KNOWN = {
    "name": "tornado",
    "version": "6.4.0",
    "vulns": [
        {"id": "PYSEC-1", "fix_versions": ["6.4.2", "6.5"], "aliases": [], "description": ""}
    ],
}
SKIPPED = {"name": "uvloop", "skip_reason": "could not be found"}


@pytest.mark.parametrize(
    ("told", "status", "line"),
    [
        (said(CLEAN), 0, "1 packages looked up, 0 vulnerabilities known"),
        (said(CLEAN, KNOWN), 1, "tornado 6.4.0: PYSEC-1, mended in 6.4.2, 6.5"),
        (said(CLEAN, SKIPPED), 2, "not looked up: uvloop: could not be found"),
        (said(KNOWN, SKIPPED), 1, "not looked up: uvloop: could not be found"),
        (said(), 2, "0 packages looked up, 0 vulnerabilities known"),
        ({"failed": ["no network"]}, 2, "not looked up: no network"),
    ],
)
def test_an_audit_is_good_news_only_if_all_was_looked_up(told: Any, status: int, line: str) -> None:
    lines, found = audit["judge"](told)
    assert found == status
    assert line in lines
