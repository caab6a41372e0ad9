"""Acknowledged events survive a power loss, whichever unsynced writes reached the disk."""

import os
import random
import subprocess
import sys
from collections.abc import Mapping
from heapq import merge
from operator import attrgetter
from pathlib import Path

import pytest

from tests.support import PROGRAMS
from tests.support.faults.disk_journal import JournalRecord, RecordKind, SimulatedDisk, read_records
from tests.support.faults.power_loss import count_missing_on_disk, preload_environment
from tests.support.faults.server_load import KillableServer, new_load
from tests.support.programs.log_sender import SendTranscript


def record_journal(shim: Path, folder: Path, synchronous: str, events: int) -> list[JournalRecord]:
    """Return the disk operations of a log until `events` events are acknowledged."""
    data = folder / "data"
    data.mkdir()
    program = str(PROGRAMS / "log_sender.py")
    command = [sys.executable, program, str(data), str(data / "lines")]
    subprocess.run(
        [*command, synchronous, str(events)],
        env=os.environ | preload_environment(shim, data),
        check=True,
        timeout=300,
        stdout=subprocess.DEVNULL,
    )
    return list(read_records(folder / "journal"))


def record_server_journal(
    shim: Path, folder: Path, events: int
) -> tuple[dict[str, bytes], list[JournalRecord]]:
    """Return the initial files of a server's folder, and its disk operations under load."""
    data = folder / "data"
    load = new_load(data)
    before = {path.name: path.read_bytes() for path in data.iterdir() if path.is_file()}
    load.position = lambda: (folder / "journal").stat().st_size
    load.run_until_acknowledged(KillableServer(data, **preload_environment(shim, data)), events)
    lines = (
        JournalRecord(0, RecordKind.WRITE, "lines", 0, 0, each.encode(), at)
        for at, each in load.timed_lines
    )
    records = merge(read_records(folder / "journal"), lines, key=attrgetter("end"))
    return before, list(records)


def count_lost(
    records: list[JournalRecord],
    folder: Path,
    *,
    seed: int,
    moments: int,
    before: Mapping[str, bytes] | None = None,
) -> int:
    """Return how many acknowledged events power losses at random moments lose in total."""
    rng = random.Random(seed)
    chosen = set(rng.sample(range(len(records)), moments))
    disk, transcript = SimulatedDisk(before or {}), SendTranscript()
    total = 0
    for number, record in enumerate(records):
        if record.path == "lines":
            transcript.add(record.data.decode())
        else:
            disk.apply(record)
        if number in chosen:
            for share in (0.0, rng.random(), 1.0):
                total += count_missing_on_disk(
                    disk.after_power_loss(rng, share), transcript, folder / "left"
                )
    assert len(transcript.acknowledged) > 100
    return total


def test_acknowledged_events_survive_power_loss(shim: Path, tmp_path: Path) -> None:
    records = record_journal(shim, tmp_path, "FULL", 5_000)
    checkpoints = sum(
        each.kind is RecordKind.SYNC and each.path == "marquee.db" for each in records
    )
    assert checkpoints > 3
    assert count_lost(records, tmp_path, seed=1, moments=40) == 0


@pytest.mark.long
@pytest.mark.parametrize("seed", range(10))
def test_acknowledged_events_survive_power_loss_at_many_moments(
    shim: Path, tmp_path: Path, seed: int
) -> None:
    records = record_journal(shim, tmp_path, "FULL", 15_000)
    assert count_lost(records, tmp_path, seed=seed, moments=150) == 0


@pytest.mark.long
@pytest.mark.parametrize("seed", range(5))
def test_events_acknowledged_by_server_survive_power_loss(
    shim: Path, tmp_path: Path, seed: int
) -> None:
    before, records = record_server_journal(shim, tmp_path, 3_000)
    assert count_lost(records, tmp_path, seed=seed, moments=150, before=before) == 0


@pytest.mark.parametrize("synchronous", ["NORMAL", "EARLY"])
def test_loss_is_detected_without_synced_or_awaited_commits(
    shim: Path, tmp_path: Path, synchronous: str
) -> None:
    records = record_journal(shim, tmp_path, synchronous, 5_000)
    assert count_lost(records, tmp_path, seed=1, moments=40) > 0
