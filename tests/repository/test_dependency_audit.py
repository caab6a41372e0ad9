"""Locked packages: pinned by hash, redistributable, and checked for vulnerabilities."""

import re
from importlib.metadata import metadata
from typing import Any

import audit
import pytest

from tests.support import ROOT
from tests.support.lock_files import read_lock

# Licences under which a package may be redistributed with an MIT program, also in a single file.
FREE_LICENCES = {
    *("MIT", "MIT-0", "BSD-2-Clause", "BSD-3-Clause", "Apache-2.0", "MPL-2.0", "PSF-2.0", "TCL"),
}
# What older packages write instead of an SPDX name.
LICENCE_ALIASES = {"MIT License": "MIT", "Apache License 2.0": "Apache-2.0"}
LICENCE_CLASSIFIERS = {
    "License :: OSI Approved :: MIT License": "MIT",
    "License :: OSI Approved :: Apache Software License": "Apache-2.0",
}


@pytest.mark.parametrize("name", audit.LOCKS)
def test_every_package_is_pinned_by_version_and_hash_and_comes_from_the_index(name: str) -> None:
    assert len(read_lock(name)) > 10
    text = (ROOT / name).read_text()
    assert not re.search(r"(?m)^(-|.*(://|@ |\.whl|\.git))", text.replace("# ", "#"))


def test_every_lock_file_is_audited() -> None:
    assert set(audit.LOCKS) == {path.name for path in ROOT.glob("*.lock")}


def licences(package: str) -> set[str]:
    """Return the licences of an installed package by their SPDX names."""
    fields = metadata(package)
    text = fields.get("License-Expression") or fields.get("License") or ""
    text = LICENCE_ALIASES.get(text, text)
    if not text:
        classifiers = fields.get_all("Classifier") or []
        names = {each for each in classifiers if each.startswith("License ::")}
        return {LICENCE_CLASSIFIERS.get(each, each) for each in names}
    return set(re.split(r" AND | OR |[()]", text)) - {""}


@pytest.mark.parametrize("package", sorted(read_lock("requirements.lock")))
def test_licence_of_every_served_package_allows_redistribution(package: str) -> None:
    assert licences(package)
    assert licences(package) <= FREE_LICENCES


def report(*packages: dict[str, Any]) -> dict[str, Any]:
    """Return the JSON that pip-audit prints for these packages."""
    return {"dependencies": list(packages), "fixes": []}


CLEAN = {"name": "tornado", "version": "6.6.1", "vulns": []}
VULNERABLE = {
    "name": "tornado",
    "version": "6.4.0",
    "vulns": [
        {"id": "PYSEC-1", "fix_versions": ["6.4.2", "6.5"], "aliases": [], "description": ""}
    ],
}
SKIPPED = {"name": "uvloop", "skip_reason": "could not be found"}


@pytest.mark.parametrize(
    ("output", "status", "line"),
    [
        (report(CLEAN), 0, "1 packages checked, 0 known vulnerabilities"),
        (report(CLEAN, VULNERABLE), 1, "tornado 6.4.0: PYSEC-1, fixed in 6.4.2, 6.5"),
        (report(CLEAN, SKIPPED), 2, "not checked: uvloop: could not be found"),
        (report(VULNERABLE, SKIPPED), 1, "not checked: uvloop: could not be found"),
        (report(), 2, "0 packages checked, 0 known vulnerabilities"),
        ({"failed": ["no network"]}, 2, "not checked: no network"),
    ],
)
def test_audit_succeeds_only_if_every_package_was_checked(
    output: Any, status: int, line: str
) -> None:
    lines, found = audit.summarize(output)
    assert found == status
    assert line in lines
