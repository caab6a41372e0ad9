"""Queries for events in order of occurrence, then of id, page by page."""

import json
import sqlite3
from bisect import bisect_right
from collections.abc import AsyncIterator, Callable, Sequence
from itertools import accumulate
from typing import TypeVar

import msgspec

from store.api.errors import StoreBusy
from store.sqlite.core.database import Database
from store.sqlite.events import event_search
from store.sqlite.events.event_records import (
    EVENT_COLUMNS,
    EventFilter,
    EventPage,
    LoggedEvent,
    StoredEventRow,
    decode_cursor,
    encode_cursor,
    logged_event,
    row_position,
)
from store.sqlite.events.event_search import (
    FIRST_POSITION,
    LAST_POSITION,
    EventSpan,
    MatchingPositions,
)
from store.sqlite.projections.projections import Projections

# The events with the ids in a JSON array, in its order.
EVENTS_BY_ID_SQL = """
(SELECT value FROM json_each(?)) AS wanted CROSS JOIN log.event ON event.id = wanted.value
"""
# Maximum number of projection steps that a query waits for.
MAX_PROJECTION_STEPS = 5
EXPORT_PAGE_ROWS = 500
# Maximum bytes of data per page; smaller for exports, whose pages stay in memory for as long as the
# client takes to read them. One event has up to 256 KiB.
MAX_PAGE_BYTES, EXPORT_PAGE_BYTES = 1_048_576, 131_072
# Number of events in the first read of sizes; it doubles with each read. SQLite before 3.43 reads
# all of the data to determine its size.
FIRST_SIZES_READ = 4

_decode_rows = msgspec.json.Decoder(list[StoredEventRow]).decode
_decode_sizes = msgspec.json.Decoder(list[int]).decode
T = TypeVar("T")


class EventQueries:
    """Queries of the log, which search the projections' indexes."""

    def __init__(
        self, database: Database, projections: Projections, *, internal: bool = False
    ) -> None:
        """`internal` reads have no deadline."""
        self._database = database
        self._projections = projections
        self._read = projections.read_internal if internal else projections.read

    async def find(
        self,
        conditions: EventFilter,
        *,
        newest_first: bool = False,
        limit: int = 100,
        max_bytes: int = MAX_PAGE_BYTES,
        cursor: str | None = None,
    ) -> EventPage:
        """Return the next matching events after `cursor`.

        A page has up to `limit` events with up to `max_bytes` of data, or one larger event. Raises
        `InvalidEventCursor`, and `StoreBusy` if the projections lag far behind.
        """

        def read_page(connection: sqlite3.Connection, found: MatchingPositions) -> EventPage:
            rows = _fetch_rows(connection, [number for _, number in found.positions], max_bytes)
            end = found.end
            if len(rows) < len(found.positions):
                end = row_position(rows[-1])
            return EventPage([logged_event(row) for row in rows], encode_cursor(end))

        return await self._find(conditions, newest_first, limit, cursor, read_page)

    async def find_sizes(
        self, conditions: EventFilter, *, limit: int = EXPORT_PAGE_ROWS, cursor: str | None = None
    ) -> tuple[list[tuple[int, int]], str | None]:
        """Return (id, bytes of data) of the next matching events, and the next cursor."""

        def read_sizes(
            connection: sqlite3.Connection, found: MatchingPositions
        ) -> tuple[list[tuple[int, int]], str | None]:
            numbers = [number for _, number in found.positions]
            sizes = list(zip(numbers, _data_sizes(connection, numbers), strict=True))
            return sizes, encode_cursor(found.end)

        return await self._find(conditions, False, limit, cursor, read_sizes)

    async def _find(
        self,
        conditions: EventFilter,
        newest_first: bool,
        limit: int,
        cursor: str | None,
        read_events: Callable[[sqlite3.Connection, MatchingPositions], T],
    ) -> T:
        """Return the result of `read_events` for the next matching positions."""
        low, high = FIRST_POSITION, LAST_POSITION
        if conditions.since is not None:
            low = (conditions.since, -1)
        if conditions.until is not None:
            high = (conditions.until, -1)
        if cursor is not None and newest_first:
            high = min(high, decode_cursor(cursor))
        elif cursor is not None:
            low = max(low, decode_cursor(cursor))
        span = EventSpan(low, high, newest_first)

        def search(connection: sqlite3.Connection) -> tuple[T] | None:
            found = event_search.find_positions(connection, conditions, span, limit)
            return None if found is None else (read_events(connection, found),)

        for _ in range(MAX_PROJECTION_STEPS):
            result = await self._read(search)
            if result is not None:
                return result[0]
            await self._projections.step()
        raise StoreBusy("the projections are being rebuilt, or lag far behind")

    async def get(self, number: int) -> LoggedEvent | None:
        """Return an event; None if it does not exist."""
        sql = f"SELECT {EVENT_COLUMNS} FROM event WHERE id = ? AND data IS NOT NULL"  # noqa: S608
        row = await self._database.read(lambda it: it.execute(sql, (number,)).fetchone())
        return None if row is None else logged_event(row)

    async def list_event_types(self, limit: int) -> list[tuple[str, str]]:
        """Return up to `limit` event types as (category, name)."""
        sql = "SELECT DISTINCT category, name FROM kind ORDER BY category, name LIMIT ?"
        return await self._projections.read(lambda it: it.execute(sql, (limit,)).fetchall())

    async def export(
        self, conditions: EventFilter, *, newest_first: bool = False
    ) -> AsyncIterator[list[LoggedEvent]]:
        """Yield all matching events in small lists, each from a transaction of its own."""
        cursor = None
        while True:
            page = await self.find(
                conditions,
                newest_first=newest_first,
                limit=EXPORT_PAGE_ROWS,
                max_bytes=EXPORT_PAGE_BYTES,
                cursor=cursor,
            )
            events, cursor = page.events, page.cursor
            del page  # free it while the client reads
            yield events
            if cursor is None:
                return


def _fetch_rows(
    connection: sqlite3.Connection, numbers: Sequence[int], max_bytes: int
) -> list[StoredEventRow]:
    """Return the first of these events with up to `max_bytes` of data, but at least one."""
    sizes: list[int] = []
    while len(sizes) < len(numbers) and sum(sizes) <= max_bytes:
        start = len(sizes)
        sizes += _data_sizes(connection, numbers[start : start + max(FIRST_SIZES_READ, start)])
    count = max(1, bisect_right(list(accumulate(sizes)), max_bytes))
    # All rows in one value: sqlite3 releases and reacquires the interpreter lock for each row.
    sql = f"SELECT json_group_array(json_array({EVENT_COLUMNS})) FROM {EVENTS_BY_ID_SQL}"  # noqa: S608
    return _decode_rows(connection.execute(sql, (json.dumps(numbers[:count]),)).fetchone()[0])


def _data_sizes(connection: sqlite3.Connection, numbers: Sequence[int]) -> list[int]:
    """Return the bytes of data of each of these events."""
    sql = f"SELECT json_group_array(length(CAST(data AS BLOB))) FROM {EVENTS_BY_ID_SQL}"  # noqa: S608
    return _decode_sizes(connection.execute(sql, (json.dumps(numbers),)).fetchone()[0])
