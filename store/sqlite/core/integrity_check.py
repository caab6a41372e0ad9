"""Integrity checks of a database: its pages, its foreign keys and the counts of the event log."""

import sqlite3

MAX_REPORTED_ERRORS = 5
# The loaded SQLite, and the first version without the WAL-reset bug, by which two connections can
# corrupt a database (sqlite.org/wal.html).
SQLITE_VERSION, SAFE_SQLITE_VERSION = sqlite3.sqlite_version_info, (3, 51, 3)

EVENT_COUNTS_SQL = "SELECT received, stored, duplicate, rejected, refused FROM log"
REJECTED_COUNTS_SQL = """
SELECT rejects, rejects_bytes,
    (SELECT count(*) FROM event_reject),
    (SELECT coalesce(sum(length(body) + length(CAST(errors AS BLOB))), 0) FROM event_reject)
FROM log
"""
LAST_EVENT_ID_SQL = "SELECT last, (SELECT coalesce(max(id), 0) FROM event) FROM log"


def find_integrity_errors(connection: sqlite3.Connection, *, quick: bool = False) -> list[str]:
    """Return descriptions of the errors in a Marquee database.

    `quick` omits the comparison of indexes with their tables.
    """
    try:
        return check_pages(connection, "quick_check" if quick else "integrity_check") or [
            *check_counts(connection),
            *_check_foreign_keys(connection),
        ]
    except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
        return [str(error)]


def check_counts(connection: sqlite3.Connection) -> list[str]:
    """Return descriptions of the log's counts that do not match its rows or sums."""
    found = []
    received, *parts = connection.execute(EVENT_COUNTS_SQL).fetchone()
    if received != sum(parts):
        found.append(f"the log counts {received:,} received, but {sum(parts):,} by what became")
    rejected, rejected_bytes, rows, size = connection.execute(REJECTED_COUNTS_SQL).fetchone()
    if (rejected, rejected_bytes) != (rows, size):
        found.append(f"the log counts {rejected:,} rejects, and {rows:,} are kept")
    last, newest = connection.execute(LAST_EVENT_ID_SQL).fetchone()
    if newest > last:
        found.append(f"event {newest} is newer than the last that was given, {last}")
    return found


def check_pages(connection: sqlite3.Connection, check: str) -> list[str]:
    """Return the errors that a `check` (`quick_check` or `integrity_check`) finds in the pages."""
    errors = [row[0] for row in connection.execute(f"PRAGMA {check}({MAX_REPORTED_ERRORS})")]
    return [] if errors == ["ok"] else errors


def _check_foreign_keys(connection: sqlite3.Connection) -> list[str]:
    rows = connection.execute("PRAGMA foreign_key_check").fetchmany(MAX_REPORTED_ERRORS)
    return [f"row {row} of {table} belongs to nothing" for table, row, *_ in rows]
