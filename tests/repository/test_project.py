"""The repository itself: what is locked, named, committed and run."""

import ast
import os
import re
import runpy
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

CODE = (
    *("app", "commands", "demo", "handlers", "background", "imports"),
    *("store", "domain", "httpserver"),
)
# Besides folders of code: what each is for can be read in the README.
FOLDERS = {"static", "templates", "tests", "bench", "client", "deploy", "docs", ".ci"}
FILES = {"server.py"}
TOOLS = {"setup.cfg", "ruff.toml", "Makefile", "Dockerfile", ".dockerignore"}
PAPERS = {"README.md", "CHANGELOG.md", "SECURITY.md", "LICENSE", ".gitignore"}
LOCKS = {"requirements.lock", "requirements-dev.lock", "requirements-dist.lock"}
# Written so that they do not find themselves.
FORBIDDEN = re.compile(
    r"pypi[.]org|python[h]osted|npmjs[.]|deb[.]debian|golang[.]org/sumdb|proxy[.]golang"
    r"|(?<![\w.])/[w]ork/|/[r]oot/[.]"
)
installer = runpy.run_path(str(ROOT / "deploy" / "install.py"))


@pytest.fixture(scope="module")
def config() -> ConfigParser:
    parser = ConfigParser(interpolation=None)
    parser.read(ROOT / "setup.cfg")
    return parser


def tracked() -> list[Path]:
    """Every committed file."""
    # As root, git does not read another's clone unless told so.
    command = ["git", "-c", "safe.directory=*", "ls-files", "-z"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"not a git checkout: {done.stderr.strip()}")
    return [ROOT / name for name in done.stdout.split("\0") if name]


def requirements(lines: str) -> list[Requirement]:
    return [Requirement(line) for line in lines.splitlines() if line and line[0] != "#"]


@pytest.mark.parametrize("name", sorted(LOCKS))
def test_the_lock_has_every_dependency_within_its_range(config: ConfigParser, name: str) -> None:
    wanted = requirements(config["options"]["install_requires"])
    for extra, lines in config["options.extras_require"].items():
        if extra in name:
            wanted += requirements(lines)
    lock = installer["read_lock"](ROOT / name)
    for one in wanted:
        version, _ = lock[installer["plain"](one.name)]
        assert one.specifier.contains(version), f"{one} is locked at {version}: `make lock`"


@pytest.mark.parametrize("name", sorted(LOCKS))
def test_tests_run_on_the_very_packages_that_serve_and_so_does_the_one_file(name: str) -> None:
    serves = installer["read_lock"](ROOT / "requirements.lock")
    others = installer["read_lock"](ROOT / name)
    assert serves.items() <= others.items()


def imported(paths: Iterable[Path]) -> dict[str, Path]:
    """Top-level names that are imported, each with a file that does."""
    names = {}
    for path in paths:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                names.update({alias.name.partition(".")[0]: path for alias in node.names})
            elif isinstance(node, ast.ImportFrom) and node.module:
                names[node.module.partition(".")[0]] = path
    return names


def test_what_serves_imports_exactly_what_it_requires(config: ConfigParser) -> None:
    files = [*ROOT.glob("*.py"), *(path for name in CODE for path in (ROOT / name).rglob("*.py"))]
    ours = {path.stem for path in ROOT.glob("*.py")} | set(CODE)
    providers = packages_distributions()
    used = {
        installer["plain"](providers[name][0])
        for name in imported(files)
        if name not in ours and name not in sys.stdlib_module_names
    }
    required = {one.name for one in requirements(config["options"]["install_requires"])}
    # zoneinfo finds tzdata by itself, on machines that have no time zones of their own.
    assert used == required - {"tzdata"}


def test_no_committed_file_names_a_registry_or_a_place_of_one_machine() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()[:80]}"
        for path in tracked()
        if path.is_file()
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1)
        if FORBIDDEN.search(line)
    ]
    assert found == []


def test_nothing_lies_at_the_top_that_has_no_place_there() -> None:
    there = {path.relative_to(ROOT).parts[0] for path in tracked()}
    assert there - FOLDERS - FILES - TOOLS - PAPERS - LOCKS - set(CODE) == set()


def test_the_changelog_tells_of_this_version(config: ConfigParser) -> None:
    versions = re.findall(r"(?m)^## ([\d.]+)", (ROOT / "CHANGELOG.md").read_text())
    assert config["metadata"]["version"] == "attr: domain.common.version.VERSION"
    assert versions[0] == VERSION


@pytest.mark.skipif(not shutil.which("make"), reason="make is not installed")
def test_make_alone_tells_of_every_target_for_people() -> None:
    said = subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    phony = re.search(r"(?m)^\.PHONY: (.*)$", (ROOT / "Makefile").read_text())
    assert phony
    told = set(re.findall(r"(?m)^make (\S+) +\S", said))
    assert set(phony[1].split()) - told == {"install-dev"}


@pytest.mark.skipif(not shutil.which("make"), reason="make is not installed")
def test_make_run_serves_the_sample_and_says_where(tmp_path: Path) -> None:
    # `make test` would hand its own variables down.
    env = {name: value for name, value in os.environ.items() if not name.startswith("M")}
    command = ["timeout", "--foreground", "60", "make", "run", "PORT=0", f"DATA={tmp_path / 'd'}"]
    with subprocess.Popen(
        command, cwd=ROOT, env=env, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        try:
            assert process.stdout
            said = iter(process.stdout)
            pages = (re.search(r"a campaign +(http://\S+)", line) for line in said)
            page = next((match[1] for match in pages if match), None)
            assert page, "it ended before it said where"
            with urllib.request.urlopen(page, timeout=120) as answer:
                assert b"<img" in answer.read()
        finally:
            os.killpg(process.pid, signal.SIGTERM)
        assert process.wait(120) != 124
    assert (tmp_path / "d" / "marquee.db").exists()


def run_pytest(folder: Path, *options: str) -> str:
    """What pytest says of the test files in `folder`, under this project's conftest."""
    (folder / "conftest.py").write_text((ROOT / "tests" / "conftest.py").read_text())
    command = [sys.executable, "-m", "pytest", "-c", ROOT / "setup.cfg", "--rootdir", folder]
    plain = ["-p", "no:cacheprovider", "--color=no", *options, folder]
    return subprocess.run([*command, *plain], capture_output=True, text=True, check=False).stdout


SKIPS = """
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


def test_a_skip_is_a_failure_where_all_is_installed(tmp_path: Path) -> None:
    (tmp_path / "test_some.py").write_text(SKIPS)
    assert "1 passed, 3 skipped, 1 xfailed in " in run_pytest(tmp_path)
    said = run_pytest(tmp_path, "--no-skips")
    assert "2 failed, 1 passed, 1 xfailed, 1 error in " in said
    for reason in ("no chromium", "no gcc", "no nginx"):
        assert f"{reason} (and --no-skips is set)" in said


def test_a_file_that_skips_itself_is_a_failure_where_all_is_installed(tmp_path: Path) -> None:
    (tmp_path / "test_some.py").write_text("import pytest\npytest.importorskip('nowhere')\n")
    assert "1 skipped in " in run_pytest(tmp_path)
    assert "1 error in " in run_pytest(tmp_path, "--no-skips")


OPEN = """
import asyncio
from store.sqlite.core.database import Database

def test_fails(tmp_path):
    async def run():
        await Database.open(tmp_path / "a.db")
        assert False

    asyncio.run(run())

def test_closes_nothing(tmp_path):
    asyncio.run(Database.open(tmp_path / "a.db"))

def test_closes_in_a_turn_of_its_own(tmp_path):
    database = asyncio.run(Database.open(tmp_path / "a.db"))
    asyncio.run(database.close())
"""


def test_a_test_that_leaves_a_database_open_fails_and_hangs_nothing(tmp_path: Path) -> None:
    (tmp_path / "test_some.py").write_text(OPEN)
    said = run_pytest(tmp_path)
    assert "1 failed, 2 passed, 1 error in " in said
    assert "4 connections to databases were left open" in said


STUBS = {
    "dpkg-query": '[[ " $HAVE " == *" ${@: -1} "* ]] && echo "install ok installed"',
    "apt-get": 'echo "apt-get $*"; [[ $APT == well ]]',
    "make": 'echo "make $*"; [[ " $FAIL " != *" $1 "* ]]',
    "sleep": ":",
    "id": "echo 0",
}
EVERYTHING = (
    "ca-certificates curl git make openssl procps python3 python3-venv "
    "chromium chromium-driver gcc libc6-dev strace nginx caddy slowhttptest "
    "libpython3-dev systemd"
)


@pytest.mark.parametrize(
    ("have", "apt", "fail", "code", "steps"),
    [
        (EVERYTHING, "ill", "", 0, ["make install-dev", "make lint", "make dist", "make test"]),
        ("make git", "well", "", 0, ["apt-get update", "apt-get install", "make install-dev"]),
        ("make git", "ill", "", 1, ["apt-get update"] * 4),
        (
            EVERYTHING,
            "well",
            "lint",
            1,
            ["make install-dev", "make lint", "make dist", "make test"],
        ),
        (
            EVERYTHING,
            "well",
            "dist",
            1,
            ["make install-dev", "make lint", "make dist", "make test"],
        ),
        (
            EVERYTHING,
            "well",
            "test",
            1,
            ["make install-dev", "make lint", "make dist", "make test"],
        ),
        (EVERYTHING, "well", "install-dev", 1, ["make install-dev", "make install-dev"]),
    ],
)
def test_ci_installs_what_is_missing_and_fails_when_a_check_does(
    tmp_path: Path, have: str, apt: str, fail: str, code: int, steps: list[str]
) -> None:
    (tmp_path / ".ci").mkdir()
    (tmp_path / ".ci" / "run").write_bytes((ROOT / ".ci" / "run").read_bytes())
    for name, body in STUBS.items():
        stub = tmp_path / "bin" / name
        stub.parent.mkdir(exist_ok=True)
        stub.write_text(f"#!/bin/bash\n{body}\n")
        stub.chmod(0o755)
    env = {"PATH": f"{tmp_path}/bin:{os.environ['PATH']}", "HAVE": have, "APT": apt, "FAIL": fail}
    done = subprocess.run(
        ["bash", ".ci/run"], cwd=tmp_path, env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == code
    ran = [line for line in done.stdout.splitlines() if line.startswith(("make ", "apt-get "))]
    assert [" ".join(line.split()[:2]) for line in ran][: len(steps)] == steps
    assert all("--no-skips" in line for line in ran if line.startswith("make test"))


def test_each_migration_has_a_number_of_its_own_without_a_gap() -> None:
    numbers = [
        int(file.name[:3]) for file in sorted((ROOT / "store/sqlite/migrations").glob("*.sql"))
    ]
    assert numbers == [*range(1, len(numbers) + 1)]


@pytest.mark.parametrize("paper", ["README.md", "bench/README.md", "SECURITY.md"])
def test_what_a_paper_names_is_there(paper: str) -> None:
    text = (ROOT / paper).read_text()
    named = re.findall(r"(?<![\w/])(?:tests|bench|docs|deploy|client)/[\w./-]*\w", text)
    assert named
    assert [each for each in named if not (ROOT / each).exists()] == []
