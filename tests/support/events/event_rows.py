"""Rows for logs, and what a log counted."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

from store.sqlite.core.database import Database
from store.sqlite.events.commit_batch import EventRow
from store.sqlite.events.event_log import EventLog


def event_row(name: Any = "pageview", **changed: Any) -> EventRow:
    of = {
        "source": 1, "app": 1, "session": "s", "user": None, "category": "page interaction",
        "name": name, "at": 1, "sender": None, "digest": None, "data": "{}",
    }  # fmt: skip
    assert changed.keys() <= of.keys()
    return cast("EventRow", tuple((of | changed).values()))


def row_of_sender(sender: str, body: bytes = b"b", **changed: Any) -> EventRow:
    return event_row(sender=sender, digest=body * 32, **changed)


def log_counts(log: EventLog) -> tuple[int, int, int, int]:
    """Stored, duplicate, rejected and refused."""
    of = log.counts
    assert of.received == of.stored + of.duplicate + of.rejected + of.refused
    return of.stored, of.duplicate, of.rejected, of.refused


@contextmanager
def blocked_writer(database: Database) -> Iterator[None]:
    """The writer, at work on something that ends with this."""
    release = threading.Event()
    # aiosqlite's thread takes jobs in turn; this one waits there.
    database._writer._tx.put_nowait((None, release.wait))
    try:
        yield
    finally:
        release.set()


async def limit_database_pages(database: Database, most: int) -> None:
    """How large the database may be: SQLite calls it a full disk beyond."""
    sql = f"PRAGMA max_page_count = {most}"
    await database.write(lambda connection: connection.execute(sql).fetchone())
