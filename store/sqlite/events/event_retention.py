"""Events of a certain age are dropped, and what they counted stays.

First figures of days that are over are sealed: copied from the views into `marquee.db`, and no
late event changes them from then on. Sealing runs ahead of dropping by as many days as figures
look back (monthly active users are 30 days'), so that views which are made anew come to the same.
All of it goes in small steps, which never hold the writer for long.
"""

import logging
import sqlite3
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

from store.sqlite.core.batched_writes import TARGET_STEP_SECONDS, BatchedWriter
from store.sqlite.core.database import Database
from store.sqlite.core.paging import MAX_SQLITE_INTEGER, TableScan, read_pages
from store.sqlite.events.event_mutations import apply_changes
from store.sqlite.events.rejected_event_store import RejectedEventLimits, trim_rejected_events
from store.sqlite.projections.projections import Projections, read_statements

LOG = logging.getLogger("marquee.retention")

DAY_MICROS, MINUTE_MICROS = 86_400_000_000, 60_000_000
LOOK_BACK_DAYS = 30  # days
MIN_RETENTION_DAYS = LOOK_BACK_DAYS + 1
# A sender's clock may be ahead by so much, so that an event's day can be after its arrival.
MAX_CLOCK_AHEAD_MICROS = MINUTE_MICROS
# Rejects dropped in one step, and events at first, at least and at most.
TRIM_STEP_ROWS = 500
INITIAL_STEP_EVENTS, MIN_STEP_EVENTS, MAX_STEP_EVENTS = 200, 16, 2_000

SEALED_UNTIL_SQL = "SELECT sealed FROM log"
SET_SEALED_UNTIL_SQL = "UPDATE log SET sealed = ?"
FIRST_MINUTE_SQL = "SELECT min(minute) FROM minute WHERE minute >= ?"
# Kinds are numbered in the order in which they came, and sealed in that order.
KIND_SCAN = TableScan("kind", ("id",), "id, app, source, category, name")
NEWEST_SEALED_KIND_SQL = "SELECT coalesce(max(id), 0) FROM sealed_kind"
INSERT_SEALED_KIND_SQL = "INSERT OR IGNORE INTO sealed_kind VALUES (?, ?, ?, ?, ?)"
DAY_ZERO_MICROS = -62_135_596_800_000_000  # 0001-01-01, in µs


class SealedTable(NamedTuple):
    """A figure that is sealed: what is read of the views, and what is written."""

    source: TableScan
    target: TableScan  # its key, of what a sealing that was cut off has left
    delete: str
    add: str


SEALED_MINUTES = SealedTable(
    TableScan("minute", ("minute", "kind"), "minute, kind, events"),
    TableScan("sealed_minute", ("minute", "kind"), "minute, kind"),
    "DELETE FROM sealed_minute WHERE minute = ? AND kind = ?",
    "INSERT INTO sealed_minute VALUES (?, ?, ?)",
)
SEALED_STORY_DAYS = SealedTable(
    TableScan("story_day", ("day", "app", "story", "kind"), "day, app, story, kind, events"),
    TableScan("sealed_story_day", ("day", "app", "story", "kind"), "day, app, story, kind"),
    "DELETE FROM sealed_story_day WHERE day = ? AND app = ? AND story = ? AND kind = ?",
    "INSERT INTO sealed_story_day VALUES (?, ?, ?, ?, ?)",
)
SEALED_ACTIVE_USERS = SealedTable(
    TableScan("active", ("app", "span", "day"), "day, app, span, users"),
    TableScan("sealed_active", ("day", "app", "span"), "day, app, span"),
    "DELETE FROM sealed_active WHERE day = ? AND app = ? AND span = ?",
    "INSERT INTO sealed_active VALUES (?, ?, ?, ?)",
)
# What they count for that is of no day goes over as they are dropped; it is the fold of the views.
DROPPED_ROWS_CTE = """
WITH step (counts, source, data) AS (
    SELECT 1, source, coalesce(data, (SELECT data FROM remains WHERE remains.id = event.id))
    FROM event WHERE id <= :last AND source IN (3, 4)
)
"""
SEAL_LIVE_SQL = [
    DROPPED_ROWS_CTE + each.replace("INSERT INTO live", "INSERT INTO sealed_live")
    for each in read_statements("3_live.sql")
]
PENDING_CHANGE_SQL = "SELECT 1 FROM change WHERE id <= :last LIMIT 1"
DELETE_EVENTS_SQL = "DELETE FROM event WHERE id <= :last"
DROP_STATEMENTS = [
    *SEAL_LIVE_SQL,
    DELETE_EVENTS_SQL,
    "DELETE FROM remains WHERE id <= :last",
    "DELETE FROM forgotten WHERE id <= :last",
]


class EventRetention:
    """Lets go of what is old."""

    def __init__(
        self,
        database: Database,
        views: Projections,
        days: int,
        bounds: RejectedEventLimits | None = None,
    ) -> None:
        """Events are kept for `days` from when they were received, 0 for ever."""
        if days and days < MIN_RETENTION_DAYS:
            raise ValueError(
                f"events are kept for at least {MIN_RETENTION_DAYS} days, or (0) for ever"
            )
        self.dropped = 0  # since this was made
        self._database = database
        self._views = views
        self._days = days
        self._bounds = bounds or RejectedEventLimits()
        self._size = INITIAL_STEP_EVENTS

    async def once(self, now: int) -> bool:
        """Do a little of what is due at `now` (µs); whether there may be more to do."""
        trimmed = await self._database.write(
            lambda connection: trim_rejected_events(connection, self._bounds, now, TRIM_STEP_ROWS)
        )
        if not self._days or self._views.past.locked():
            return trimmed == TRIM_STEP_ROWS
        async with self._views.past:
            # What changed moves its figures before they are sealed, and what is dropped with it.
            await apply_changes(self._database, self._views)
            sealing = await self._seal(_day_start(now) - (self._days - LOOK_BACK_DAYS) * DAY_MICROS)
            dropping = await self._drop(now - self._days * DAY_MICROS)
        return sealing or dropping or trimmed == TRIM_STEP_ROWS

    async def _seal(self, due: int) -> bool:
        """Seal the next day before `due` that has events; whether there may be more."""
        ((sealed,),) = await self._database.read_internal(partial(_fetch_all, SEALED_UNTIL_SQL, ()))
        if sealed >= due:
            return False
        # What comes between this and the end is late.
        await self._views.catch_up()
        await self._copy_kinds()
        async with self._views.still():
            first = await self._views.read_internal(
                partial(_fetch_all, FIRST_MINUTE_SQL, (_minute_number(sealed),))
            )
            ((minute,),) = first
            day = due if minute is None else min(due, _day_start(minute * MINUTE_MICROS))
            if day < due:
                await self._copy_kinds()
                await self._copy(
                    SEALED_MINUTES, "minute", _minute_number(day), _minute_number(day + DAY_MICROS)
                )
            end = min(due, day + DAY_MICROS)
            for each in (SEALED_STORY_DAYS, SEALED_ACTIVE_USERS):
                await self._copy(each, "day", _day_number(sealed), _day_number(end))
            await self._database.write(lambda it: it.execute(SET_SEALED_UNTIL_SQL, (end,)).rowcount)
        return end < due

    async def _copy_kinds(self) -> None:
        ((newest,),) = await self._database.read_internal(
            partial(_fetch_all, NEWEST_SEALED_KIND_SQL, ())
        )
        steps = BatchedWriter(self._database)
        async for rows in read_pages(
            self._views.read_internal, replace(KIND_SCAN, after=(newest,))
        ):
            await steps.write(rows, partial(_execute_many, INSERT_SEALED_KIND_SQL))

    async def _copy(self, sealed: SealedTable, column: str, first: int, end: int) -> None:
        """Seal a figure where `column` is from `first` to before `end`."""
        steps = BatchedWriter(self._database)
        async for rows in read_pages(
            self._database.read_internal, _table_slice(sealed.target, column, first, end)
        ):
            await steps.write(rows, partial(_execute_many, sealed.delete))
        async for rows in read_pages(
            self._views.read_internal, _table_slice(sealed.source, column, first, end)
        ):
            await steps.write(rows, partial(_execute_many, sealed.add))

    async def _drop(self, before: int) -> bool:
        """Drop some of the events received before `before`; whether there may be more."""
        ((sealed,),) = await self._database.read_internal(partial(_fetch_all, SEALED_UNTIL_SQL, ()))
        # Figures that are not sealed yet look back, so views made anew need what they see.
        seen = sealed - (LOOK_BACK_DAYS - 1) * DAY_MICROS - MAX_CLOCK_AHEAD_MICROS
        last = await self._views.drop(self._size, min(before, seen))
        if last is None:
            return False
        count, held = await self._database.timed_write(partial(_drop_events, last))
        self.dropped += count
        self._size = max(
            MIN_STEP_EVENTS,
            min(MAX_STEP_EVENTS, int(self._size * min(2.0, TARGET_STEP_SECONDS / held))),
        )
        return True


def _table_slice(table: TableScan, column: str, first: int, end: int) -> TableScan:
    """The part of a table in which `column` is from `first` to before `end`."""
    if table.key[0] != column:
        return replace(table, where=f"{column} >= ? AND {column} < ?", values=(first, end))
    rest = len(table.key) - 1
    after, upto = (first - 1, *[MAX_SQLITE_INTEGER] * rest), (end - 1, *[MAX_SQLITE_INTEGER] * rest)
    return replace(table, after=after, upto=upto)


def _drop_events(last: int, connection: sqlite3.Connection) -> int:
    values = {"last": last}
    if connection.execute(PENDING_CHANGE_SQL, values).fetchone() is not None:
        return 0  # a moment ago; the next step sees to it
    count = 0
    for each in DROP_STATEMENTS:
        count += connection.execute(each, values).rowcount * (each == DELETE_EVENTS_SQL)
    return count


def _fetch_all(sql: str, values: tuple[int, ...], connection: sqlite3.Connection) -> list[Any]:
    return connection.execute(sql, values).fetchall()


def _execute_many(
    sql: str, connection: sqlite3.Connection, rows: Sequence[tuple[Any, ...]]
) -> None:
    connection.executemany(sql, rows)


def _day_start(moment: int) -> int:
    return moment // DAY_MICROS * DAY_MICROS


def _day_number(moment: int) -> int:
    """The number of a day in the views."""
    return (moment - DAY_ZERO_MICROS) // DAY_MICROS


def _minute_number(moment: int) -> int:
    return moment // MINUTE_MICROS
