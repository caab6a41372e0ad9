"""The rows that imports did not take; the newest are kept, those that fall out are counted."""

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass

from store.commands import Command
from store.database import Database
from store.steps import Steps

LIMIT = 100_000
DROPPED = "import rejects dropped"
PUBLISHED = "import IN (SELECT id FROM import WHERE published_at IS NOT NULL)"


@dataclass(frozen=True)
class Rejected:
    """A row that was not taken, as it came; line 0 is the file as a whole."""

    id: int
    number: int  # of the import
    file: str
    line: int
    reason: str
    row: str


@dataclass(frozen=True)
class Rejects:
    """A page of rejected rows, newest first; `next` goes on from there, None at the end."""

    rejected: list[Rejected]
    kept: int
    dropped: int
    next: int | None


async def rejects(
    database: Database, *, before: int | None = None, limit: int = 100, number: int | None = None
) -> Rejects:
    """The newest `limit` rejected rows whose id is below `before`, and how many there are.

    Of the import of that `number` alone, if one is given.
    """
    which, whose = (PUBLISHED, ()) if number is None else (f"{PUBLISHED} AND import = ?", (number,))

    def job(connection: sqlite3.Connection) -> Rejects:
        sql = (
            f"SELECT id, import, file, line, reason, row FROM reject WHERE {which} "  # noqa: S608
            "AND id < ? ORDER BY id DESC LIMIT ?"
        )
        values = (*whose, 2**63 - 1 if before is None else before, limit + 1)
        rows = [Rejected(*row) for row in connection.execute(sql, values)]
        count = f"SELECT count(*) FROM reject WHERE {which}"  # noqa: S608
        kept = connection.execute(count, whose).fetchone()[0]
        sql = "SELECT value FROM counter WHERE name = ?"
        dropped = connection.execute(sql, (DROPPED,)).fetchone()
        more = len(rows) > limit
        return Rejects(
            rows[:limit],
            kept,
            dropped[0] if dropped else 0,
            rows[limit - 1].id if more else None,
        )

    return await database.read(job)


class ListRejects(Command[Rejects], frozen=True):
    """The newest rejected rows whose id is below `before`."""

    before: int | None = None
    limit: int = 100

    async def run(self, database: Database) -> Rejects:
        """See `rejects`."""
        return await rejects(database, before=self.before, limit=max(1, self.limit))


def count_dropped(connection: sqlite3.Connection, count: int) -> None:
    """Count rows that fell out."""
    if count:
        sql = (
            "INSERT INTO counter VALUES (?, ?) ON CONFLICT DO UPDATE SET "
            "value = value + excluded.value"
        )
        connection.execute(sql, (DROPPED, count))


async def trim(database: Database) -> None:
    """Let the oldest rows beyond `LIMIT` fall out, in small steps."""

    def oldest(connection: sqlite3.Connection) -> list[tuple[int]]:
        excess = connection.execute("SELECT count(*) FROM reject").fetchone()[0] - LIMIT
        sql = "SELECT id FROM reject ORDER BY id LIMIT ?"
        return connection.execute(sql, (max(0, excess),)).fetchall()

    def drop(connection: sqlite3.Connection, rows: Sequence[tuple[int]]) -> None:
        connection.executemany("DELETE FROM reject WHERE id = ?", rows)
        count_dropped(connection, len(rows))

    await Steps(database).write(await database.read_internal(oldest), drop)
