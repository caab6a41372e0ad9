"""Whole tables, read page by page in the order of a key.

A page is one short transaction of bounded size, so that a table of any size neither meets a
deadline nor keeps the write-ahead log from being checkpointed.
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
    """`read_internal` of a `Database` or of `Views`."""

    def __call__(self, job: Callable[[sqlite3.Connection], T], /) -> Awaitable[T]:
        """Run `job` on a reader."""


@dataclass(frozen=True)
class TableScan:
    """What to read: `columns` of the rows of `name` for which `where` holds.

    `key` names columns that an index has in this order; `name` may say which (`INDEXED BY`), where
    SQLite would sort the rows of another one. Where several rows share a key, a page has all of
    them or none. Only rows behind `after` and up to `upto` (inclusive) are read.
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
    """Run `take` on each page's rows, on the reader's thread, and yield its results."""
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
    """The rows, some thousands at a time; a page may be empty although others follow."""
    async for rows in map_pages(read, table, lambda rows: rows):
        yield rows


async def read_all_rows(read: QueryRunner, table: TableScan) -> list[SqlRow]:
    """All rows in one list, for tables that are held in memory anyway."""
    return [row async for rows in read_pages(read, table) for row in rows]


class _ScanPage:
    """One page: `last` is the key that it ends with, None if no page follows."""

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
        # A page is bounded by the rows read, not by the rows that `where` accepts.
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
