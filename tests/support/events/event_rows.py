"""Rows of the event log, and the state of its database."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

from store.sqlite.core.database import Database
from store.sqlite.events.commit_batch import EventRow
from store.sqlite.events.event_log import EventLog


def event_row(name: Any = "pageview", **changed: Any) -> EventRow:
    columns = {
        "source": 1, "app": 1, "session": "s", "user": None, "category": "page interaction",
        "name": name, "at": 1, "sender": None, "digest": None, "data": "{}",
    }  # fmt: skip
    assert changed.keys() <= columns.keys()
    return cast("EventRow", tuple((columns | changed).values()))


def row_of_sender(sender: str, body: bytes = b"b", **changed: Any) -> EventRow:
    return event_row(sender=sender, digest=body * 32, **changed)


def log_counts(log: EventLog) -> tuple[int, int, int, int]:
    """Return the numbers of stored, duplicate, rejected and refused events."""
    counts = log.counts
    outcomes = (counts.stored, counts.duplicate, counts.rejected, counts.refused)
    assert counts.received == sum(outcomes)
    return outcomes


@contextmanager
def blocked_writer(database: Database) -> Iterator[None]:
    """Block the writer of a database during a `with` block."""
    release = threading.Event()
    # aiosqlite's thread runs jobs one by one, and this one waits.
    database._writer._tx.put_nowait((None, release.wait))
    try:
        yield
    finally:
        release.set()


async def limit_database_pages(database: Database, max_pages: int) -> None:
    """Limit the size of a database; SQLite reports a full disk beyond it."""
    sql = f"PRAGMA max_page_count = {max_pages}"
    await database.write(lambda connection: connection.execute(sql).fetchone())
