"""The repository itself: dependencies, committed files, make targets and CI."""

import ast
import os
import re
import shutil
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterable
from configparser import ConfigParser
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from domain.common.version import VERSION
from tests.support import ROOT
from tests.support.lock_files import normalize_name, read_lock

CODE = (
    *("app", "commands", "demo", "handlers", "background", "imports"),
    *("store", "domain", "httpserver"),
)
# Top-level entries besides the folders of code.
FOLDERS = {"static", "templates", "tests", "bench", "client", "deploy", "docs", ".ci"}
FILES = {"server.py"}
TOOLS = {"setup.cfg", "ruff.toml", "Makefile", "Dockerfile", ".dockerignore"}
DOCUMENTS = {
    *("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md", "LICENSE", ".gitignore"),
}
LOCKS = {"requirements.lock", "requirements-dev.lock", "requirements-dist.lock"}
# Package registries and paths of one machine; the brackets keep this file from matching itself.
FORBIDDEN = re.compile(
    r"pypi[.]org|python[h]osted|npmjs[.]|deb[.]debian|golang[.]org/sumdb|proxy[.]golang"
    r"|(?<![\w.])/[w]ork/|/[r]oot/[.]"
)


@pytest.fixture(scope="module")
def config() -> ConfigParser:
    parser = ConfigParser(interpolation=None)
    parser.read(ROOT / "setup.cfg")
    return parser


def tracked() -> list[Path]:
    """Return every committed file."""
    # As root, git refuses to read a clone that belongs to another user.
    command = ["git", "-c", "safe.directory=*", "ls-files", "-z"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"not a git checkout: {done.stderr.strip()}")
    return [ROOT / name for name in done.stdout.split("\0") if name]


def requirements(lines: str) -> list[Requirement]:
    return [Requirement(line) for line in lines.splitlines() if line and line[0] != "#"]


@pytest.mark.parametrize("name", sorted(LOCKS))
def test_lock_file_has_every_dependency_within_its_range(config: ConfigParser, name: str) -> None:
    wanted = requirements(config["options"]["install_requires"])
    for extra, lines in config["options.extras_require"].items():
        if extra in name:
            wanted += requirements(lines)
    lock = read_lock(name)
    for one in wanted:
        version = lock[normalize_name(one.name)]
        assert one.specifier.contains(version), f"{one} is locked at {version}: `make lock`"


@pytest.mark.parametrize("name", sorted(LOCKS))
def test_tests_and_single_file_use_the_package_versions_of_the_server(name: str) -> None:
    assert read_lock("requirements.lock").items() <= read_lock(name).items()


def imported(paths: Iterable[Path]) -> dict[str, Path]:
    """Map each imported top-level package to a file that imports it."""
    names = {}
    for path in paths:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                names.update({alias.name.partition(".")[0]: path for alias in node.names})
            elif isinstance(node, ast.ImportFrom) and node.module:
                names[node.module.partition(".")[0]] = path
    return names


def test_server_imports_exactly_the_packages_it_requires(config: ConfigParser) -> None:
    files = [*ROOT.glob("*.py"), *(path for name in CODE for path in (ROOT / name).rglob("*.py"))]
    ours = {path.stem for path in ROOT.glob("*.py")} | set(CODE)
    providers = packages_distributions()
    used = {
        normalize_name(providers[name][0])
        for name in imported(files)
        if name not in ours and name not in sys.stdlib_module_names
    }
    required = {one.name for one in requirements(config["options"]["install_requires"])}
    # zoneinfo loads tzdata itself on machines without a time zone database.
    assert used == required - {"tzdata"}


def test_no_committed_file_names_a_registry_or_a_path_of_one_machine() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()[:80]}"
        for path in tracked()
        if path.is_file()
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1)
        if FORBIDDEN.search(line)
    ]
    assert found == []


def test_top_level_has_only_known_entries() -> None:
    entries = {path.relative_to(ROOT).parts[0] for path in tracked()}
    assert entries - FOLDERS - FILES - TOOLS - DOCUMENTS - LOCKS - set(CODE) == set()


def test_changelog_begins_with_this_version(config: ConfigParser) -> None:
    versions = re.findall(r"(?m)^## \[([\d.]+)\]", (ROOT / "CHANGELOG.md").read_text())
    assert config["metadata"]["version"] == "attr: domain.common.version.VERSION"
    assert versions[0] == VERSION


@pytest.mark.skipif(not shutil.which("make"), reason="make is not installed")
def test_make_without_target_lists_every_target() -> None:
    output = subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    phony = re.search(r"(?m)^\.PHONY: (.*)$", (ROOT / "Makefile").read_text())
    assert phony
    listed = set(re.findall(r"(?m)^make (\S+) +\S", output))
    assert set(phony[1].split()) - listed == {"install-dev"}


@pytest.mark.skipif(not shutil.which("make"), reason="make is not installed")
def test_make_run_serves_sample_data_and_prints_its_address(tmp_path: Path) -> None:
    # `make test` would pass its own variables on.
    env = {name: value for name, value in os.environ.items() if not name.startswith("M")}
    command = ["timeout", "--foreground", "60", "make", "run", "PORT=0", f"DATA={tmp_path / 'd'}"]
    with subprocess.Popen(
        command, cwd=ROOT, env=env, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        try:
            assert process.stdout
            pages = (re.search(r"campaign +(http://\S+)", line) for line in process.stdout)
            page = next((match[1] for match in pages if match), None)
            assert page, "the server ended before it printed an address"
            with urllib.request.urlopen(page, timeout=120) as response:
                assert b"<img" in response.read()
        finally:
            os.killpg(process.pid, signal.SIGTERM)
        assert process.wait(120) != 124
    assert (tmp_path / "d" / "marquee.db").exists()


SKIPPING = """
import unittest
import pytest

def test_calls_skip():
    pytest.skip("no chromium")

@pytest.mark.skipif(True, reason="no gcc")
def test_is_marked(): pass

class Old(unittest.TestCase):
    @unittest.skip("no nginx")
    def test_old(self): pass

@pytest.mark.xfail
def test_expected(): assert False

def test_passes(): pass
"""


def test_no_skips_option_turns_every_skip_into_a_failure(tmp_path: Path) -> None:
    (tmp_path / "test_tests.py").write_text(SKIPPING)
    (tmp_path / "test_file.py").write_text("import pytest\npytest.importorskip('nowhere')\n")
    (tmp_path / "conftest.py").write_text((ROOT / "tests" / "conftest.py").read_text())
    command = [sys.executable, "-m", "pytest", "-c", ROOT / "setup.cfg", "--rootdir", tmp_path]
    command += ["-p", "no:cacheprovider", "--color=no", "--continue-on-collection-errors"]
    command += ["--no-skips", tmp_path]
    output = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    assert "2 failed, 1 passed, 1 xfailed, 2 errors in " in output
    for reason in ("no chromium", "no gcc", "no nginx", "could not import 'nowhere'"):
        assert reason in output


def test_ci_fails_if_a_check_fails_and_still_runs_the_tests(tmp_path: Path) -> None:
    (tmp_path / ".ci").mkdir()
    shutil.copy(ROOT / ".ci" / "run", tmp_path / ".ci")
    stubs = {
        "dpkg-query": 'echo "install ok installed"',
        "make": 'echo "make $*"; [[ $1 != lint ]]',
    }
    for name, body in stubs.items():
        stub = tmp_path / "bin" / name
        stub.parent.mkdir(exist_ok=True)
        stub.write_text(f"#!/bin/bash\n{body}\n")
        stub.chmod(0o755)
    env = {"PATH": f"{tmp_path}/bin:{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", ".ci/run"], cwd=tmp_path, env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    steps = ["make install-dev", "make lint", "make dist", "make test ARGS=--no-skips"]
    assert done.stdout.splitlines() == [*steps, "ci: failed: lint"]


def test_migrations_are_numbered_without_gaps() -> None:
    numbers = [
        int(file.name[:3]) for file in sorted((ROOT / "store/sqlite/migrations").glob("*.sql"))
    ]
    assert numbers == [*range(1, len(numbers) + 1)]
