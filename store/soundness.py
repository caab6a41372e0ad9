"""Whether a database is what it should be: its pages, and what the log says of itself."""

import sqlite3

MOST = 5  # faults that are told
# The SQLite that we have, and the first one whose WAL two connections cannot harm
# (sqlite.org/wal.html, "the WAL-reset bug").
SQLITE, UNHARMED = sqlite3.sqlite_version_info, (3, 51, 3)

SUMS = "SELECT received, stored, duplicate, rejected, refused FROM log"
KEPT = """
SELECT rejects, rejects_bytes,
    (SELECT count(*) FROM event_reject),
    (SELECT coalesce(sum(length(body) + length(CAST(errors AS BLOB))), 0) FROM event_reject)
FROM log
"""
LAST = "SELECT last, (SELECT coalesce(max(id), 0) FROM event) FROM log"


def faults(connection: sqlite3.Connection, *, quick: bool = False) -> list[str]:
    """What is wrong with a database of ours, in words; nothing if it is sound.

    `quick` leaves out whether indexes and tables agree.
    """
    try:
        return pages(connection, "quick_check" if quick else "integrity_check") or [
            *sums(connection),
            *_strays(connection),
        ]
    except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
        return [str(error)]


def sums(connection: sqlite3.Connection) -> list[str]:
    """Where the log's counts are not the sums that they should be."""
    found = []
    received, *parts = connection.execute(SUMS).fetchone()
    if received != sum(parts):
        found.append(f"the log counts {received:,} received, but {sum(parts):,} by what became")
    rejects, held, rows, size = connection.execute(KEPT).fetchone()
    if (rejects, held) != (rows, size):
        found.append(f"the log counts {rejects:,} rejects, and {rows:,} are kept")
    last, newest = connection.execute(LAST).fetchone()
    if newest > last:
        found.append(f"event {newest} is newer than the last that was given, {last}")
    return found


def pages(connection: sqlite3.Connection, check: str) -> list[str]:
    """What a `check` (`quick_check`, `integrity_check`) finds in a database's pages."""
    said = [row[0] for row in connection.execute(f"PRAGMA {check}({MOST})")]
    return [] if said == ["ok"] else said


def _strays(connection: sqlite3.Connection) -> list[str]:
    rows = connection.execute("PRAGMA foreign_key_check").fetchmany(MOST)
    return [f"row {row} of {table} belongs to nothing" for table, row, *_ in rows]
