"""That each import contract of setup.cfg is broken by what it forbids, in modules yet unknown.

The forbidden imports are added to one graph of the code, as to read the code for each of them, as
`lint-imports` does, would take a minute. That the program does the same is shown of one.
"""

import os
import re
import shutil
import subprocess
import sys
from configparser import ConfigParser
from copy import deepcopy
from pathlib import Path, PurePath

import grimp
import pytest
from importlinter import configuration
from importlinter.application.use_cases import read_user_options
from importlinter.contracts.acyclic_siblings import AcyclicSiblingsContract
from importlinter.contracts.forbidden import ForbiddenContract
from importlinter.contracts.independence import IndependenceContract
from importlinter.contracts.layers import LayersContract

ROOT = Path(__file__).parent.parent
PACKAGES = ("wire", "rules", "store", "loops", "handlers", "checks", "commands")
LINT = Path(sys.executable).parent / "lint-imports"

# Contract, then files and what they import.
BREAKS = [
    ("floors", {"rules/new.py": "store.database"}),
    ("floors", {"store/new.py": "loops"}),
    ("floors", {"loops/new.py": "handlers.base"}),
    ("floors", {"handlers/new.py": "commands"}),
    ("floors", {"handlers/new.py": "checks"}),
    ("floors", {"checks/new.py": "commands"}),
    ("roof", {"handlers/new.py": "server"}),
    ("roof", {"commands/new.py": "server"}),
    ("values", {"store/new.py": "settings"}),
    ("values", {"wire/new.py": "logs"}),
    ("wire", {"wire/new.py": "rules.slots"}),
    ("wire-users", {"loops/new.py": "wire"}),
    ("wire-users", {"store/new.py": "wire"}),
    ("rules", {"rules/new.py": "time"}),
    ("rules", {"rules/new.py": "tornado.web"}),
    ("sql", {"handlers/new.py": "sqlite3"}),
    ("sql", {"loops/new.py": "aiosqlite"}),
    ("sql", {"checks/new.py": "sqlite3"}),
    ("handlers", {"handlers/new.py": "", "handlers/other.py": "handlers.new"}),
    (
        "admin",
        {"handlers/admin/new.py": "", "handlers/admin/other.py": "handlers.admin.new"},
    ),
    ("loops", {"loops/new.py": "", "loops/other.py": "loops.new"}),
    ("commands", {"commands/new.py": "", "commands/other.py": "commands.new"}),
    ("checks", {"checks/new.py": "", "checks/other.py": "checks.new"}),
    ("store", {"store/new.py": "", "store/other.py": "store.new"}),
    ("circles", {"wire/new.py": "wire.other", "wire/other.py": "wire.new"}),
]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of the code and its contracts, to be spoilt."""
    for package in PACKAGES:
        shutil.copytree(ROOT / package, tmp_path / package)
    shutil.copy(ROOT / "setup.cfg", tmp_path)
    return tmp_path


def broken(tree: Path) -> set[str]:
    """Names of the contracts that do not hold in `tree`."""
    env = {**os.environ, "PYTHONPATH": "", "COLUMNS": "200", "NO_COLOR": "1"}
    done = subprocess.run(
        [LINT, "--no-cache"], cwd=tree, env=env, capture_output=True, text=True, check=False
    )
    assert "Contracts: " in done.stdout, done.stdout + done.stderr
    return set(re.findall(r"(?m)^\s*(.+) BROKEN\b", done.stdout))


def contracts() -> dict[str, str]:
    """Key → name of each contract."""
    config = ConfigParser()
    config.read(ROOT / "setup.cfg")
    start = "importlinter:contract:"
    return {
        section.removeprefix(start): config[section]["name"]
        for section in config.sections()
        if section.startswith(start)
    }


TYPES = {
    "acyclic_siblings": AcyclicSiblingsContract,
    "forbidden": ForbiddenContract,
    "independence": IndependenceContract,
    "layers": LayersContract,
}


@pytest.fixture(scope="module")
def graph() -> grimp.ImportGraph:
    """What imports what in the code."""
    return grimp.build_graph(*PACKAGES, include_external_packages=True, cache_dir=None)


def holds(contract: str, graph: grimp.ImportGraph) -> bool:
    """Whether a contract of setup.cfg, by its key, holds for a graph."""
    configuration.configure()
    options = read_user_options(str(ROOT / "setup.cfg"))
    (of,) = (each for each in options.contracts_options if each["id"] == contract)
    checked = TYPES[of["type"]](of["name"], options.session_options, of)
    return checked.check(deepcopy(graph), verbose=False).kept


def add_import(graph: grimp.ImportGraph, path: str, imported: str) -> None:
    """Add a module to a graph that imports another one, if that is named."""
    module = ".".join(PurePath(path).with_suffix("").parts)
    graph.add_module(module)
    top = imported.partition(".")[0]
    other = imported if top in PACKAGES else top  # other packages are one module each
    if other and other not in graph.modules:
        graph.add_module(other, is_squashed=top not in PACKAGES)
    if other:
        graph.add_import(importer=module, imported=other)


@pytest.mark.parametrize(("contract", "files"), BREAKS)
def test_a_forbidden_import_breaks_its_contract(
    graph: grimp.ImportGraph, contract: str, files: dict[str, str]
) -> None:
    assert holds(contract, graph)
    spoilt = deepcopy(graph)
    for path, imported in files.items():
        add_import(spoilt, path, imported)
    assert not holds(contract, spoilt)


def test_lint_imports_finds_a_forbidden_import(tree: Path) -> None:
    contract, files = BREAKS[0]
    for path, imported in files.items():
        (tree / path).write_text(f"import {imported}\n")
    assert contracts()[contract] in broken(tree)


def test_every_contract_is_proved_to_bite() -> None:
    assert {contract for contract, _ in BREAKS} == set(contracts())


def test_the_contracts_hold(tree: Path) -> None:
    assert broken(tree) == set()
