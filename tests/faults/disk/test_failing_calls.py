"""Whichever write or sync fails, by whatever error: what was acknowledged is there.

EROFS is what a file system says that was remounted read-only, as the kernel does when a disk fails.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import PROGRAMS

PROGRAM = PROGRAMS / "failing_calls.py"


def wrong(shim: Path, folder: Path, first: int, last: int, step: int, guard: str = "") -> list[str]:
    """The cases that went wrong."""
    environ = {"LD_PRELOAD": str(shim), "DISK_FOLDER": str(folder / "data")}
    environ |= {"DISK_JOURNAL": "/dev/null"}
    words = [str(folder), str(first), str(last), str(step), *filter(None, [guard])]
    done = subprocess.run(
        [sys.executable, str(PROGRAM), *words],
        env=os.environ | environ,
        capture_output=True,
        text=True,
        timeout=560,
    )
    assert done.returncode == 0, done.stderr
    return [f"{each}: {done.stderr[-3000:]}" for each in done.stdout.splitlines()]


def test_every_now_and_then_a_write_or_a_sync_fails(shim: Path, tmp_path: Path) -> None:
    assert wrong(shim, tmp_path, 3, 440, 38) == []


@pytest.mark.long
@pytest.mark.parametrize("first", range(1, 451, 50))
def test_each_of_the_first_450_writes_and_syncs_fails(
    shim: Path, tmp_path: Path, first: int
) -> None:
    assert wrong(shim, tmp_path, first, first + 49, 1) == []


@pytest.mark.parametrize("guard", ["acknowledge_failed_commits", "ignore_disk_errors"])
def test_the_same_test_sees_it_when_a_guard_is_taken_out(
    shim: Path, tmp_path: Path, guard: str
) -> None:
    # The calls before these open the databases; these commit events.
    assert wrong(shim, tmp_path, 260, 360, 20, guard)
