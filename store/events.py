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

from rules.event import SOURCES
from rules.timestamp import text
from store.database import Database
from store.errors import StoreBusy
from store.sessions import session_key
from store.views import Place, Views, place

NAMES = {number: name for name, number in SOURCES.items()}
COLUMNS = "id, sender, app, source, session, category, name, data, at, received"
# The events with the ids in a JSON array, in its order.
OF_IDS = """
(SELECT value FROM json_each(?)) AS wanted CROSS JOIN log.event ON event.id = wanted.value
"""
# Both ends are left out.
IN_SPAN = "(at, id) > (?, ?) AND (at, id) < (?, ?)"
# The apps that have events, without reading every kind.
APPS = """
WITH RECURSIVE apps (app) AS (
    SELECT min(app) FROM kind
    UNION ALL
    SELECT (SELECT min(app) FROM kind WHERE app > apps.app) FROM apps WHERE app IS NOT NULL
)
SELECT app FROM apps WHERE app IS NOT NULL
"""
# Rows past the place of the views that a query looks through.
TAIL = 50_000
# Index rows that a query looks through where no index has just those that it asks for.
DEPTH = 50_000
# Lists of an index that are merged; for more kinds than that, all of an app's are looked through.
LISTS = 64
# Steps of the views that a query waits for, at most.
TRIES = 5
EXPORTED = 500
# A page ends when the data of its events has so many bytes, one of an export earlier: it is held
# for as long as its reader takes. An event has up to 256 KiB.
PAGE_BYTES, EXPORTED_BYTES = 1_048_576, 131_072
# Events whose sizes are asked for first, then twice as many each time: SQLite before 3.43 reads all
# of the data to tell its size.
SIZED = 4
CURSOR = re.compile("[A-Za-z0-9_-]{22}")
POSITION, NO_CURSOR = struct.Struct(">qQ"), "is no cursor that was given out here"
LARGEST = 2**63 - 1
FIRST, LAST = (-LARGEST - 1, -1), (LARGEST, LARGEST)

Position = tuple[int, int]  # at, id


class BadCursor(ValueError):
    """A cursor that was not given out here."""


@dataclass(frozen=True)
class Filter:
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


class Page(msgspec.Struct):
    """Some events, and where to go on; None at the end.

    Where much had to be looked through, or events are large, there may be fewer events than were
    asked for, or none, although it goes on.
    """

    events: list[LoggedEvent]
    cursor: str | None


class Span(NamedTuple):
    """A part of the order of events; neither end is in it."""

    low: Position
    high: Position
    newest_first: bool

    @property
    def order(self) -> str:
        """The words that put rows in order."""
        way = " DESC" if self.newest_first else ""
        return f"ORDER BY at{way}, id{way}"

    def values(self) -> tuple[int, ...]:
        """The four numbers."""
        return (*self.low, *self.high)

    def within(self, end: Position) -> "Span":
        """The part up to and with `end`, in the direction of reading."""
        at, number = end
        if self.newest_first:
            return self._replace(low=(at, number - 1))
        return self._replace(high=(at, number + 1))


class Lists(NamedTuple):
    """Lists of an index, each in order, that hold what is asked for, and other things maybe."""

    tables: Sequence[str]
    column: str
    keys: Sequence[int]
    kinds: tuple[str, list[Any]] | None  # the condition on a row's kind, if there is one
    session: str | None = None  # whose key this is, maybe among others


Row = tuple[int, str | None, int, int, str | None, str, str, str, int, int]
_rows = msgspec.json.Decoder(list[Row]).decode
_positions = msgspec.json.Decoder(list[Position]).decode
_sizes = msgspec.json.Decoder(list[int]).decode
T = TypeVar("T")


@dataclass(frozen=True)
class Found:
    """Return positions of the next matching events, and the next cursor; None at the end."""

    positions: list[Position]
    end: Position | None


class Events:
    """The events of the log, by way of the views."""

    def __init__(self, database: Database, views: Views, *, internal: bool = False) -> None:
        """`internal` reads have no deadline."""
        self._database = database
        self._views = views
        self._read = views.read_internal if internal else views.read

    async def find(
        self,
        wanted: Filter,
        *,
        newest_first: bool = False,
        limit: int = 100,
        size: int = PAGE_BYTES,
        cursor: str | None = None,
    ) -> Page:
        """Return the next matching events after `cursor`.

        There are up to `limit` of them, and up to `size` bytes of data, or one event. Raises
        `BadCursor`, or `StoreBusy` when the views are far behind.
        """

        def job(connection: sqlite3.Connection, found: Found) -> Page:
            rows = _fetch(connection, [number for _, number in found.positions], size)
            end = found.end
            if len(rows) < len(found.positions):
                end = _place_of(rows[-1])
            return Page([_event(row) for row in rows], _cursor(end))

        return await self._find(wanted, newest_first, limit, cursor, job)

    async def sizes(
        self, wanted: Filter, *, limit: int = EXPORTED, cursor: str | None = None
    ) -> tuple[list[tuple[int, int]], str | None]:
        """The next events that are wanted, as (id, bytes of data), and the cursor after them."""

        def job(
            connection: sqlite3.Connection, found: Found
        ) -> tuple[list[tuple[int, int]], str | None]:
            numbers = [number for _, number in found.positions]
            sizes = list(zip(numbers, _sizes_of(connection, numbers), strict=True))
            return sizes, _cursor(found.end)

        return await self._find(wanted, False, limit, cursor, job)

    async def _find(
        self,
        wanted: Filter,
        newest_first: bool,
        limit: int,
        cursor: str | None,
        job: Callable[[sqlite3.Connection, Found], T],
    ) -> T:
        """Return the result of `job` for the next matching events."""
        low, high = FIRST, LAST
        if wanted.since is not None:
            low = (wanted.since, -1)
        if wanted.until is not None:
            high = (wanted.until, -1)
        if cursor is not None and newest_first:
            high = min(high, _position(cursor))
        elif cursor is not None:
            low = max(low, _position(cursor))
        span = Span(low, high, newest_first)

        def look(connection: sqlite3.Connection) -> tuple[T] | None:
            found = _find(connection, wanted, span, limit)
            return None if found is None else (job(connection, found),)

        for _ in range(TRIES):
            made = await self._read(look)
            if made is not None:
                return made[0]
            await self._views.step()
        raise StoreBusy("the views are being made, or are far behind")

    async def get(self, number: int) -> LoggedEvent | None:
        """One event."""
        sql = f"SELECT {COLUMNS} FROM event WHERE id = ? AND data IS NOT NULL"  # noqa: S608
        row = await self._database.read(lambda it: it.execute(sql, (number,)).fetchone())
        return None if row is None else _event(row)

    async def kinds(self, most: int) -> list[tuple[str, str]]:
        """Some of the types of events that there are: (category, name)."""
        sql = "SELECT DISTINCT category, name FROM kind ORDER BY category, name LIMIT ?"
        return await self._views.read(lambda it: it.execute(sql, (most,)).fetchall())

    async def export(
        self, wanted: Filter, *, newest_first: bool = False
    ) -> AsyncIterator[list[LoggedEvent]]:
        """Yield all matching events, a few at a time, without a transaction in between."""
        cursor = None
        while True:
            page = await self.find(
                wanted,
                newest_first=newest_first,
                limit=EXPORTED,
                size=EXPORTED_BYTES,
                cursor=cursor,
            )
            events, cursor = page.events, page.cursor
            del page  # or it would be held for as long as the reader takes
            yield events
            if cursor is None:
                return


def _find(connection: sqlite3.Connection, wanted: Filter, span: Span, limit: int) -> Found | None:
    """The next positions; None if too much of the log is not in the views."""
    here = place(connection)
    sql = "SELECT count(*) FROM (SELECT 1 FROM log.event WHERE id > ? LIMIT ?)"
    if connection.execute(sql, (here.id, TAIL + 1)).fetchone()[0] > TAIL:
        return None
    lists = _lists(connection, wanted)
    end = None
    if lists.kinds is not None:
        end = _horizon(connection, lists, span)
        if end is not None:
            span = span.within(end)
    found = _tail(connection, wanted, span, here, limit + 1)
    for start in range(0, len(lists.keys), LISTS):
        keys = lists.keys[start : start + LISTS]
        found += _merged(connection, lists, keys, span, here, limit + 1)
    found.sort(reverse=span.newest_first)
    if len(found) > limit:
        found = found[:limit]
        end = found[-1]
    return Found(found, end)


def _fetch(connection: sqlite3.Connection, numbers: Sequence[int], size: int) -> list[Row]:
    """The events with these ids, up to `size` bytes of data, but at least one."""
    sizes: list[int] = []
    while len(sizes) < len(numbers) and sum(sizes) <= size:
        start = len(sizes)
        sizes += _sizes_of(connection, numbers[start : start + max(SIZED, start)])
    count = max(1, bisect_right(list(accumulate(sizes)), size))
    # All rows in one value: after each row the thread would have to wait for the interpreter.
    sql = f"SELECT json_group_array(json_array({COLUMNS})) FROM {OF_IDS}"  # noqa: S608
    return _rows(connection.execute(sql, (json.dumps(numbers[:count]),)).fetchone()[0])


def _sizes_of(connection: sqlite3.Connection, numbers: Sequence[int]) -> list[int]:
    """The bytes of data of the events with these ids."""
    sql = f"SELECT json_group_array(length(CAST(data AS BLOB))) FROM {OF_IDS}"  # noqa: S608
    return _sizes(connection.execute(sql, (json.dumps(numbers),)).fetchone()[0])


def _lists(connection: sqlite3.Connection, wanted: Filter) -> Lists:
    kinds = wanted.kinds()
    condition = " AND ".join(f"{name} = ?" for name in kinds)
    values = list(kinds.values())
    of_kind = (condition, values) if kinds else None
    if wanted.session is not None:
        key = session_key(wanted.session)
        assert key is not None
        tables = ("by_session", "by_session_recent")
        return Lists(tables, "session", [key], of_kind, wanted.session)
    apps = _column(connection, APPS, []) if wanted.app is None else [wanted.app]
    if kinds.keys() - {"app"}:
        numbers = _kinds(connection, wanted, apps)
        if len(numbers) <= LISTS:
            return Lists(("by_kind",), "kind", numbers, None)
    else:
        of_kind = None
    return Lists(("by_app",), "app", apps, of_kind)


def _kinds(connection: sqlite3.Connection, wanted: Filter, apps: Sequence[int]) -> list[int]:
    """Return the matching kinds, at most one more than `LISTS`."""
    sources = SOURCES.values() if wanted.source is None else [wanted.source]
    types = {"category": wanted.category, "name": wanted.name}
    equal = {name: value for name, value in types.items() if value is not None}
    # With app and source as loops, an index has just the wanted kinds of each.
    sql = (
        "SELECT kind.id FROM json_each(?) AS app CROSS JOIN json_each(?) AS source "  # noqa: S608
        "CROSS JOIN kind ON kind.app = app.value AND kind.source = source.value "
        + "".join(f"AND kind.{name} = ? " for name in equal)
        + f"LIMIT {LISTS + 1}"
    )
    arguments = [json.dumps([*apps]), json.dumps([*sources]), *equal.values()]
    return _column(connection, sql, arguments)


def _horizon(connection: sqlite3.Connection, lists: Lists, span: Span) -> Position | None:
    """Where the search must stop, so that it looks through no more than it may; None: nowhere."""
    ends: list[Position] = []
    sql = (
        f"SELECT at, id FROM {{}} WHERE {lists.column} = ? AND {IN_SPAN} {span.order} "  # noqa: S608
        f"LIMIT 1 OFFSET {max(1, DEPTH // len(lists.keys)) if lists.keys else 0}"
    )
    for table, key in product(lists.tables, lists.keys):
        ends += connection.execute(sql.format(table), (key, *span.values())).fetchall()
    if not ends:
        return None
    return max(ends) if span.newest_first else min(ends)


def _merged(
    connection: sqlite3.Connection,
    lists: Lists,
    keys: Sequence[int],
    span: Span,
    here: Place,
    limit: int,
) -> list[Position]:
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
        f"AND {IN_SPAN.replace('(at, id)', '(listed.at, listed.id)')}"
    )
    parts = [one.format(table) for table in lists.tables for _ in keys]
    arguments = [(key, *values, here.change, *span.values()) for _ in lists.tables for key in keys]
    return _ordered(connection, " UNION ALL ".join(parts), arguments, span, limit)


def _tail(
    connection: sqlite3.Connection, wanted: Filter, span: Span, here: Place, limit: int
) -> list[Position]:
    """The first positions among those that the views do not have, or have otherwise."""
    equal = wanted.columns()
    condition = "".join(f"AND {name} = ? " for name in equal)
    one = (
        f"SELECT id, at FROM log.event "  # noqa: S608
        f"WHERE {{}} AND data IS NOT NULL {condition} AND {IN_SPAN}"
    )
    past = "id > ?"
    changed = "id <= ? AND id IN (SELECT id FROM log.change WHERE n > ?)"
    sql = f"{one.format(past)} UNION ALL {one.format(changed)}"
    values = (*equal.values(), *span.values())
    arguments = [(here.id, *values), (here.id, here.change, *values)]
    return _ordered(connection, sql, arguments, span, limit)


def _ordered(
    connection: sqlite3.Connection,
    sql: str,
    arguments: Sequence[tuple[Any, ...]],
    span: Span,
    limit: int,
) -> list[Position]:
    sql = (
        "SELECT json_group_array(json_array(at, id)) FROM "  # noqa: S608
        f"({sql} {span.order} LIMIT {limit})"
    )
    found = connection.execute(sql, [*chain.from_iterable(arguments)]).fetchone()[0]
    return _positions(found)


def _column(connection: sqlite3.Connection, sql: str, values: list[Any]) -> list[Any]:
    return [row[0] for row in connection.execute(sql, values)]


def _place_of(row: Row) -> Position:
    return row[8], row[0]


def _cursor(end: Position | None) -> str | None:
    if end is None:
        return None
    return base64.urlsafe_b64encode(POSITION.pack(*end)).decode().rstrip("=")


def _position(cursor: str) -> Position:
    if not CURSOR.fullmatch(cursor):
        raise BadCursor(NO_CURSOR)
    at, number = POSITION.unpack(base64.urlsafe_b64decode(cursor + "=="))
    if number > LARGEST:
        raise BadCursor(NO_CURSOR)
    return at, number


def _event(row: Row) -> LoggedEvent:
    number, sender, app, source, session, category, name, data, at, received = row
    return LoggedEvent(
        str(number),
        sender,
        app,
        NAMES.get(source, str(source)),
        session,
        category,
        name,
        msgspec.Raw(data.encode()),
        text(at),
        text(received),
    )
