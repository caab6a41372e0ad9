"""Time at which the log was last found to have lost acknowledged events, stored in the database."""

import sqlite3
from time import time_ns

LOSS_COUNTER_NAME = "log found to have lost events"
# How long a loss is reported.
LOSS_REPORT_MICROS = 30 * 86_400_000_000


def record_loss(connection: sqlite3.Connection) -> None:
    """Store the current time as the time of a loss."""
    sql = "INSERT INTO counter VALUES (?, ?) ON CONFLICT DO UPDATE SET value = excluded.value"
    row = (LOSS_COUNTER_NAME, time_ns() // 1000)
    connection.execute(sql, row)


def last_loss(connection: sqlite3.Connection) -> int | None:
    """Return the time of a loss in the last 30 days, in µs since 1970; None if there was none."""
    sql = "SELECT value FROM counter WHERE name = ?"
    row = connection.execute(sql, (LOSS_COUNTER_NAME,)).fetchone()
    return row[0] if row and row[0] > time_ns() // 1000 - LOSS_REPORT_MICROS else None
