"""Rejected events with their original bodies: the newest are stored, dropped ones are counted."""

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
# Errors of a single row; all others are errors of the database.
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
    """Maximum number, total size and age of stored rejected events."""

    rows: int = 100_000
    bytes: int = 67_108_864
    days: float = 30.0


def store_rejected_events(
    connection: sqlite3.Connection, rows: Sequence[RejectedEventRow], limits: RejectedEventLimits
) -> None:
    """Add rows in the open transaction and delete some of the oldest beyond the limits.

    Expired rows are left to the retention worker, which checks whether the clock is trusted.
    """
    for row in rows:
        try:
            connection.execute(INSERT_REJECTED_SQL, row)
        except ROW_ERRORS as error:
            LOG.error("cannot store a rejected event: %s", error)
            _count_dropped_events(connection, 1)
    trim_rejected_events(connection, limits, 0, 2 * len(rows) + 16)


def trim_rejected_events(
    connection: sqlite3.Connection, limits: RejectedEventLimits, now: int, max_rows: int
) -> int:
    """Delete up to `max_rows` of the oldest rows beyond the limits; return their number.

    `now` is in µs.
    """
    rows, size = connection.execute("SELECT rejects, rejects_bytes FROM log").fetchone()
    dropped = last = 0
    for number, received, length in connection.execute(OLDEST_REJECTED_SQL, (max_rows,)).fetchall():
        is_expired = received < now - limits.days * 86_400_000_000
        if not (is_expired or rows - dropped > limits.rows or size > limits.bytes):
            break
        dropped, last, size = dropped + 1, number, size - length
    if dropped:
        connection.execute("DELETE FROM event_reject WHERE id <= ?", (last,))
        _count_dropped_events(connection, dropped)
    return dropped


def _count_dropped_events(connection: sqlite3.Connection, count: int) -> None:
    connection.execute("UPDATE log SET rejects_dropped = rejects_dropped + ?", (count,))
