"""What is acknowledged survives SIGKILL at any moment, and the log is ready again at once."""

import random
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support import PROGRAMS
from tests.support.programs.log_sender import SendTranscript, count_missing, insert_million_events

READY = 1.0  # CPU seconds


def killed(folder: Path, seconds: float) -> float:
    """Run a sender, kill it after so long; the CPU seconds that it took to be ready."""
    program = PROGRAMS / "log_sender.py"
    command: list[str | Path] = [sys.executable, program, folder, folder / "lines"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as sender:
        assert sender.stdout is not None
        took = float(sender.stdout.readline())
        time.sleep(seconds)
        assert sender.poll() is None
        sender.kill()
    lines = folder / "lines"
    whole = lines.read_bytes()
    # A line that was cut was not told.
    lines.write_bytes(whole[: whole.rfind(b"\n") + 1])
    return took


def check(folder: Path) -> SendTranscript:
    """That nothing acknowledged is missing, and nothing is there that was not sent."""
    told = SendTranscript((folder / "lines").read_text())
    connection = sqlite3.connect(folder / "marquee.db")
    try:
        assert count_missing(connection, told) == 0
    finally:
        connection.close()
    return told


def kill_and_check(folder: Path, kills: int) -> SendTranscript:
    for _ in range(kills):
        assert killed(folder, random.uniform(0, 0.2)) < READY
        told = check(folder)
    return told


def test_nothing_acknowledged_is_lost_when_the_program_is_killed(tmp_path: Path) -> None:
    told = kill_and_check(tmp_path, 10)
    for _ in range(100):  # on a busy machine, little is sent until a kill
        if len(told.acknowledged) > 500:
            return
        told = kill_and_check(tmp_path, 1)
    raise AssertionError(f"only {len(told.acknowledged)} events were acknowledged")


@pytest.mark.long
@pytest.mark.parametrize("_", range(10))
def test_nothing_acknowledged_is_lost_by_200_kills(tmp_path: Path, _: int) -> None:
    kill_and_check(tmp_path, 20)


def test_a_killed_log_of_a_million_events_is_ready_within_a_second(tmp_path: Path) -> None:
    killed(tmp_path, 0)
    insert_million_events(tmp_path)
    killed(tmp_path, 0.2)
    assert killed(tmp_path, 0) < READY
