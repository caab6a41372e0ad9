"""Acknowledged events survive SIGKILL at any time, and the log opens again at once."""

import random
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support import PROGRAMS
from tests.support.programs.log_sender import SendTranscript, count_missing, insert_million_events

MAX_START_CPU_SECONDS = 1.0


def run_and_kill(folder: Path, seconds: float) -> float:
    """Run a sender and kill it after `seconds`; return the CPU seconds that opening took."""
    program = PROGRAMS / "log_sender.py"
    command: list[str | Path] = [sys.executable, program, folder, folder / "lines"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as sender:
        assert sender.stdout is not None
        cpu_seconds = float(sender.stdout.readline())
        time.sleep(seconds)
        assert sender.poll() is None
        sender.kill()
    transcript = folder / "lines"
    content = transcript.read_bytes()
    # Remove an incomplete last line.
    transcript.write_bytes(content[: content.rfind(b"\n") + 1])
    return cpu_seconds


def read_transcript_and_check(folder: Path) -> SendTranscript:
    """Check that the log has every acknowledged event, and none that was not sent."""
    transcript = SendTranscript((folder / "lines").read_text())
    connection = sqlite3.connect(folder / "marquee.db")
    try:
        assert count_missing(connection, transcript) == 0
    finally:
        connection.close()
    return transcript


def kill_and_check(folder: Path, kills: int) -> SendTranscript:
    for _ in range(kills):
        assert run_and_kill(folder, random.uniform(0, 0.2)) < MAX_START_CPU_SECONDS
        transcript = read_transcript_and_check(folder)
    return transcript


def test_acknowledged_events_survive_kill(tmp_path: Path) -> None:
    transcript = kill_and_check(tmp_path, 10)
    for _ in range(100):  # on a busy machine, few events are sent before a kill
        if len(transcript.acknowledged) > 500:
            return
        transcript = kill_and_check(tmp_path, 1)
    raise AssertionError(f"only {len(transcript.acknowledged)} events were acknowledged")


@pytest.mark.long
@pytest.mark.parametrize("_", range(10))
def test_acknowledged_events_survive_200_kills(tmp_path: Path, _: int) -> None:
    kill_and_check(tmp_path, 20)


def test_killed_log_with_million_events_opens_within_a_second(tmp_path: Path) -> None:
    run_and_kill(tmp_path, 0)
    insert_million_events(tmp_path)
    run_and_kill(tmp_path, 0.2)
    assert run_and_kill(tmp_path, 0) < MAX_START_CPU_SECONDS
