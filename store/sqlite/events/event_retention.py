"""Deletion of expired events, after their counts are sealed.

Sealing copies the counts of past days from the projections into `marquee.db`; late events no longer
change them. It precedes deletion by the longest look-back of a count (30 days for monthly active
users), so that rebuilt projections have the same counts. Small steps keep other writes fast.
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
LOOK_BACK_DAYS = 30
MIN_RETENTION_DAYS = LOOK_BACK_DAYS + 1
# Maximum lead of a sender's clock: an event may occur on the day after its receipt.
MAX_CLOCK_AHEAD_MICROS = MINUTE_MICROS
# Rejected events per step; events in the first step, and bounds of the adaptive step size.
TRIM_STEP_ROWS = 500
INITIAL_STEP_EVENTS, MIN_STEP_EVENTS, MAX_STEP_EVENTS = 200, 16, 2_000

SEALED_UNTIL_SQL = "SELECT sealed FROM log"
SET_SEALED_UNTIL_SQL = "UPDATE log SET sealed = ?"
FIRST_MINUTE_SQL = "SELECT min(minute) FROM minute WHERE minute >= ?"
# Kinds are sealed in the order of their ids, in which they first occurred.
KIND_SCAN = TableScan("kind", ("id",), "id, app, source, category, name")
NEWEST_SEALED_KIND_SQL = "SELECT coalesce(max(id), 0) FROM sealed_kind"
INSERT_SEALED_KIND_SQL = "INSERT OR IGNORE INTO sealed_kind VALUES (?, ?, ?, ?, ?)"
DAY_ZERO_MICROS = -62_135_596_800_000_000  # 0001-01-01, in µs


class SealedTable(NamedTuple):
    """A table of counts to seal: the scan of the projections, and its sealed copy."""

    source: TableScan
    target: TableScan  # keys left by an interrupted sealing
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
# Live counts belong to no day: they are sealed with the deletion, by the projections' statements.
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
    """Seals counts and deletes expired events in steps."""

    def __init__(
        self,
        database: Database,
        projections: Projections,
        days: int,
        rejected_limits: RejectedEventLimits | None = None,
    ) -> None:
        """Events expire `days` after their receipt; 0 keeps them forever."""
        if days and days < MIN_RETENTION_DAYS:
            raise ValueError(
                f"invalid retention {days}: must be 0 or at least {MIN_RETENTION_DAYS} days"
            )
        self.dropped = 0  # since the start
        self._database = database
        self._projections = projections
        self._days = days
        self._rejected_limits = rejected_limits or RejectedEventLimits()
        self._step_events = INITIAL_STEP_EVENTS

    async def run_step(self, now: int) -> bool:
        """Run a step of the work due at `now` (µs); return whether more may be due."""
        trimmed = await self._database.write(
            lambda connection: trim_rejected_events(
                connection, self._rejected_limits, now, TRIM_STEP_ROWS
            )
        )
        if not self._days or self._projections.past.locked():
            return trimmed == TRIM_STEP_ROWS
        async with self._projections.past:
            # Changed events move their counts before those are sealed or deleted.
            await apply_changes(self._database, self._projections)
            has_more_to_seal = await self._seal(
                _day_start(now) - (self._days - LOOK_BACK_DAYS) * DAY_MICROS
            )
            has_more_to_drop = await self._drop(now - self._days * DAY_MICROS)
        return has_more_to_seal or has_more_to_drop or trimmed == TRIM_STEP_ROWS

    async def _seal(self, due: int) -> bool:
        """Seal the next day before `due` that has events; return whether more days may follow."""
        ((sealed,),) = await self._database.read_internal(partial(_fetch_all, SEALED_UNTIL_SQL, ()))
        if sealed >= due:
            return False
        # Events after this are late: sealed counts exclude them.
        await self._projections.catch_up()
        await self._copy_kinds()
        async with self._projections.still():
            first = await self._projections.read_internal(
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
            for table in (SEALED_STORY_DAYS, SEALED_ACTIVE_USERS):
                await self._copy(table, "day", _day_number(sealed), _day_number(end))
            await self._database.write(lambda it: it.execute(SET_SEALED_UNTIL_SQL, (end,)).rowcount)
        return end < due

    async def _copy_kinds(self) -> None:
        ((newest,),) = await self._database.read_internal(
            partial(_fetch_all, NEWEST_SEALED_KIND_SQL, ())
        )
        writer = BatchedWriter(self._database)
        async for rows in read_pages(
            self._projections.read_internal, replace(KIND_SCAN, after=(newest,))
        ):
            await writer.write(rows, partial(_execute_many, INSERT_SEALED_KIND_SQL))

    async def _copy(self, table: SealedTable, column: str, first: int, end: int) -> None:
        """Seal the rows of a table with `first` <= `column` < `end`."""
        writer = BatchedWriter(self._database)
        async for rows in read_pages(
            self._database.read_internal, _table_slice(table.target, column, first, end)
        ):
            await writer.write(rows, partial(_execute_many, table.delete))
        async for rows in read_pages(
            self._projections.read_internal, _table_slice(table.source, column, first, end)
        ):
            await writer.write(rows, partial(_execute_many, table.add))

    async def _drop(self, before: int) -> bool:
        """Delete some events received before `before`; return whether more may follow."""
        ((sealed,),) = await self._database.read_internal(partial(_fetch_all, SEALED_UNTIL_SQL, ()))
        # Unsealed counts look back: rebuilding them needs these events.
        needed_from = sealed - (LOOK_BACK_DAYS - 1) * DAY_MICROS - MAX_CLOCK_AHEAD_MICROS
        last = await self._projections.drop(self._step_events, min(before, needed_from))
        if last is None:
            return False
        count, seconds = await self._database.timed_write(partial(_drop_events, last))
        self.dropped += count
        self._step_events = max(
            MIN_STEP_EVENTS,
            min(MAX_STEP_EVENTS, int(self._step_events * min(2.0, TARGET_STEP_SECONDS / seconds))),
        )
        return True


def _table_slice(table: TableScan, column: str, first: int, end: int) -> TableScan:
    """Return the scan of the rows with `first` <= `column` < `end`."""
    if table.key[0] != column:
        return replace(table, where=f"{column} >= ? AND {column} < ?", values=(first, end))
    rest = len(table.key) - 1
    after, upto = (first - 1, *[MAX_SQLITE_INTEGER] * rest), (end - 1, *[MAX_SQLITE_INTEGER] * rest)
    return replace(table, after=after, upto=upto)


def _drop_events(last: int, connection: sqlite3.Connection) -> int:
    values = {"last": last}
    if connection.execute(PENDING_CHANGE_SQL, values).fetchone() is not None:
        return 0  # recorded just now; the next step applies it first
    count = 0
    for sql in DROP_STATEMENTS:
        count += connection.execute(sql, values).rowcount * (sql == DELETE_EVENTS_SQL)
    return count


def _fetch_all(sql: str, values: tuple[int, ...], connection: sqlite3.Connection) -> list[Any]:
    return connection.execute(sql, values).fetchall()


def _execute_many(
    sql: str, connection: sqlite3.Connection, rows: Sequence[tuple[Any, ...]]
) -> None:
    connection.executemany(sql, rows)


def _day_start(time: int) -> int:
    return time // DAY_MICROS * DAY_MICROS


def _day_number(time: int) -> int:
    """Return the number of a day in the projections."""
    return (time - DAY_ZERO_MICROS) // DAY_MICROS


def _minute_number(time: int) -> int:
    return time // MINUTE_MICROS
