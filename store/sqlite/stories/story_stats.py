"""Daily event counts of stories and user counts of apps, read from the projections.

A result includes all events acknowledged before the query: projections that lag catch up first, in
steps shared by concurrent queries, up to a maximum.
"""

import asyncio
import re
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from store.api.errors import StoreBusy
from store.sqlite.projections.projections import Projections, read_checkpoint

T = TypeVar("T")

ACTIVE_SPAN_DAYS = (1, 7, 30)
# Maximum steps for which a query waits.
MAX_CATCH_UP_STEPS = 5
NEWEST_EVENT_SQL = "SELECT coalesce(max(id), 0) FROM log.event"
# In the order of the primary key, so that a page reads only its own rows.
STORY_COUNTS_SQL = """
SELECT story, name, events, kind FROM story_day JOIN kind ON kind.id = kind
WHERE day = ?1 AND story_day.app = ?2 AND (story, kind) > (?3, ?4) AND story <= ?5 AND events > 0
ORDER BY story, kind LIMIT ?6
"""
CURSOR_PATTERN = re.compile("([0-9]{1,19})-([0-9]{1,19})", re.ASCII)
MAX_CURSOR_INTEGER = 2**63 - 1
DAILY_USERS_SQL = """
SELECT app, users FROM log.app CROSS JOIN active ON active.app = log.app.id
WHERE span = 1 AND day = ?
"""
ACTIVE_USERS_SQL = (
    "SELECT day, users FROM active WHERE app = ? AND span = ? AND day BETWEEN ? AND ?"
)


@dataclass(frozen=True, order=True)
class StoryCount:
    """Number of events of a type with a story."""

    story: int
    type: str
    events: int


class InvalidStoryCursor(ValueError):
    """An invalid cursor."""


class StoryStats:
    """Queries by day; days are numbers as in `domain.common.days`."""

    def __init__(self, views: Projections, *, public: bool = False) -> None:
        """With `public`, for anonymous clients, queries leave one reader free for others."""
        self._views = views
        self._read = views.read_public if public else views.read
        self._turn = asyncio.Lock()

    async def stories(
        self,
        app: int,
        day: int,
        story: int | None = None,
        *,
        limit: int = 1_000,
        cursor: str | None = None,
    ) -> tuple[list[StoryCount], str | None]:
        """Return the events of a day by story and type, for all stories of an app or one.

        Returns up to `limit` counts after `cursor`, and the next cursor, or None at the end.
        Raises `InvalidStoryCursor`, or `StoreBusy` if the projections lag far behind.
        """
        after = (-1 if story is None else story, -1)
        if cursor is not None:
            found = CURSOR_PATTERN.fullmatch(cursor)
            if found is None:
                raise InvalidStoryCursor("is not a valid cursor")
            after = max(
                after,
                (min(int(found[1]), MAX_CURSOR_INTEGER), min(int(found[2]), MAX_CURSOR_INTEGER)),
            )
        values = (day, app, *after, MAX_CURSOR_INTEGER if story is None else story, limit + 1)

        def job(connection: sqlite3.Connection) -> tuple[list[StoryCount], str | None]:
            rows = connection.execute(STORY_COUNTS_SQL, values).fetchall()
            next_cursor = None
            if len(rows) > limit:
                rows = rows[:limit]
                next_cursor = f"{rows[-1][0]}-{rows[-1][3]}"
            return sorted(StoryCount(*row[:3]) for row in rows), next_cursor

        return await self._caught_up(job)

    async def active(self, app: int, first: int, last: int, span: int = 1) -> list[int]:
        """Return, for each day from `first` to `last`, the active users of the last `span` days.

        `span` is one of `ACTIVE_SPAN_DAYS`. Raises `StoreBusy` if the projections lag far behind.
        """

        def job(connection: sqlite3.Connection) -> list[int]:
            users = dict(connection.execute(ACTIVE_USERS_SQL, (app, span, first, last)).fetchall())
            return [users.get(day, 0) for day in range(first, last + 1)]

        return await self._caught_up(job)

    async def users(self, day: int) -> dict[int, int]:
        """Return the users of each app on a day, without waiting for the projections."""
        return await self._views.read(
            lambda it: dict(it.execute(DAILY_USERS_SQL, (day,)).fetchall())
        )

    async def _caught_up(self, job: Callable[[sqlite3.Connection], T]) -> T:
        target: int | None = None
        for steps in range(MAX_CATCH_UP_STEPS + 1):
            processed, newest, found = await self._read(partial(_read_with_checkpoint, job))
            if target is None:
                target = newest
            if processed >= target:
                return found
            if steps == MAX_CATCH_UP_STEPS:
                break
            async with self._turn:
                # A concurrent query may have caught up already.
                if (await self._read(read_checkpoint)).id < target:
                    await self._views.step()
        raise StoreBusy("the views are being made, or are far behind")


def _read_with_checkpoint(
    job: Callable[[sqlite3.Connection], T], connection: sqlite3.Connection
) -> tuple[int, int, T]:
    """Return the last event in the projections, the newest in the log, and the job's result."""
    processed, found = read_checkpoint(connection).id, job(connection)
    return processed, connection.execute(NEWEST_EVENT_SQL).fetchone()[0], found
