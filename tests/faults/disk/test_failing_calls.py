"""Acknowledged events survive a failing write or sync, whichever it is and whatever the error.

EROFS is the error of a file system that the kernel remounted read-only after a disk error.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import PROGRAMS

PROGRAM = PROGRAMS / "failing_calls.py"


def failed_cases(
    shim: Path, folder: Path, first: int, last: int, step: int, change: str = ""
) -> list[str]:
    """Return the failed cases of failing_calls.py."""
    environment = {"LD_PRELOAD": str(shim), "DISK_FOLDER": str(folder / "data")}
    environment |= {"DISK_JOURNAL": "/dev/null"}
    arguments = [str(folder), str(first), str(last), str(step), *filter(None, [change])]
    done = subprocess.run(
        [sys.executable, str(PROGRAM), *arguments],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=560,
    )
    assert done.returncode == 0, done.stderr
    return [f"{each}: {done.stderr[-3000:]}" for each in done.stdout.splitlines()]


def test_acknowledged_events_survive_failing_calls(shim: Path, tmp_path: Path) -> None:
    assert failed_cases(shim, tmp_path, 3, 440, 38) == []


@pytest.mark.long
@pytest.mark.parametrize("first", range(1, 451, 50))
def test_acknowledged_events_survive_each_of_450_failing_calls(
    shim: Path, tmp_path: Path, first: int
) -> None:
    assert failed_cases(shim, tmp_path, first, first + 49, 1) == []


@pytest.mark.parametrize("change", ["acknowledge_failed_commits", "ignore_disk_errors"])
def test_loss_is_detected(shim: Path, tmp_path: Path, change: str) -> None:
    # Earlier calls open the databases, these commit events.
    assert failed_cases(shim, tmp_path, 260, 360, 20, change)
