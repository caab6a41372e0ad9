"""Each import contract in setup.cfg fails when a module breaks it."""

import os
import re
import shutil
import subprocess
import sys
from configparser import ConfigParser
from pathlib import Path

from tests.support import ROOT

LINT = Path(sys.executable).parent / "lint-imports"

# A new module in each package, and the import that breaks a contract.
VIOLATIONS = {
    "domain/new.py": "import store, time",  # layers, domain
    "store/api/new.py": "import store.sqlite",  # stores
    "handlers/new.py": "import server, sqlite3",  # server, sql
    "commands/new.py": "import app.listeners",  # commands
    "httpserver/new.py": "import domain, httpserver.other",  # httpserver
    "httpserver/other.py": "import httpserver.new",  # circles
    "background/new.py": "import httpserver",  # httpserver-users
    "handlers/events/new.py": "import handlers.stories",  # features-handlers
    "background/events/new.py": "import background.banners",  # features-background
    "domain/stories/new.py": "import domain.banners",  # features-domain
}


def test_a_forbidden_import_breaks_each_contract(tmp_path: Path) -> None:
    config = ConfigParser()
    config.read(ROOT / "setup.cfg")
    for package in config["importlinter"]["root_packages"].split():
        shutil.copytree(ROOT / package, tmp_path / package)
    shutil.copy(ROOT / "setup.cfg", tmp_path)
    for path, code in VIOLATIONS.items():
        (tmp_path / path).write_text(f"{code}\n")
    env = {**os.environ, "PYTHONPATH": "", "COLUMNS": "200", "NO_COLOR": "1"}
    done = subprocess.run(
        [LINT, "--no-cache"], cwd=tmp_path, env=env, capture_output=True, text=True, check=False
    )
    broken = set(re.findall(r"(?m)^\s*(.+) BROKEN\b", done.stdout))
    contracts = {
        config[section]["name"]
        for section in config.sections()
        if section.startswith("importlinter:contract:")
    }
    assert broken == contracts, done.stdout + done.stderr
