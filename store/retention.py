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

from store.changes import clear
from store.database import Database
from store.paging import LARGEST_INTEGER, Table, pages
from store.rejected import Bounds, trim
from store.steps import AIM, Steps
from store.views import Views, statements

LOG = logging.getLogger("marquee.retention")

DAY, MINUTE = 86_400_000_000, 60_000_000
LOOK_BACK = 30  # days
LEAST_DAYS = LOOK_BACK + 1
# A sender's clock may be ahead by so much, so that an event's day can be after its arrival.
AHEAD = MINUTE
# Rejects dropped in one step, and events at first, at least and at most.
TRIMMED = 500
FIRST_STEP, FEWEST, MOST = 200, 16, 2_000

SEALED = "SELECT sealed FROM log"
SEAL = "UPDATE log SET sealed = ?"
FIRST = "SELECT min(minute) FROM minute WHERE minute >= ?"
# Kinds are numbered in the order in which they came, and sealed in that order.
KINDS = Table("kind", ("id",), "id, app, source, category, name")
NEWEST_KIND = "SELECT coalesce(max(id), 0) FROM sealed_kind"
ADD_KIND = "INSERT OR IGNORE INTO sealed_kind VALUES (?, ?, ?, ?, ?)"
FIRST_DAY = -62_135_596_800_000_000  # 0001-01-01, in µs


class Sealed(NamedTuple):
    """A figure that is sealed: what is read of the views, and what is written."""

    source: Table
    target: Table  # its key, of what a sealing that was cut off has left
    delete: str
    add: str


MINUTES = Sealed(
    Table("minute", ("minute", "kind"), "minute, kind, events"),
    Table("sealed_minute", ("minute", "kind"), "minute, kind"),
    "DELETE FROM sealed_minute WHERE minute = ? AND kind = ?",
    "INSERT INTO sealed_minute VALUES (?, ?, ?)",
)
STORY_DAYS = Sealed(
    Table("story_day", ("day", "app", "story", "kind"), "day, app, story, kind, events"),
    Table("sealed_story_day", ("day", "app", "story", "kind"), "day, app, story, kind"),
    "DELETE FROM sealed_story_day WHERE day = ? AND app = ? AND story = ? AND kind = ?",
    "INSERT INTO sealed_story_day VALUES (?, ?, ?, ?, ?)",
)
ACTIVE = Sealed(
    Table("active", ("app", "span", "day"), "day, app, span, users"),
    Table("sealed_active", ("day", "app", "span"), "day, app, span"),
    "DELETE FROM sealed_active WHERE day = ? AND app = ? AND span = ?",
    "INSERT INTO sealed_active VALUES (?, ?, ?, ?)",
)
# What they count for that is of no day goes over as they are dropped; it is the fold of the views.
STEP = """
WITH step (counts, source, data) AS (
    SELECT 1, source, coalesce(data, (SELECT data FROM remains WHERE remains.id = event.id))
    FROM event WHERE id <= :last AND source IN (3, 4)
)
"""
ADD_LIVE = [
    STEP + each.replace("INSERT INTO live", "INSERT INTO sealed_live")
    for each in statements("3_live.sql")
]
CHANGED = "SELECT 1 FROM change WHERE id <= :last LIMIT 1"
EVENTS = "DELETE FROM event WHERE id <= :last"
DROP = [
    *ADD_LIVE,
    EVENTS,
    "DELETE FROM remains WHERE id <= :last",
    "DELETE FROM forgotten WHERE id <= :last",
]


class Retention:
    """Lets go of what is old."""

    def __init__(
        self, database: Database, views: Views, days: int, bounds: Bounds | None = None
    ) -> None:
        """Events are kept for `days` from when they were received, 0 for ever."""
        if days and days < LEAST_DAYS:
            raise ValueError(f"events are kept for at least {LEAST_DAYS} days, or (0) for ever")
        self.dropped = 0  # since this was made
        self._database = database
        self._views = views
        self._days = days
        self._bounds = bounds or Bounds()
        self._size = FIRST_STEP

    async def once(self, now: int) -> bool:
        """Do a little of what is due at `now` (µs); whether there may be more to do."""
        trimmed = await self._database.write(
            lambda connection: trim(connection, self._bounds, now, TRIMMED)
        )
        if not self._days or self._views.past.locked():
            return trimmed == TRIMMED
        async with self._views.past:
            # What changed moves its figures before they are sealed, and what is dropped with it.
            await clear(self._database, self._views)
            sealing = await self._seal(_day(now) - (self._days - LOOK_BACK) * DAY)
            dropping = await self._drop(now - self._days * DAY)
        return sealing or dropping or trimmed == TRIMMED

    async def _seal(self, due: int) -> bool:
        """Seal the next day before `due` that has events; whether there may be more."""
        ((sealed,),) = await self._database.read_internal(partial(_fetched, SEALED, ()))
        if sealed >= due:
            return False
        # What comes between this and the end is late.
        await self._views.catch_up()
        await self._copy_kinds()
        async with self._views.still():
            first = await self._views.read_internal(partial(_fetched, FIRST, (_minute(sealed),)))
            ((minute,),) = first
            day = due if minute is None else min(due, _day(minute * MINUTE))
            if day < due:
                await self._copy_kinds()
                await self._copy(MINUTES, "minute", _minute(day), _minute(day + DAY))
            end = min(due, day + DAY)
            for each in (STORY_DAYS, ACTIVE):
                await self._copy(each, "day", _number(sealed), _number(end))
            await self._database.write(lambda it: it.execute(SEAL, (end,)).rowcount)
        return end < due

    async def _copy_kinds(self) -> None:
        ((newest,),) = await self._database.read_internal(partial(_fetched, NEWEST_KIND, ()))
        steps = Steps(self._database)
        async for rows in pages(self._views.read_internal, replace(KINDS, after=(newest,))):
            await steps.write(rows, partial(_each, ADD_KIND))

    async def _copy(self, sealed: Sealed, column: str, first: int, end: int) -> None:
        """Seal a figure where `column` is from `first` to before `end`."""
        steps = Steps(self._database)
        async for rows in pages(
            self._database.read_internal, _within(sealed.target, column, first, end)
        ):
            await steps.write(rows, partial(_each, sealed.delete))
        async for rows in pages(
            self._views.read_internal, _within(sealed.source, column, first, end)
        ):
            await steps.write(rows, partial(_each, sealed.add))

    async def _drop(self, before: int) -> bool:
        """Drop some of the events received before `before`; whether there may be more."""
        ((sealed,),) = await self._database.read_internal(partial(_fetched, SEALED, ()))
        # Figures that are not sealed yet look back, so views made anew need what they see.
        seen = sealed - (LOOK_BACK - 1) * DAY - AHEAD
        last = await self._views.drop(self._size, min(before, seen))
        if last is None:
            return False
        count, held = await self._database.timed_write(partial(_dropped, last))
        self.dropped += count
        self._size = max(FEWEST, min(MOST, int(self._size * min(2.0, AIM / held))))
        return True


def _within(table: Table, column: str, first: int, end: int) -> Table:
    """The part of a table in which `column` is from `first` to before `end`."""
    if table.key[0] != column:
        return replace(table, where=f"{column} >= ? AND {column} < ?", values=(first, end))
    rest = len(table.key) - 1
    after, upto = (first - 1, *[LARGEST_INTEGER] * rest), (end - 1, *[LARGEST_INTEGER] * rest)
    return replace(table, after=after, upto=upto)


def _dropped(last: int, connection: sqlite3.Connection) -> int:
    values = {"last": last}
    if connection.execute(CHANGED, values).fetchone() is not None:
        return 0  # a moment ago; the next step sees to it
    count = 0
    for each in DROP:
        count += connection.execute(each, values).rowcount * (each == EVENTS)
    return count


def _fetched(sql: str, values: tuple[int, ...], connection: sqlite3.Connection) -> list[Any]:
    return connection.execute(sql, values).fetchall()


def _each(sql: str, connection: sqlite3.Connection, rows: Sequence[tuple[Any, ...]]) -> None:
    connection.executemany(sql, rows)


def _day(moment: int) -> int:
    return moment // DAY * DAY


def _number(moment: int) -> int:
    """The number of a day in the views."""
    return (moment - FIRST_DAY) // DAY


def _minute(moment: int) -> int:
    return moment // MINUTE
