"""The rows that imports did not take; the newest are kept, those that fall out are counted."""

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass

from store.sqlite.core.batched_writes import BatchedWriter
from store.sqlite.core.command import AdminCommand
from store.sqlite.core.database import Database

MAX_REJECTED_ROWS = 100_000
DROPPED_ROWS_COUNTER = "import rejects dropped"
PUBLISHED_IMPORT_ONLY = "import IN (SELECT id FROM import WHERE published_at IS NOT NULL)"


@dataclass(frozen=True)
class RejectedRowEntry:
    """A row that was not taken, as it came; line 0 is the file as a whole."""

    id: int
    number: int  # of the import
    file: str
    line: int
    reason: str
    row: str


@dataclass(frozen=True)
class RejectedRowPage:
    """A page of rejected rows, newest first; `next` goes on from there, None at the end."""

    rejected: list[RejectedRowEntry]
    kept: int
    dropped: int
    next: int | None


async def list_rejected_rows(
    database: Database, *, before: int | None = None, limit: int = 100, number: int | None = None
) -> RejectedRowPage:
    """The newest `limit` rejected rows whose id is below `before`, and how many there are.

    Of the import of that `number` alone, if one is given.
    """
    which, whose = (
        (PUBLISHED_IMPORT_ONLY, ())
        if number is None
        else (f"{PUBLISHED_IMPORT_ONLY} AND import = ?", (number,))
    )

    def job(connection: sqlite3.Connection) -> RejectedRowPage:
        sql = (
            f"SELECT id, import, file, line, reason, row FROM reject WHERE {which} "  # noqa: S608
            "AND id < ? ORDER BY id DESC LIMIT ?"
        )
        values = (*whose, 2**63 - 1 if before is None else before, limit + 1)
        rows = [RejectedRowEntry(*row) for row in connection.execute(sql, values)]
        count = f"SELECT count(*) FROM reject WHERE {which}"  # noqa: S608
        kept = connection.execute(count, whose).fetchone()[0]
        sql = "SELECT value FROM counter WHERE name = ?"
        dropped = connection.execute(sql, (DROPPED_ROWS_COUNTER,)).fetchone()
        more = len(rows) > limit
        return RejectedRowPage(
            rows[:limit],
            kept,
            dropped[0] if dropped else 0,
            rows[limit - 1].id if more else None,
        )

    return await database.read(job)


class ListRejectedRows(AdminCommand[RejectedRowPage], frozen=True):
    """The newest rejected rows whose id is below `before`."""

    before: int | None = None
    limit: int = 100

    async def run(self, database: Database) -> RejectedRowPage:
        """See `rejects`."""
        return await list_rejected_rows(database, before=self.before, limit=max(1, self.limit))


def count_dropped_rows(connection: sqlite3.Connection, count: int) -> None:
    """Count rows that fell out."""
    if count:
        sql = (
            "INSERT INTO counter VALUES (?, ?) ON CONFLICT DO UPDATE SET "
            "value = value + excluded.value"
        )
        connection.execute(sql, (DROPPED_ROWS_COUNTER, count))


async def trim_rejected_rows(database: Database) -> None:
    """Let the oldest rows beyond `LIMIT` fall out, in small steps."""

    def oldest(connection: sqlite3.Connection) -> list[tuple[int]]:
        excess = connection.execute("SELECT count(*) FROM reject").fetchone()[0] - MAX_REJECTED_ROWS
        sql = "SELECT id FROM reject ORDER BY id LIMIT ?"
        return connection.execute(sql, (max(0, excess),)).fetchall()

    def drop(connection: sqlite3.Connection, rows: Sequence[tuple[int]]) -> None:
        connection.executemany("DELETE FROM reject WHERE id = ?", rows)
        count_dropped_rows(connection, len(rows))

    await BatchedWriter(database).write(await database.read_internal(oldest), drop)
