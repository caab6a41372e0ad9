"""Disk errors while an event log appends: `python failing_disk.py CASE FOLDER`.

Run with the shim of disk_journal.c preloaded. Prints the number of stored events.
"""

import asyncio
import ctypes
import errno
import os
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[3]))

from store.api.errors import StoreFailed, StoreFull
from store.sqlite.core import database
from store.sqlite.core.database import Database
from store.sqlite.events.commit_batch import AppendOutcome, EventRow
from store.sqlite.events.event_log import EventLog

EVENT: EventRow = (1, 1, "s", None, "page interaction", "pageview", 0, None, None, "{}")


def set_disk_fault(call: str = "", suffix: str = "", error: int = 0) -> None:
    """Make syncs (`s`) or writes (`w`) of files with a suffix fail; without a call, none fail."""
    ctypes.CDLL(None).disk_fault(ctypes.c_char(call.encode() or b"\0"), suffix.encode(), error)


async def append(log: EventLog, count: int = 1) -> list[AppendOutcome]:
    return await log.append([EVENT] * count)


async def assert_append_raises(error: type[Exception], log: EventLog, count: int = 1) -> None:
    try:
        await append(log, count)
    except error:
        return
    raise AssertionError(f"no {error.__name__}")


async def assert_failed_until_restart(data: Database, log: EventLog) -> None:
    """Check that the log rejects appends until a restart, even after the disk has recovered."""
    assert isinstance(data.failed, StoreFailed)
    set_disk_fault()
    await assert_append_raises(StoreFailed, log)


async def wal_sync_fails(data: Database, log: EventLog) -> None:
    await append(log)
    set_disk_fault("s", "-wal", errno.EIO)
    await assert_append_raises(StoreFailed, log)
    await assert_failed_until_restart(data, log)


async def wal_write_fails(data: Database, log: EventLog) -> None:
    await append(log)
    set_disk_fault("w", "-wal", errno.EIO)
    await assert_append_raises(StoreFailed, log)
    await assert_failed_until_restart(data, log)


async def checkpoint_sync_fails(data: Database, log: EventLog) -> None:
    """The log stops within a second of appends, all of which the WAL still holds."""
    database.CHECKPOINT_INTERVAL_SECONDS = 0.1
    set_disk_fault("s", "marquee.db", errno.EIO)
    for _ in range(100):
        await append(log, 100)
        await asyncio.sleep(0.01)
        if data.failed is not None:
            break
    await assert_failed_until_restart(data, log)


async def wal_disk_full(data: Database, log: EventLog) -> None:
    await append(log)
    set_disk_fault("w", "-wal", errno.ENOSPC)
    await assert_append_raises(StoreFull, log, 3)
    await assert_append_raises(StoreFull, log, 2)
    set_disk_fault()
    assert data.failed is None
    await append(log, 4)
    counts = log.counts
    assert (counts.received, counts.stored, counts.refused) == (10, 5, 5)


async def checkpoint_disk_full(data: Database, log: EventLog) -> None:
    """Commits continue in the WAL, and the checkpoint succeeds once there is space."""
    database.CHECKPOINT_INTERVAL_SECONDS = 0.1
    wal = data.path.with_name("marquee.db-wal")
    set_disk_fault("w", "marquee.db", errno.ENOSPC)
    for _ in range(20):
        await append(log, 1_000)
        await asyncio.sleep(0.01)
    assert data.failed is None
    set_disk_fault()
    await append(log, 1_000)
    wal_bytes = wal.stat().st_size
    for _ in range(20):
        await append(log, 1_000)
    assert wal.stat().st_size == wal_bytes


CASES: list[Callable[[Database, EventLog], Awaitable[None]]] = [
    wal_sync_fails,
    wal_write_fails,
    checkpoint_sync_fails,
    wal_disk_full,
    checkpoint_disk_full,
]


async def main(name: str, folder: Path) -> None:
    data = await Database.open(folder / "marquee.db")
    try:
        (case,) = (each for each in CASES if each.__name__ == name)
        log = await EventLog.open(data)
        await case(data, log)
        print(log.counts.stored)
        sys.stdout.flush()
    finally:
        if data.failed is not None:
            # The server too exits at once, since closing could write nothing more.
            os._exit(0)
        await data.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], Path(sys.argv[2])))
