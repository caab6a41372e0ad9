"""The events that were not right, as they came: the newest are kept, what falls out is counted."""

import logging
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass

LOG = logging.getLogger("marquee.log")

INSERT = "INSERT INTO event_reject (id, received, app, body, errors) VALUES (?, ?, ?, ?, ?)"
OLDEST = """
SELECT id, received, length(body) + length(CAST(errors AS BLOB)) FROM event_reject
ORDER BY id LIMIT ?
"""
# What one row, or one value in it, does to itself alone; anything else is the database's trouble.
OWN_FAULT = (
    sqlite3.IntegrityError,
    sqlite3.DataError,
    sqlite3.InterfaceError,
    sqlite3.ProgrammingError,
    OverflowError,
    ValueError,
)

Reject = tuple[int, int, int, bytes, str]  # id, received, app, body, errors as JSON


@dataclass(frozen=True)
class Bounds:
    """How much is kept."""

    rows: int = 100_000
    bytes: int = 67_108_864
    days: float = 30.0


def keep(connection: sqlite3.Connection, rejects: Sequence[Reject], bounds: Bounds) -> None:
    """Add rejects in the open transaction; if that makes too many, some of the oldest fall out.

    What is too old goes by `trim`, from whoever knows whether the clock is to be believed.
    """
    for reject in rejects:
        try:
            connection.execute(INSERT, reject)
        except OWN_FAULT as error:
            LOG.error("a rejected event cannot be kept: %s", error)
            _count_dropped(connection, 1)
    trim(connection, bounds, 0, 2 * len(rejects) + 16)


def trim(connection: sqlite3.Connection, bounds: Bounds, now: int, most: int) -> int:
    """Remove up to `most` of the oldest that are out of bounds; how many. `now` in µs."""
    rows, size = connection.execute("SELECT rejects, rejects_bytes FROM log").fetchone()
    dropped = last = 0
    for number, received, length in connection.execute(OLDEST, (most,)).fetchall():
        aged = received < now - bounds.days * 86_400_000_000
        if not (aged or rows - dropped > bounds.rows or size > bounds.bytes):
            break
        dropped, last, size = dropped + 1, number, size - length
    if dropped:
        connection.execute("DELETE FROM event_reject WHERE id <= ?", (last,))
        _count_dropped(connection, dropped)
    return dropped


def _count_dropped(connection: sqlite3.Connection, count: int) -> None:
    connection.execute("UPDATE log SET rejects_dropped = rejects_dropped + ?", (count,))
