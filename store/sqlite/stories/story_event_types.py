"""Limit of an app's story event types, as anyone with its public token can send new ones."""

import sqlite3

from domain.stories.story_event import STORY_SOURCE
from store.api.errors import StoreError
from store.sqlite.projections.projections import Projections

# Types of story events that an app may have.
MAX_STORY_EVENT_TYPES = 1_000
STORY_EVENT_TYPES_SQL = "SELECT name FROM kind WHERE app = ? AND source = ? LIMIT ?"


class StoryEventTypes:
    """Known types of each app: those in the projections, and new ones since the start.

    Right after a restart, types that are not yet in the projections may exceed the limit.
    """

    def __init__(self, views: Projections, most: int = MAX_STORY_EVENT_TYPES) -> None:
        self.most = most
        self._views = views
        self._by_app: dict[int, set[str]] = {}

    def takes(self, app: int, name: str) -> bool:
        """Return whether an event of this type may be stored; raise `KeyError` before `load`."""
        known = self._by_app[app]
        if name in known:
            return True
        if len(known) >= self.most:
            return False
        known.add(name)
        return True

    async def load(self, app: int) -> None:
        """Read the existing types of an app."""

        def job(connection: sqlite3.Connection) -> set[str]:
            rows = connection.execute(STORY_EVENT_TYPES_SQL, (app, STORY_SOURCE, self.most))
            return {name for (name,) in rows}

        try:
            found = await self._views.read(job)
        except StoreError:
            # Accepting events is more important: count from zero.
            found = set()
        self._by_app.setdefault(app, found)
