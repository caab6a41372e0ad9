"""What is lost by a write-ahead log that a disk has changed is told of; a power loss is not."""

import asyncio
import contextlib
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from store.sqlite.core.data_loss import last_loss
from store.sqlite.core.database import Database
from store.sqlite.core.wal import commit_frames
from store.sqlite.events.event_log import EventLog
from tests.support.events.event_rows import event_row

COMMITS = 12


async def written(folder: Path) -> None:
    """A database of some commits, copied while they stand in the WAL."""
    (folder / "open").mkdir()
    database = await Database.open(folder / "open" / "marquee.db")
    try:
        log = await EventLog.open(database)
        for _ in range(COMMITS):
            await log.append([event_row()])
        (folder / "copy").mkdir()
        for suffix in ("", "-wal"):
            shutil.copy(folder / "open" / f"marquee.db{suffix}", folder / "copy")
    finally:
        await database.close()


async def opened(folder: Path) -> tuple[int, int]:
    """How many commits a database says that it has lost, and how many events there are."""
    database = await Database.open(folder / "copy" / "marquee.db")
    try:
        sql = "SELECT count(*) FROM event"
        noted = await database.read(last_loss)
        assert (noted is not None) == (database.lost > 0)
        return database.lost, await database.read(lambda it: it.execute(sql).fetchone()[0])
    finally:
        await database.close()


def of_the_last(folder: Path) -> tuple[Path, int, list[int]]:
    """The copied WAL, the size of a frame with its head, and its commits."""
    wal = folder / "copy" / "marquee.db-wal"
    return wal, 4_096 + 24, commit_frames(wal)


def harm(folder: Path) -> None:
    """Flip a bit in the fifth commit from the end."""
    wal, size, found = of_the_last(folder)
    content = bytearray(wal.read_bytes())
    content[32 + (found[-5] - 1) * size + 100] ^= 1
    wal.write_bytes(content)


def test_a_bit_that_was_flipped_in_it_is_told_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    asyncio.run(written(tmp_path))
    harm(tmp_path)
    assert asyncio.run(opened(tmp_path)) == (5, COMMITS - 5)
    assert [each.levelname for each in caplog.records] == ["ERROR"]
    assert "up to 5 commits that were in it are gone" in caplog.text


def test_a_head_that_was_changed_is_told_of(tmp_path: Path) -> None:
    asyncio.run(written(tmp_path))
    wal, *_ = of_the_last(tmp_path)
    content = bytearray(wal.read_bytes())
    content[24] ^= 1  # its checksum
    wal.write_bytes(content)
    lost, events = asyncio.run(opened(tmp_path))
    assert lost >= COMMITS and events == 0


@pytest.mark.parametrize("cut", [0, 1, 2_000, 4_200])
def test_a_last_commit_that_is_not_whole_is_what_a_power_loss_leaves(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, cut: int
) -> None:
    asyncio.run(written(tmp_path))
    wal, size, found = of_the_last(tmp_path)
    end = 32 + found[-1] * size
    wal.write_bytes(wal.read_bytes()[: end - cut])
    assert asyncio.run(opened(tmp_path)) == (0, COMMITS - bool(cut))
    assert not caplog.records


def test_a_last_commit_of_which_a_part_did_not_come_is_no_loss(tmp_path: Path) -> None:
    asyncio.run(written(tmp_path))
    wal, size, found = of_the_last(tmp_path)
    content = bytearray(wal.read_bytes())
    start = 32 + (found[-1] - 1) * size + 24
    content[start : start + 512] = bytes(512)
    wal.write_bytes(content)
    assert asyncio.run(opened(tmp_path)) == (0, COMMITS - 1)


# Waits with the lock of a checkpoint until nobody reads what is in the log, and empties it.
EMPTIES = """
import sqlite3, sys
other = sqlite3.connect(sys.argv[1], timeout=120)
other.execute("SELECT count(*) FROM event").fetchone()
print("there", flush=True)
while other.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]:
    pass  # another one had the lock at that moment
print("empty", flush=True)
"""


def test_what_another_program_is_emptying_is_not_lost(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    asyncio.run(written(tmp_path))
    path = tmp_path / "copy" / "marquee.db"
    reader = sqlite3.connect(path, isolation_level=None)
    with contextlib.closing(reader):
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM event").fetchone()
        words = [sys.executable, "-c", EMPTIES, str(path)]
        with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as other:
            assert other.stdout is not None
            assert other.stdout.readline() == "there\n"
            assert waits_with_the_lock(path)
            assert asyncio.run(opened(tmp_path)) == (0, COMMITS)
            reader.execute("ROLLBACK")
            assert other.stdout.readline() == "empty\n"
    assert not caplog.records


def waits_with_the_lock(path: Path) -> bool:
    """Whether soon another program's checkpoint keeps ours away."""
    end = time.monotonic() + 120
    with contextlib.closing(sqlite3.connect(path, timeout=0)) as connection:
        while time.monotonic() < end:
            busy, *_ = connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
            if busy:
                return True
            time.sleep(0.01)
    return False


@contextlib.contextmanager
def meanwhile(folder: Path, monkeypatch: pytest.MonkeyPatch, sql: str) -> Iterator[None]:
    """Have another program do something between a look at the log and its recovery, and stay."""
    path = folder / "copy" / "marquee.db"
    with contextlib.closing(
        sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    ) as other:

        def commits_and_then(wal: Path) -> list[int]:
            found = commit_frames(wal)
            other.execute(sql).fetchall()
            return found

        monkeypatch.setattr("store.sqlite.core.database.commit_frames", commits_and_then)
        yield


def test_what_another_program_has_emptied_meanwhile_is_not_lost(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    asyncio.run(written(tmp_path))
    with meanwhile(tmp_path, monkeypatch, "PRAGMA wal_checkpoint(TRUNCATE)"):
        assert asyncio.run(opened(tmp_path)) == (0, COMMITS)
    assert not caplog.records


def test_what_is_lost_beside_another_program_is_told_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    asyncio.run(written(tmp_path))
    harm(tmp_path)
    with meanwhile(tmp_path, monkeypatch, "UPDATE log SET believed = 1"):
        lost, events = asyncio.run(opened(tmp_path))
    assert lost > 1 and events == COMMITS - 5
    assert "are gone" in caplog.text


@pytest.mark.parametrize("content", [b"", b"x" * 31, bytes(100), bytes(10_000)])
def test_what_is_no_log_holds_no_commits(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "wal").write_bytes(content)
    assert commit_frames(tmp_path / "wal") == []
    assert commit_frames(tmp_path / "nowhere") == []
