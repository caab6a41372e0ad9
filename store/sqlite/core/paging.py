"""Paged reads of whole tables in the order of a key.

Each page is a short transaction of bounded size: even a huge table neither exceeds a deadline nor
blocks checkpoints of the WAL.
"""

import logging
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from time import monotonic
from typing import Any, Protocol, TypeVar

LOG = logging.getLogger("marquee.paging")
T = TypeVar("T")
SqlRow = tuple[Any, ...]

PAGE_ROWS = 5_000
# Seconds between the log lines of a long read.
PROGRESS_LOG_SECONDS = 5.0
MAX_SQLITE_INTEGER = 2**63 - 1


class QueryRunner(Protocol):
    """`read_internal` of a `Database` or of `Projections`."""

    def __call__(self, job: Callable[[sqlite3.Connection], T], /) -> Awaitable[T]:
        """Run `job` on a reader connection; return its result."""


@dataclass(frozen=True)
class TableScan:
    """A query of the `columns` of those rows of table `name` that match `where`.

    `key` lists the columns of an index in its order; `name` may force the index (`INDEXED BY`) if
    SQLite would choose another one and sort. Rows with the same key are on the same page. `after`
    (exclusive) and `upto` (inclusive) limit the range of keys.
    """

    name: str
    key: tuple[str, ...]
    columns: str
    where: str = "true"
    values: tuple[object, ...] = ()
    after: tuple[object, ...] | None = None
    upto: tuple[object, ...] | None = None


async def map_pages(
    read: QueryRunner,
    table: TableScan,
    take: Callable[[list[SqlRow]], T],
    *,
    page_rows: int | None = None,
) -> AsyncIterator[T]:
    """Run `take` on the rows of each page, on the reader's thread, and yield its results."""
    after, done = table.after, 0
    due = monotonic() + PROGRESS_LOG_SECONDS
    while True:
        page = _ScanPage(table, after, page_rows or PAGE_ROWS, take)
        result = await read(page.read)
        done += page.count
        yield result
        after = page.last
        if after is None:
            return
        if monotonic() >= due:
            due = monotonic() + PROGRESS_LOG_SECONDS
            LOG.info("reading a large table table=%s rows=%d", table.name, done)


async def read_pages(read: QueryRunner, table: TableScan) -> AsyncIterator[list[SqlRow]]:
    """Yield pages of rows; a page may be empty although others follow."""
    async for rows in map_pages(read, table, lambda rows: rows):
        yield rows


async def read_all_rows(read: QueryRunner, table: TableScan) -> list[SqlRow]:
    """Return all rows, for tables that are held in memory anyway."""
    return [row async for rows in read_pages(read, table) for row in rows]


class _ScanPage:
    """One page; after `read`, `last` is its last key, or None if no page follows."""

    def __init__(
        self,
        table: TableScan,
        after: tuple[object, ...] | None,
        size: int,
        take: Callable[[list[SqlRow]], Any],
    ) -> None:
        self.last: tuple[object, ...] | None = None
        self.count = 0
        self._table, self._after, self._size, self._take = table, after, size, take

    def read(self, connection: sqlite3.Connection) -> Any:
        table = self._table
        key = ", ".join(table.key)
        marks = ", ".join("?" * len(table.key))

        def between(upto: tuple[object, ...] | None) -> tuple[str, list[object]]:
            ends = [(">", self._after), ("<=", upto)]
            bounds = [f"({key}) {sign} ({marks})" for sign, end in ends if end is not None]
            return " AND ".join(bounds) or "true", [*(self._after or ()), *(upto or ())]

        within, values = between(table.upto)
        # The page size limits the rows read, not the rows that match `where`.
        sql = (
            f"SELECT {key} FROM {table.name} WHERE {within} "  # noqa: S608
            f"ORDER BY {key} LIMIT 1 OFFSET {self._size - 1}"
        )
        self.last = connection.execute(sql, values).fetchone()
        if self.last is not None:
            within, values = between(self.last)
        sql = (
            f"SELECT {table.columns} FROM {table.name} "  # noqa: S608
            f"WHERE {within} AND ({table.where}) ORDER BY {key}"
        )
        rows = connection.execute(sql, [*values, *table.values]).fetchall()
        self.count = len(rows)
        return self._take(rows)
