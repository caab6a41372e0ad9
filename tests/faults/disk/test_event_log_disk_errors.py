"""What a log does when the disk fails or is full: it never says yes to what it cannot keep."""

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
def test_a_failing_disk(shim: Path, tmp_path: Path, name: str) -> None:
    told = {"DISK_FOLDER": str(tmp_path), "DISK_JOURNAL": str(tmp_path) + "-journal"}
    done = subprocess.run(
        [sys.executable, PROGRAMS / "failing_disk.py", name, tmp_path],
        env=os.environ | told | {"LD_PRELOAD": str(shim)},
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
        kept = connection.execute("SELECT count(*) FROM event").fetchone()[0]
        counted = connection.execute("SELECT stored FROM log").fetchone()[0]
    finally:
        connection.close()
    # One that was not acknowledged may be there all the same, and is counted then.
    assert stored <= kept == counted <= stored + 1
