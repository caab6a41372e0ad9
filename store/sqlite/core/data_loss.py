"""When the log was last found to have lost acknowledged events, kept over restarts."""

import sqlite3
from time import time_ns

LOSS_COUNTER_NAME = "log found to have lost events"
# Microseconds for which it is reported.
LOSS_REPORT_MICROS = 30 * 86_400_000_000


def record_loss(connection: sqlite3.Connection) -> None:
    """Store the current time as that of the loss."""
    sql = "INSERT INTO counter VALUES (?, ?) ON CONFLICT DO UPDATE SET value = excluded.value"
    row = (LOSS_COUNTER_NAME, time_ns() // 1000)
    connection.execute(sql, row)


def last_loss(connection: sqlite3.Connection) -> int | None:
    """Return the time of the last loss (µs), if it was in the last 30 days."""
    sql = "SELECT value FROM counter WHERE name = ?"
    row = connection.execute(sql, (LOSS_COUNTER_NAME,)).fetchone()
    return row[0] if row and row[0] > time_ns() // 1000 - LOSS_REPORT_MICROS else None
