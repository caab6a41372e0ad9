"""The event log acknowledges only stored events when the disk fails or is full."""

import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import PROGRAMS
from tests.support.programs.failing_disk import CASES

NAMES = [each.__name__ for each in CASES]


@pytest.mark.parametrize("name", NAMES)
def test_log_acknowledges_only_stored_events(shim: Path, tmp_path: Path, name: str) -> None:
    environment = {"DISK_FOLDER": str(tmp_path), "DISK_JOURNAL": str(tmp_path) + "-journal"}
    done = subprocess.run(
        [sys.executable, PROGRAMS / "failing_disk.py", name, tmp_path],
        env=os.environ | environment | {"LD_PRELOAD": str(shim)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    stored = int(done.stdout)
    connection = sqlite3.connect(tmp_path / "marquee.db")
    try:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        found = connection.execute("SELECT count(*) FROM event").fetchone()[0]
        counted = connection.execute("SELECT stored FROM log").fetchone()[0]
    finally:
        connection.close()
    # An unacknowledged event may be stored, and is then counted.
    assert stored <= found == counted <= stored + 1
