"""What is acknowledged survives power loss, whatever of the unsynced writes reached the disk."""

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


def journal(shim: Path, folder: Path, synchronous: str, events: int) -> list[JournalRecord]:
    """What a loaded log does to its disk, until so many events are acknowledged."""
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


def journal_of_a_server(
    shim: Path, folder: Path, events: int
) -> tuple[dict[str, bytes], list[JournalRecord]]:
    """What was in a server's folder before, and what the server does to it under load."""
    data = folder / "data"
    load = new_load(data)
    before = {path.name: path.read_bytes() for path in data.iterdir() if path.is_file()}
    load.position = lambda: (folder / "journal").stat().st_size
    load.run_until_acknowledged(KillableServer(data, **preload_environment(shim, data)), events)
    lines = (
        JournalRecord(0, RecordKind.WRITE, "lines", 0, 0, each.encode(), at)
        for at, each in load.timed_lines
    )
    told = merge(read_records(folder / "journal"), lines, key=attrgetter("end"))
    return before, list(told)


def lost(
    told: list[JournalRecord],
    folder: Path,
    *,
    seed: int,
    moments: int,
    before: Mapping[str, bytes] | None = None,
) -> int:
    """Acknowledged events that are missing after power losses at so many moments."""
    chance = random.Random(seed)
    chosen = set(chance.sample(range(len(told)), moments))
    disk, lines = SimulatedDisk(before or {}), SendTranscript()
    total = 0
    for number, record in enumerate(told):
        if record.path == "lines":
            lines.add(record.data.decode())
        else:
            disk.apply(record)
        if number in chosen:
            for share in (0.0, chance.random(), 1.0):
                total += count_missing_on_disk(
                    disk.after_power_loss(chance, share), lines, folder / "left"
                )
    assert len(lines.acknowledged) > 100
    return total


def test_nothing_acknowledged_is_lost_when_the_power_goes(shim: Path, tmp_path: Path) -> None:
    told = journal(shim, tmp_path, "FULL", 5_000)
    checkpoints = sum(each.kind is RecordKind.SYNC and each.path == "marquee.db" for each in told)
    assert checkpoints > 3
    assert lost(told, tmp_path, seed=1, moments=40) == 0


@pytest.mark.long
@pytest.mark.parametrize("seed", range(10))
def test_nothing_acknowledged_is_lost_at_many_moments(
    shim: Path, tmp_path: Path, seed: int
) -> None:
    told = journal(shim, tmp_path, "FULL", 15_000)
    assert lost(told, tmp_path, seed=seed, moments=150) == 0


@pytest.mark.long
@pytest.mark.parametrize("seed", range(5))
def test_no_202_of_a_server_was_untrue_when_the_power_goes(
    shim: Path, tmp_path: Path, seed: int
) -> None:
    before, told = journal_of_a_server(shim, tmp_path, 3_000)
    assert lost(told, tmp_path, seed=seed, moments=150, before=before) == 0


@pytest.mark.parametrize("guard", ["NORMAL", "EARLY"])
def test_the_same_test_sees_the_loss_when_commits_are_not_synced_or_not_waited_for(
    shim: Path, tmp_path: Path, guard: str
) -> None:
    told = journal(shim, tmp_path, guard, 5_000)
    assert lost(told, tmp_path, seed=1, moments=40) > 0
