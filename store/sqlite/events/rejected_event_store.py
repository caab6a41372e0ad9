"""The events that were not right, as they came: the newest are kept, what falls out is counted."""

import logging
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass

LOG = logging.getLogger("marquee.log")

INSERT_REJECTED_SQL = (
    "INSERT INTO event_reject (id, received, app, body, errors) VALUES (?, ?, ?, ?, ?)"
)
OLDEST_REJECTED_SQL = """
SELECT id, received, length(body) + length(CAST(errors AS BLOB)) FROM event_reject
ORDER BY id LIMIT ?
"""
# What one row, or one value in it, does to itself alone; anything else is the database's trouble.
ROW_ERRORS = (
    sqlite3.IntegrityError,
    sqlite3.DataError,
    sqlite3.InterfaceError,
    sqlite3.ProgrammingError,
    OverflowError,
    ValueError,
)

RejectedEventRow = tuple[int, int, int, bytes, str]  # id, received, app, body, errors as JSON


@dataclass(frozen=True)
class RejectedEventLimits:
    """How much is kept."""

    rows: int = 100_000
    bytes: int = 67_108_864
    days: float = 30.0


def store_rejected_events(
    connection: sqlite3.Connection, rejects: Sequence[RejectedEventRow], bounds: RejectedEventLimits
) -> None:
    """Add rejects in the open transaction; if that makes too many, some of the oldest fall out.

    What is too old goes by `trim`, from whoever knows whether the clock is to be believed.
    """
    for reject in rejects:
        try:
            connection.execute(INSERT_REJECTED_SQL, reject)
        except ROW_ERRORS as error:
            LOG.error("a rejected event cannot be kept: %s", error)
            _count_dropped_events(connection, 1)
    trim_rejected_events(connection, bounds, 0, 2 * len(rejects) + 16)


def trim_rejected_events(
    connection: sqlite3.Connection, bounds: RejectedEventLimits, now: int, most: int
) -> int:
    """Remove up to `most` of the oldest that are out of bounds; how many. `now` in µs."""
    rows, size = connection.execute("SELECT rejects, rejects_bytes FROM log").fetchone()
    dropped = last = 0
    for number, received, length in connection.execute(OLDEST_REJECTED_SQL, (most,)).fetchall():
        aged = received < now - bounds.days * 86_400_000_000
        if not (aged or rows - dropped > bounds.rows or size > bounds.bytes):
            break
        dropped, last, size = dropped + 1, number, size - length
    if dropped:
        connection.execute("DELETE FROM event_reject WHERE id <= ?", (last,))
        _count_dropped_events(connection, dropped)
    return dropped


def _count_dropped_events(connection: sqlite3.Connection, count: int) -> None:
    connection.execute("UPDATE log SET rejects_dropped = rejects_dropped + ?", (count,))
