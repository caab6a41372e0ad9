"""The write-ahead log stays bounded, also while there is always someone reading."""

import asyncio
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from store.sqlite.core import database as module
from store.sqlite.core.database import Database
from store.sqlite.events.event_log import EventLog
from tests.support.banners.campaign_files import with_database
from tests.support.events.event_rows import event_row

MEGABYTE = 1_000_000


@contextmanager
def always_someone_reading(path: Path) -> Iterator[None]:
    """Two readers, one of whom is amid a transaction at any time."""
    ended = threading.Event()
    turns = [threading.Event(), threading.Event()]

    def read(mine: threading.Event, other: threading.Event) -> None:
        connection = sqlite3.connect(path, isolation_level=None)
        while mine.wait(5) and not ended.is_set():
            mine.clear()
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            connection.execute("BEGIN")
            connection.execute("SELECT max(id) FROM event").fetchone()
            time.sleep(0.005)
            other.set()
        connection.close()

    readers = [threading.Thread(target=read, args=order) for order in (turns, turns[::-1])]
    for reader in readers:
        reader.start()
    turns[0].set()
    try:
        yield
    finally:
        ended.set()
        for turn in turns:
            turn.set()
        for reader in readers:
            reader.join(60)


async def write(database: Database, size: int) -> int:
    """Append so many bytes of data; the most that the WAL came to hold."""
    log = await EventLog.open(database)
    wal = database.path.with_name("marquee.db-wal")
    largest = 0
    for _ in range(size // 100_000):
        await log.append([event_row(data="x" * 1_000)] * 100)
        largest = max(largest, wal.stat().st_size)
    return largest


def test_the_wal_is_short_when_readers_come_and_go(tmp_path: Path) -> None:
    async def use(database: Database) -> None:
        assert await write(database, 10 * MEGABYTE) < 3 * MEGABYTE

    with_database(tmp_path, use)


@pytest.mark.parametrize("bounded", [True, False])
def test_the_wal_is_begun_anew_beyond_its_bound_while_others_read(
    tmp_path: Path, bounded: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unbounded, it holds all that was written."""
    monkeypatch.setattr(module, "CHECKPOINT_INTERVAL_SECONDS", 0.02)
    monkeypatch.setattr(module, "MAX_WAL_BYTES", (4 if bounded else 10_000) * MEGABYTE)

    async def use(database: Database) -> None:
        with always_someone_reading(database.path):
            largest = await write(database, 40 * MEGABYTE)
            held = await asyncio.to_thread(lambda: database.path.stat().st_size)
        assert (largest < held / 2) == bounded

    with_database(tmp_path, use)
