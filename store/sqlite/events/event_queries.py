"""Asking for events: in order of occurrence, then of arrival, page by page.

A page is index rows of the views and, merged with them, what the views do not have yet: the tail
of the log past their place, and events that were changed since. So an event is found as soon as
it is acknowledged. The tail is bounded: past the bound a query has the views catch up first.
"""

import base64
import json
import re
import sqlite3
import struct
from bisect import bisect_right
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate, chain, product
from typing import Any, NamedTuple, TypeVar

import msgspec

from domain.common.timestamp import format_timestamp
from domain.events.event import EVENT_SOURCES
from store.api.errors import StoreBusy
from store.sqlite.core.database import Database
from store.sqlite.projections.projections import ProjectionCheckpoint, Projections, read_checkpoint
from store.sqlite.projections.session_key import session_key

SOURCE_NAMES = {number: name for name, number in EVENT_SOURCES.items()}
EVENT_COLUMNS = "id, sender, app, source, session, category, name, data, at, received"
# The events with the ids in a JSON array, in its order.
EVENTS_BY_ID_SQL = """
(SELECT value FROM json_each(?)) AS wanted CROSS JOIN log.event ON event.id = wanted.value
"""
# Both ends are left out.
IN_SPAN_SQL = "(at, id) > (?, ?) AND (at, id) < (?, ?)"
# The apps that have events, without reading every kind.
APPS_WITH_EVENTS_SQL = """
WITH RECURSIVE apps (app) AS (
    SELECT min(app) FROM kind
    UNION ALL
    SELECT (SELECT min(app) FROM kind WHERE app > apps.app) FROM apps WHERE app IS NOT NULL
)
SELECT app FROM apps WHERE app IS NOT NULL
"""
# Rows past the place of the views that a query looks through.
MAX_TAIL_ROWS = 50_000
# Index rows that a query looks through where no index has just those that it asks for.
MAX_INDEX_ROWS = 50_000
# Lists of an index that are merged; for more kinds than that, all of an app's are looked through.
MAX_INDEX_LISTS = 64
# Steps of the views that a query waits for, at most.
MAX_PROJECTION_STEPS = 5
EXPORT_PAGE_ROWS = 500
# A page ends when the data of its events has so many bytes, one of an export earlier: it is held
# for as long as its reader takes. An event has up to 256 KiB.
MAX_PAGE_BYTES, EXPORT_PAGE_BYTES = 1_048_576, 131_072
# Events whose sizes are asked for first, then twice as many each time: SQLite before 3.43 reads all
# of the data to tell its size.
FIRST_SIZES_READ = 4
CURSOR_PATTERN = re.compile("[A-Za-z0-9_-]{22}")
POSITION_STRUCT, INVALID_CURSOR_MESSAGE = (
    struct.Struct(">qQ"),
    "is no cursor that was given out here",
)
MAX_INT64 = 2**63 - 1
FIRST_POSITION, LAST_POSITION = (-MAX_INT64 - 1, -1), (MAX_INT64, MAX_INT64)

EventPosition = tuple[int, int]  # at, id


class InvalidEventCursor(ValueError):
    """A cursor that was not given out here."""


@dataclass(frozen=True)
class EventFilter:
    """Which events are asked for; None for any."""

    session: str | None = None
    category: str | None = None
    name: str | None = None
    app: int | None = None
    source: int | None = None  # as in rules.event.SOURCES
    since: int | None = None  # µs
    until: int | None = None  # µs, not included

    def columns(self) -> dict[str, Any]:
        """What columns of the log must hold."""
        session = {} if self.session is None else {"session": self.session}
        return session | self.kinds()

    def kinds(self) -> dict[str, Any]:
        """What columns of a kind must hold."""
        wanted: dict[str, Any] = {"app": self.app, "source": self.source}
        wanted |= {"category": self.category, "name": self.name}
        return {name: value for name, value in wanted.items() if value is not None}


class LoggedEvent(msgspec.Struct):
    """An event as it is answered."""

    id: str
    sender_id: str | None
    app: int
    source: str
    session_id: str | None
    category: str
    name: str
    data: msgspec.Raw
    timestamp: str
    received_at: str


class EventPage(msgspec.Struct):
    """Some events, and where to go on; None at the end.

    Where much had to be looked through, or events are large, there may be fewer events than were
    asked for, or none, although it goes on.
    """

    events: list[LoggedEvent]
    cursor: str | None


class EventSpan(NamedTuple):
    """A part of the order of events; neither end is in it."""

    low: EventPosition
    high: EventPosition
    newest_first: bool

    @property
    def order(self) -> str:
        """The words that put rows in order."""
        way = " DESC" if self.newest_first else ""
        return f"ORDER BY at{way}, id{way}"

    def values(self) -> tuple[int, ...]:
        """The four numbers."""
        return (*self.low, *self.high)

    def within(self, end: EventPosition) -> "EventSpan":
        """The part up to and with `end`, in the direction of reading."""
        at, number = end
        if self.newest_first:
            return self._replace(low=(at, number - 1))
        return self._replace(high=(at, number + 1))


class IndexLists(NamedTuple):
    """Lists of an index, each in order, that hold what is asked for, and other things maybe."""

    tables: Sequence[str]
    column: str
    keys: Sequence[int]
    kinds: tuple[str, list[Any]] | None  # the condition on a row's kind, if there is one
    session: str | None = None  # whose key this is, maybe among others


StoredEventRow = tuple[int, str | None, int, int, str | None, str, str, str, int, int]
_decode_rows = msgspec.json.Decoder(list[StoredEventRow]).decode
_decode_positions = msgspec.json.Decoder(list[EventPosition]).decode
_decode_sizes = msgspec.json.Decoder(list[int]).decode
T = TypeVar("T")


@dataclass(frozen=True)
class MatchingPositions:
    """Return positions of the next matching events, and the next cursor; None at the end."""

    positions: list[EventPosition]
    end: EventPosition | None


class EventQueries:
    """The events of the log, by way of the views."""

    def __init__(self, database: Database, views: Projections, *, internal: bool = False) -> None:
        """`internal` reads have no deadline."""
        self._database = database
        self._views = views
        self._read = views.read_internal if internal else views.read

    async def find(
        self,
        wanted: EventFilter,
        *,
        newest_first: bool = False,
        limit: int = 100,
        size: int = MAX_PAGE_BYTES,
        cursor: str | None = None,
    ) -> EventPage:
        """Return the next matching events after `cursor`.

        There are up to `limit` of them, and up to `size` bytes of data, or one event. Raises
        `BadCursor`, or `StoreBusy` when the views are far behind.
        """

        def job(connection: sqlite3.Connection, found: MatchingPositions) -> EventPage:
            rows = _fetch_rows(connection, [number for _, number in found.positions], size)
            end = found.end
            if len(rows) < len(found.positions):
                end = _row_position(rows[-1])
            return EventPage([_logged_event(row) for row in rows], _encode_cursor(end))

        return await self._find(wanted, newest_first, limit, cursor, job)

    async def sizes(
        self, wanted: EventFilter, *, limit: int = EXPORT_PAGE_ROWS, cursor: str | None = None
    ) -> tuple[list[tuple[int, int]], str | None]:
        """The next events that are wanted, as (id, bytes of data), and the cursor after them."""

        def job(
            connection: sqlite3.Connection, found: MatchingPositions
        ) -> tuple[list[tuple[int, int]], str | None]:
            numbers = [number for _, number in found.positions]
            sizes = list(zip(numbers, _data_sizes(connection, numbers), strict=True))
            return sizes, _encode_cursor(found.end)

        return await self._find(wanted, False, limit, cursor, job)

    async def _find(
        self,
        wanted: EventFilter,
        newest_first: bool,
        limit: int,
        cursor: str | None,
        job: Callable[[sqlite3.Connection, MatchingPositions], T],
    ) -> T:
        """Return the result of `job` for the next matching events."""
        low, high = FIRST_POSITION, LAST_POSITION
        if wanted.since is not None:
            low = (wanted.since, -1)
        if wanted.until is not None:
            high = (wanted.until, -1)
        if cursor is not None and newest_first:
            high = min(high, _decode_cursor(cursor))
        elif cursor is not None:
            low = max(low, _decode_cursor(cursor))
        span = EventSpan(low, high, newest_first)

        def look(connection: sqlite3.Connection) -> tuple[T] | None:
            found = _find_positions(connection, wanted, span, limit)
            return None if found is None else (job(connection, found),)

        for _ in range(MAX_PROJECTION_STEPS):
            made = await self._read(look)
            if made is not None:
                return made[0]
            await self._views.step()
        raise StoreBusy("the views are being made, or are far behind")

    async def get(self, number: int) -> LoggedEvent | None:
        """One event."""
        sql = f"SELECT {EVENT_COLUMNS} FROM event WHERE id = ? AND data IS NOT NULL"  # noqa: S608
        row = await self._database.read(lambda it: it.execute(sql, (number,)).fetchone())
        return None if row is None else _logged_event(row)

    async def kinds(self, most: int) -> list[tuple[str, str]]:
        """Some of the types of events that there are: (category, name)."""
        sql = "SELECT DISTINCT category, name FROM kind ORDER BY category, name LIMIT ?"
        return await self._views.read(lambda it: it.execute(sql, (most,)).fetchall())

    async def export(
        self, wanted: EventFilter, *, newest_first: bool = False
    ) -> AsyncIterator[list[LoggedEvent]]:
        """Yield all matching events, a few at a time, without a transaction in between."""
        cursor = None
        while True:
            page = await self.find(
                wanted,
                newest_first=newest_first,
                limit=EXPORT_PAGE_ROWS,
                size=EXPORT_PAGE_BYTES,
                cursor=cursor,
            )
            events, cursor = page.events, page.cursor
            del page  # or it would be held for as long as the reader takes
            yield events
            if cursor is None:
                return


def _find_positions(
    connection: sqlite3.Connection, wanted: EventFilter, span: EventSpan, limit: int
) -> MatchingPositions | None:
    """The next positions; None if too much of the log is not in the views."""
    here = read_checkpoint(connection)
    sql = "SELECT count(*) FROM (SELECT 1 FROM log.event WHERE id > ? LIMIT ?)"
    if connection.execute(sql, (here.id, MAX_TAIL_ROWS + 1)).fetchone()[0] > MAX_TAIL_ROWS:
        return None
    lists = _choose_index_lists(connection, wanted)
    end = None
    if lists.kinds is not None:
        end = _search_bound(connection, lists, span)
        if end is not None:
            span = span.within(end)
    found = _scan_log_tail(connection, wanted, span, here, limit + 1)
    for start in range(0, len(lists.keys), MAX_INDEX_LISTS):
        keys = lists.keys[start : start + MAX_INDEX_LISTS]
        found += _merge_index_lists(connection, lists, keys, span, here, limit + 1)
    found.sort(reverse=span.newest_first)
    if len(found) > limit:
        found = found[:limit]
        end = found[-1]
    return MatchingPositions(found, end)


def _fetch_rows(
    connection: sqlite3.Connection, numbers: Sequence[int], size: int
) -> list[StoredEventRow]:
    """The events with these ids, up to `size` bytes of data, but at least one."""
    sizes: list[int] = []
    while len(sizes) < len(numbers) and sum(sizes) <= size:
        start = len(sizes)
        sizes += _data_sizes(connection, numbers[start : start + max(FIRST_SIZES_READ, start)])
    count = max(1, bisect_right(list(accumulate(sizes)), size))
    # All rows in one value: after each row the thread would have to wait for the interpreter.
    sql = f"SELECT json_group_array(json_array({EVENT_COLUMNS})) FROM {EVENTS_BY_ID_SQL}"  # noqa: S608
    return _decode_rows(connection.execute(sql, (json.dumps(numbers[:count]),)).fetchone()[0])


def _data_sizes(connection: sqlite3.Connection, numbers: Sequence[int]) -> list[int]:
    """The bytes of data of the events with these ids."""
    sql = f"SELECT json_group_array(length(CAST(data AS BLOB))) FROM {EVENTS_BY_ID_SQL}"  # noqa: S608
    return _decode_sizes(connection.execute(sql, (json.dumps(numbers),)).fetchone()[0])


def _choose_index_lists(connection: sqlite3.Connection, wanted: EventFilter) -> IndexLists:
    kinds = wanted.kinds()
    condition = " AND ".join(f"{name} = ?" for name in kinds)
    values = list(kinds.values())
    of_kind = (condition, values) if kinds else None
    if wanted.session is not None:
        key = session_key(wanted.session)
        assert key is not None
        tables = ("by_session", "by_session_recent")
        return IndexLists(tables, "session", [key], of_kind, wanted.session)
    apps = (
        _first_column(connection, APPS_WITH_EVENTS_SQL, []) if wanted.app is None else [wanted.app]
    )
    if kinds.keys() - {"app"}:
        numbers = _matching_kinds(connection, wanted, apps)
        if len(numbers) <= MAX_INDEX_LISTS:
            return IndexLists(("by_kind",), "kind", numbers, None)
    else:
        of_kind = None
    return IndexLists(("by_app",), "app", apps, of_kind)


def _matching_kinds(
    connection: sqlite3.Connection, wanted: EventFilter, apps: Sequence[int]
) -> list[int]:
    """Return the matching kinds, at most one more than `LISTS`."""
    sources = EVENT_SOURCES.values() if wanted.source is None else [wanted.source]
    types = {"category": wanted.category, "name": wanted.name}
    equal = {name: value for name, value in types.items() if value is not None}
    # With app and source as loops, an index has just the wanted kinds of each.
    sql = (
        "SELECT kind.id FROM json_each(?) AS app CROSS JOIN json_each(?) AS source "  # noqa: S608
        "CROSS JOIN kind ON kind.app = app.value AND kind.source = source.value "
        + "".join(f"AND kind.{name} = ? " for name in equal)
        + f"LIMIT {MAX_INDEX_LISTS + 1}"
    )
    arguments = [json.dumps([*apps]), json.dumps([*sources]), *equal.values()]
    return _first_column(connection, sql, arguments)


def _search_bound(
    connection: sqlite3.Connection, lists: IndexLists, span: EventSpan
) -> EventPosition | None:
    """Where the search must stop, so that it looks through no more than it may; None: nowhere."""
    ends: list[EventPosition] = []
    sql = (
        f"SELECT at, id FROM {{}} WHERE {lists.column} = ? AND {IN_SPAN_SQL} {span.order} "  # noqa: S608
        f"LIMIT 1 OFFSET {max(1, MAX_INDEX_ROWS // len(lists.keys)) if lists.keys else 0}"
    )
    for table, key in product(lists.tables, lists.keys):
        ends += connection.execute(sql.format(table), (key, *span.values())).fetchall()
    if not ends:
        return None
    return max(ends) if span.newest_first else min(ends)


def _merge_index_lists(
    connection: sqlite3.Connection,
    lists: IndexLists,
    keys: Sequence[int],
    span: EventSpan,
    here: ProjectionCheckpoint,
    limit: int,
) -> list[EventPosition]:
    """The first positions of some lists."""
    condition, values = "", []
    if lists.kinds is not None:
        # Row by row: there may be many more kinds than rows to read.
        condition = (
            "AND EXISTS (SELECT 1 FROM kind "  # noqa: S608
            f"WHERE kind.id = listed.kind AND {lists.kinds[0]}) "
        )
        values = lists.kinds[1]
    if lists.session is not None:
        condition += "AND event.session = ? "
        values = [*values, lists.session]
    one = (
        "SELECT listed.id AS id, listed.at AS at "  # noqa: S608
        f"FROM {{}} AS listed CROSS JOIN log.event ON event.id = listed.id "
        f"WHERE listed.{lists.column} = ? {condition} AND event.data IS NOT NULL "
        "AND listed.id NOT IN (SELECT id FROM log.change WHERE n > ?) "
        f"AND {IN_SPAN_SQL.replace('(at, id)', '(listed.at, listed.id)')}"
    )
    parts = [one.format(table) for table in lists.tables for _ in keys]
    arguments = [(key, *values, here.change, *span.values()) for _ in lists.tables for key in keys]
    return _ordered_positions(connection, " UNION ALL ".join(parts), arguments, span, limit)


def _scan_log_tail(
    connection: sqlite3.Connection,
    wanted: EventFilter,
    span: EventSpan,
    here: ProjectionCheckpoint,
    limit: int,
) -> list[EventPosition]:
    """The first positions among those that the views do not have, or have otherwise."""
    equal = wanted.columns()
    condition = "".join(f"AND {name} = ? " for name in equal)
    one = (
        f"SELECT id, at FROM log.event "  # noqa: S608
        f"WHERE {{}} AND data IS NOT NULL {condition} AND {IN_SPAN_SQL}"
    )
    past = "id > ?"
    changed = "id <= ? AND id IN (SELECT id FROM log.change WHERE n > ?)"
    sql = f"{one.format(past)} UNION ALL {one.format(changed)}"
    values = (*equal.values(), *span.values())
    arguments = [(here.id, *values), (here.id, here.change, *values)]
    return _ordered_positions(connection, sql, arguments, span, limit)


def _ordered_positions(
    connection: sqlite3.Connection,
    sql: str,
    arguments: Sequence[tuple[Any, ...]],
    span: EventSpan,
    limit: int,
) -> list[EventPosition]:
    sql = (
        "SELECT json_group_array(json_array(at, id)) FROM "  # noqa: S608
        f"({sql} {span.order} LIMIT {limit})"
    )
    found = connection.execute(sql, [*chain.from_iterable(arguments)]).fetchone()[0]
    return _decode_positions(found)


def _first_column(connection: sqlite3.Connection, sql: str, values: list[Any]) -> list[Any]:
    return [row[0] for row in connection.execute(sql, values)]


def _row_position(row: StoredEventRow) -> EventPosition:
    return row[8], row[0]


def _encode_cursor(end: EventPosition | None) -> str | None:
    if end is None:
        return None
    return base64.urlsafe_b64encode(POSITION_STRUCT.pack(*end)).decode().rstrip("=")


def _decode_cursor(cursor: str) -> EventPosition:
    if not CURSOR_PATTERN.fullmatch(cursor):
        raise InvalidEventCursor(INVALID_CURSOR_MESSAGE)
    at, number = POSITION_STRUCT.unpack(base64.urlsafe_b64decode(cursor + "=="))
    if number > MAX_INT64:
        raise InvalidEventCursor(INVALID_CURSOR_MESSAGE)
    return at, number


def _logged_event(row: StoredEventRow) -> LoggedEvent:
    number, sender, app, source, session, category, name, data, at, received = row
    return LoggedEvent(
        str(number),
        sender,
        app,
        SOURCE_NAMES.get(source, str(source)),
        session,
        category,
        name,
        msgspec.Raw(data.encode()),
        format_timestamp(at),
        format_timestamp(received),
    )
