"""The types of story events of each app: bounded, as anyone with its public token can add some."""

import sqlite3

from domain.stories.story_event import STORY_SOURCE
from store.api.errors import StoreError
from store.sqlite.projections.projections import Projections

# Types of story events that an app may have.
MAX_STORY_EVENT_TYPES = 1_000
STORY_EVENT_TYPES_SQL = "SELECT name FROM kind WHERE app = ? AND source = ? LIMIT ?"


class StoryEventTypes:
    """Types are counted as the views have them; those that are not folded yet, from the start on.

    So right after a restart an app may get a few more.
    """

    def __init__(self, views: Projections, most: int = MAX_STORY_EVENT_TYPES) -> None:
        self.most = most
        self._views = views
        self._by_app: dict[int, set[str]] = {}

    def takes(self, app: int, name: str) -> bool:
        """Whether an event of this type may be stored; `KeyError` if `load` is needed first."""
        known = self._by_app[app]
        if name in known:
            return True
        if len(known) >= self.most:
            return False
        known.add(name)
        return True

    async def load(self, app: int) -> None:
        """Read the types that the app has."""

        def job(connection: sqlite3.Connection) -> set[str]:
            rows = connection.execute(STORY_EVENT_TYPES_SQL, (app, STORY_SOURCE, self.most))
            return {name for (name,) in rows}

        try:
            found = await self._views.read(job)
        except StoreError:
            # Events are more important: it is bounded again from now on.
            found = set()
        self._by_app.setdefault(app, found)
