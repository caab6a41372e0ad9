"""Whether a database is what it should be: its pages, and what the log says of itself."""

import sqlite3

MAX_REPORTED_ERRORS = 5  # faults that are told
# The SQLite that we have, and the first one whose WAL two connections cannot harm
# (sqlite.org/wal.html, "the WAL-reset bug").
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
    """What is wrong with a database of ours, in words; nothing if it is sound.

    `quick` leaves out whether indexes and tables agree.
    """
    try:
        return check_pages(connection, "quick_check" if quick else "integrity_check") or [
            *check_counts(connection),
            *_check_foreign_keys(connection),
        ]
    except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
        return [str(error)]


def check_counts(connection: sqlite3.Connection) -> list[str]:
    """Where the log's counts are not the sums that they should be."""
    found = []
    received, *parts = connection.execute(EVENT_COUNTS_SQL).fetchone()
    if received != sum(parts):
        found.append(f"the log counts {received:,} received, but {sum(parts):,} by what became")
    rejects, held, rows, size = connection.execute(REJECTED_COUNTS_SQL).fetchone()
    if (rejects, held) != (rows, size):
        found.append(f"the log counts {rejects:,} rejects, and {rows:,} are kept")
    last, newest = connection.execute(LAST_EVENT_ID_SQL).fetchone()
    if newest > last:
        found.append(f"event {newest} is newer than the last that was given, {last}")
    return found


def check_pages(connection: sqlite3.Connection, check: str) -> list[str]:
    """What a `check` (`quick_check`, `integrity_check`) finds in a database's pages."""
    said = [row[0] for row in connection.execute(f"PRAGMA {check}({MAX_REPORTED_ERRORS})")]
    return [] if said == ["ok"] else said


def _check_foreign_keys(connection: sqlite3.Connection) -> list[str]:
    rows = connection.execute("PRAGMA foreign_key_check").fetchmany(MAX_REPORTED_ERRORS)
    return [f"row {row} of {table} belongs to nothing" for table, row, *_ in rows]
