"""What stories were used for: events of each, and users, by day.

It stands in the views. What was acknowledged before it is asked for is in the answer, so views
that are behind catch up first: one step for all who ask, and a few steps at most.
"""

import asyncio
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from store.errors import StoreBusy
from store.views import Views, place

T = TypeVar("T")

SPANS = (1, 7, 30)
# Steps that an asker waits for, at most.
TRIES = 5
NEWEST = "SELECT coalesce(max(id), 0) FROM log.event"
STORIES = """
SELECT story, name, sum(events) FROM story_day JOIN kind ON kind.id = kind
WHERE day = ?1 AND story_day.app = ?2 AND story = coalesce(?3, story)
GROUP BY story, name HAVING sum(events) > 0 ORDER BY story, name
"""
TODAY = """
SELECT app, users FROM log.app CROSS JOIN active ON active.app = log.app.id
WHERE span = 1 AND day = ?
"""
ACTIVE = "SELECT day, users FROM active WHERE app = ? AND span = ? AND day BETWEEN ? AND ?"


@dataclass(frozen=True)
class StoryCount:
    """So many events of a type with a story."""

    story: int
    type: str
    events: int


class Usage:
    """Days are numbers, as in `rules.days`."""

    def __init__(self, views: Views) -> None:
        self._views = views
        self._turn = asyncio.Lock()

    async def stories(self, app: int, day: int, story: int | None = None) -> list[StoryCount]:
        """Events on a day, of an app's stories or of one, by story and type.

        `StoreBusy` if the views are far behind.
        """

        def job(connection: sqlite3.Connection) -> list[StoryCount]:
            return [StoryCount(*row) for row in connection.execute(STORIES, (day, app, story))]

        return await self._caught_up(job)

    async def active(self, app: int, first: int, last: int, span: int = 1) -> list[int]:
        """Of each day from `first` to `last`, the users active in the `span` days that end with it.

        `span` is one of `SPANS`. `StoreBusy` if the views are far behind.
        """

        def job(connection: sqlite3.Connection) -> list[int]:
            users = dict(connection.execute(ACTIVE, (app, span, first, last)).fetchall())
            return [users.get(day, 0) for day in range(first, last + 1)]

        return await self._caught_up(job)

    async def users(self, day: int) -> dict[int, int]:
        """Each app's users of a day, as far as the views have come."""
        return await self._views.read(lambda it: dict(it.execute(TODAY, (day,)).fetchall()))

    async def _caught_up(self, job: Callable[[sqlite3.Connection], T]) -> T:
        wanted: int | None = None
        for steps in range(TRIES + 1):
            come, newest, found = await self._views.read(partial(_look, job))
            if wanted is None:
                wanted = newest
            if come >= wanted:
                return found
            if steps == TRIES:
                break
            async with self._turn:
                # Whoever had the turn before may have seen to it.
                if (await self._views.read(place)).id < wanted:
                    await self._views.step()
        raise StoreBusy("the views are being made, or are far behind")


def _look(
    job: Callable[[sqlite3.Connection], T], connection: sqlite3.Connection
) -> tuple[int, int, T]:
    """How far the views have come, how far they should have, and what the job finds in them."""
    come, found = place(connection).id, job(connection)
    return come, connection.execute(NEWEST).fetchone()[0], found
