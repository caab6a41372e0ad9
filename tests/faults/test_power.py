"""What is acknowledged survives power loss, whatever of the unsynced writes reached the disk."""

import os
import random
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from disk import Disk, Kind, Record, records
from sender import Told, missing_from


def journal(shim: Path, folder: Path, synchronous: str, seconds: float) -> list[Record]:
    """What a loaded log does to its disk."""
    data, told = folder / "data", folder / "journal"
    data.mkdir()
    program = str(Path(__file__).with_name("sender.py"))
    command = [sys.executable, program, str(data), str(data / "lines")]
    subprocess.run(
        [*command, synchronous, str(seconds)],
        env=os.environ
        | {"LD_PRELOAD": str(shim), "DISK_FOLDER": str(data), "DISK_JOURNAL": str(told)},
        check=True,
        timeout=60,
        stdout=subprocess.DEVNULL,
    )
    return list(records(told))


def missing(left: dict[str, bytes], lines: Told, folder: Path) -> int:
    """How many acknowledged events are gone from a disk; checks that nothing else is wrong."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for name, content in left.items():
        (folder / name).write_bytes(content)
    connection = sqlite3.connect(folder / "marquee.db")
    try:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        if not connection.execute("SELECT 1 FROM sqlite_schema WHERE name = 'log'").fetchone():
            return len(lines.acked)
        return missing_from(connection, lines)
    finally:
        connection.close()


def lost(told: list[Record], folder: Path, chance: random.Random, moments: int) -> int:
    """Acknowledged events that are missing after power losses at so many moments."""
    chosen = set(chance.sample(range(len(told)), moments))
    disk, lines = Disk(), Told()
    total = 0
    for number, record in enumerate(told):
        if record.path == "lines":
            lines.add(record.data.decode())
        disk.apply(record)
        if number in chosen:
            for share in (0.0, chance.random(), 1.0):
                total += missing(disk.left(chance, share), lines, folder / "left")
    return total


def test_nothing_acknowledged_is_lost_when_the_power_goes(shim: Path, tmp_path: Path) -> None:
    told = journal(shim, tmp_path, "FULL", 0.3)
    checkpoints = sum(each.kind is Kind.SYNC and each.path == "marquee.db" for each in told)
    assert checkpoints > 3
    assert lost(told, tmp_path, random.Random(1), 40) == 0


@pytest.mark.long
@pytest.mark.parametrize("seed", range(10))
def test_nothing_acknowledged_is_lost_at_many_moments(
    shim: Path, tmp_path: Path, seed: int
) -> None:
    told = journal(shim, tmp_path, "FULL", 1.0)
    assert lost(told, tmp_path, random.Random(seed), 150) == 0


def test_the_same_test_sees_the_loss_when_commits_are_not_synced(
    shim: Path, tmp_path: Path
) -> None:
    told = journal(shim, tmp_path, "NORMAL", 0.3)
    assert lost(told, tmp_path, random.Random(1), 40) > 0
