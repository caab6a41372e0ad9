"""Rejected rows of imports: the newest are stored, dropped ones are counted."""

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
    """A rejected row with its original text; line 0 stands for the whole file."""

    id: int
    number: int  # of the import
    file: str
    line: int
    reason: str
    row: str


@dataclass(frozen=True)
class RejectedRowPage:
    """A page of rejected rows, newest first; `next` is the next `before`, None at the end."""

    rejected: list[RejectedRowEntry]
    kept: int
    dropped: int
    next: int | None


async def list_rejected_rows(
    database: Database, *, before: int | None = None, limit: int = 100, number: int | None = None
) -> RejectedRowPage:
    """Return the newest `limit` rejected rows with ids below `before`, and the total counts.

    With `number`, of that import only.
    """
    condition, parameters = (
        (PUBLISHED_IMPORT_ONLY, ())
        if number is None
        else (f"{PUBLISHED_IMPORT_ONLY} AND import = ?", (number,))
    )

    def read(connection: sqlite3.Connection) -> RejectedRowPage:
        sql = (
            f"SELECT id, import, file, line, reason, row FROM reject WHERE {condition} "  # noqa: S608
            "AND id < ? ORDER BY id DESC LIMIT ?"
        )
        values = (*parameters, 2**63 - 1 if before is None else before, limit + 1)
        rows = [RejectedRowEntry(*row) for row in connection.execute(sql, values)]
        count_sql = f"SELECT count(*) FROM reject WHERE {condition}"  # noqa: S608
        kept = connection.execute(count_sql, parameters).fetchone()[0]
        sql = "SELECT value FROM counter WHERE name = ?"
        dropped = connection.execute(sql, (DROPPED_ROWS_COUNTER,)).fetchone()
        return RejectedRowPage(
            rows[:limit],
            kept,
            dropped[0] if dropped else 0,
            rows[limit - 1].id if len(rows) > limit else None,
        )

    return await database.read(read)


class ListRejectedRows(AdminCommand[RejectedRowPage], frozen=True):
    """List the newest rejected rows with ids below `before`."""

    before: int | None = None
    limit: int = 100

    async def run(self, database: Database) -> RejectedRowPage:
        """See `list_rejected_rows`."""
        return await list_rejected_rows(database, before=self.before, limit=max(1, self.limit))


def count_dropped_rows(connection: sqlite3.Connection, count: int) -> None:
    """Add to the number of dropped rows."""
    if count:
        sql = (
            "INSERT INTO counter VALUES (?, ?) ON CONFLICT DO UPDATE SET "
            "value = value + excluded.value"
        )
        connection.execute(sql, (DROPPED_ROWS_COUNTER, count))


async def trim_rejected_rows(database: Database) -> None:
    """Delete the oldest rows beyond `MAX_REJECTED_ROWS` in small steps."""

    def find_oldest(connection: sqlite3.Connection) -> list[tuple[int]]:
        excess = connection.execute("SELECT count(*) FROM reject").fetchone()[0] - MAX_REJECTED_ROWS
        sql = "SELECT id FROM reject ORDER BY id LIMIT ?"
        return connection.execute(sql, (max(0, excess),)).fetchall()

    def delete(connection: sqlite3.Connection, rows: Sequence[tuple[int]]) -> None:
        connection.executemany("DELETE FROM reject WHERE id = ?", rows)
        count_dropped_rows(connection, len(rows))

    await BatchedWriter(database).write(await database.read_internal(find_oldest), delete)
