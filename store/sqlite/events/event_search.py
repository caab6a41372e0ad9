"""Search for the positions of matching events, in the indexes of the projections and in the log.

The log's tail after the projections' checkpoint, and events changed since, are merged with index
rows, so that a search finds an event as soon as it is acknowledged.
"""

import json
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, product
from typing import Any, NamedTuple

import msgspec

from domain.events.event import EVENT_SOURCES
from store.sqlite.events.event_records import MAX_INT64, EventFilter, EventPosition
from store.sqlite.projections.projections import ProjectionCheckpoint, read_checkpoint
from store.sqlite.projections.session_key import session_key

# Both ends are exclusive.
IN_SPAN_SQL = "(at, id) > (?, ?) AND (at, id) < (?, ?)"
# Skips from app to app instead of reading every row of `kind`.
APPS_WITH_EVENTS_SQL = """
WITH RECURSIVE apps (app) AS (
    SELECT min(app) FROM kind
    UNION ALL
    SELECT (SELECT min(app) FROM kind WHERE app > apps.app) FROM apps WHERE app IS NOT NULL
)
SELECT app FROM apps WHERE app IS NOT NULL
"""
# Maximum number of log rows after the checkpoint that a search reads.
MAX_TAIL_ROWS = 50_000
# Maximum number of index rows that a search reads if an index also holds non-matching events.
MAX_INDEX_ROWS = 50_000
# Maximum number of merged index lists; for more kinds, a search reads all events of an app.
MAX_INDEX_LISTS = 64
FIRST_POSITION, LAST_POSITION = (-MAX_INT64 - 1, -1), (MAX_INT64, MAX_INT64)

_decode_positions = msgspec.json.Decoder(list[EventPosition]).decode


class EventSpan(NamedTuple):
    """A range in the order of events; both ends are exclusive."""

    low: EventPosition
    high: EventPosition
    newest_first: bool

    @property
    def order(self) -> str:
        """The ORDER BY clause."""
        direction = " DESC" if self.newest_first else ""
        return f"ORDER BY at{direction}, id{direction}"

    def values(self) -> tuple[int, ...]:
        """Return the parameters of `IN_SPAN_SQL`."""
        return (*self.low, *self.high)

    def up_to(self, end: EventPosition) -> "EventSpan":
        """Return the part up to and including `end`, in reading order."""
        at, number = end
        if self.newest_first:
            return self._replace(low=(at, number - 1))
        return self._replace(high=(at, number + 1))


class IndexLists(NamedTuple):
    """Ordered index lists that hold all matching events, and possibly others."""

    tables: Sequence[str]
    column: str
    keys: Sequence[int]
    kind_condition: tuple[str, list[Any]] | None  # SQL and parameters, if kinds must be checked
    session: str | None = None  # must be checked: other sessions may share its key


@dataclass(frozen=True)
class MatchingPositions:
    """Positions of the next matching events, and where the next search starts; None at the end."""

    positions: list[EventPosition]
    end: EventPosition | None


def find_positions(
    connection: sqlite3.Connection, conditions: EventFilter, span: EventSpan, limit: int
) -> MatchingPositions | None:
    """Return the next positions; None if the projections lag too far behind the log."""
    checkpoint = read_checkpoint(connection)
    sql = "SELECT count(*) FROM (SELECT 1 FROM log.event WHERE id > ? LIMIT ?)"
    if connection.execute(sql, (checkpoint.id, MAX_TAIL_ROWS + 1)).fetchone()[0] > MAX_TAIL_ROWS:
        return None
    lists = _choose_index_lists(connection, conditions)
    end = None
    if lists.kind_condition is not None:
        end = _search_bound(connection, lists, span)
        if end is not None:
            span = span.up_to(end)
    positions = _scan_log_tail(connection, conditions, span, checkpoint, limit + 1)
    for start in range(0, len(lists.keys), MAX_INDEX_LISTS):
        keys = lists.keys[start : start + MAX_INDEX_LISTS]
        positions += _merge_index_lists(connection, lists, keys, span, checkpoint, limit + 1)
    positions.sort(reverse=span.newest_first)
    if len(positions) > limit:
        positions = positions[:limit]
        end = positions[-1]
    return MatchingPositions(positions, end)


def _choose_index_lists(connection: sqlite3.Connection, conditions: EventFilter) -> IndexLists:
    values = conditions.kind_values()
    condition = (" AND ".join(f"{name} = ?" for name in values), list(values.values()))
    kind_condition = condition if values else None
    if conditions.session is not None:
        key = session_key(conditions.session)
        assert key is not None
        tables = ("by_session", "by_session_recent")
        return IndexLists(tables, "session", [key], kind_condition, conditions.session)
    apps = (
        _first_column(connection, APPS_WITH_EVENTS_SQL, [])
        if conditions.app is None
        else [conditions.app]
    )
    if values.keys() - {"app"}:
        kinds = _matching_kinds(connection, conditions, apps)
        if len(kinds) <= MAX_INDEX_LISTS:
            return IndexLists(("by_kind",), "kind", kinds, None)
    else:
        kind_condition = None
    return IndexLists(("by_app",), "app", apps, kind_condition)


def _matching_kinds(
    connection: sqlite3.Connection, conditions: EventFilter, apps: Sequence[int]
) -> list[int]:
    """Return the matching kinds, at most `MAX_INDEX_LISTS + 1`."""
    sources = EVENT_SOURCES.values() if conditions.source is None else [conditions.source]
    event_type = {"category": conditions.category, "name": conditions.name}
    values = {name: value for name, value in event_type.items() if value is not None}
    # With loops over app and source, each lookup reads only matching rows of an index.
    sql = (
        "SELECT kind.id FROM json_each(?) AS app CROSS JOIN json_each(?) AS source "  # noqa: S608
        "CROSS JOIN kind ON kind.app = app.value AND kind.source = source.value "
        + "".join(f"AND kind.{name} = ? " for name in values)
        + f"LIMIT {MAX_INDEX_LISTS + 1}"
    )
    arguments = [json.dumps([*apps]), json.dumps([*sources]), *values.values()]
    return _first_column(connection, sql, arguments)


def _search_bound(
    connection: sqlite3.Connection, lists: IndexLists, span: EventSpan
) -> EventPosition | None:
    """Return the position at which the search reaches `MAX_INDEX_ROWS`; None if it does not."""
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
    checkpoint: ProjectionCheckpoint,
    limit: int,
) -> list[EventPosition]:
    """Return the first matching positions of the lists with these keys."""
    condition, values = "", []
    if lists.kind_condition is not None:
        # A subquery per row: there may be many more kinds than rows to read.
        condition = (
            "AND EXISTS (SELECT 1 FROM kind "  # noqa: S608
            f"WHERE kind.id = listed.kind AND {lists.kind_condition[0]}) "
        )
        values = lists.kind_condition[1]
    if lists.session is not None:
        condition += "AND event.session = ? "
        values = [*values, lists.session]
    template = (
        "SELECT listed.id AS id, listed.at AS at "  # noqa: S608
        f"FROM {{}} AS listed CROSS JOIN log.event ON event.id = listed.id "
        f"WHERE listed.{lists.column} = ? {condition} AND event.data IS NOT NULL "
        "AND listed.id NOT IN (SELECT id FROM log.change WHERE n > ?) "
        f"AND {IN_SPAN_SQL.replace('(at, id)', '(listed.at, listed.id)')}"
    )
    selects = [template.format(table) for table in lists.tables for _ in keys]
    arguments = [
        (key, *values, checkpoint.change, *span.values()) for _ in lists.tables for key in keys
    ]
    return _ordered_positions(connection, " UNION ALL ".join(selects), arguments, span, limit)


def _scan_log_tail(
    connection: sqlite3.Connection,
    conditions: EventFilter,
    span: EventSpan,
    checkpoint: ProjectionCheckpoint,
    limit: int,
) -> list[EventPosition]:
    """Return the first matching positions of events added or changed after the checkpoint."""
    log_values = conditions.log_values()
    condition = "".join(f"AND {name} = ? " for name in log_values)
    template = (
        f"SELECT id, at FROM log.event "  # noqa: S608
        f"WHERE {{}} AND data IS NOT NULL {condition} AND {IN_SPAN_SQL}"
    )
    added = "id > ?"
    changed = "id <= ? AND id IN (SELECT id FROM log.change WHERE n > ?)"
    sql = f"{template.format(added)} UNION ALL {template.format(changed)}"
    values = (*log_values.values(), *span.values())
    arguments = [(checkpoint.id, *values), (checkpoint.id, checkpoint.change, *values)]
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
    return _decode_positions(
        connection.execute(sql, [*chain.from_iterable(arguments)]).fetchone()[0]
    )


def _first_column(connection: sqlite3.Connection, sql: str, values: list[Any]) -> list[Any]:
    return [row[0] for row in connection.execute(sql, values)]
