"""Stories: what apps show, in which order, and when.

`Shelves` keeps what an app shows in memory; whatever changes it is seen there at once.
"""

import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import time_ns
from typing import Generic, Literal, TypeVar

import msgspec

from rules.story import Story
from store.apps import APPS, find_app
from store.cache import Cache
from store.commands import Command
from store.database import Database
from store.errors import StoreRefused
from store.steps import Steps

T = TypeVar("T")

STORIES = "stories"
# Seconds for which an app's stories are kept, and how many apps' (unknown tokens count as one).
KEPT, APPS_KEPT = 60.0, 10_000
# All in one value: after each row the thread would have to wait for the interpreter.
SHOWN = """
SELECT id, hosts, (
    SELECT json_group_array(json_array(id, metadata ->> 'img'))
    FROM (
        SELECT id, metadata FROM story
        WHERE app = app.id AND coalesce(shown_from <= ?2, true) AND coalesce(shown_until > ?2, true)
        ORDER BY place, id
    )
)
FROM app WHERE public_token = ?1
"""
REST = """
SELECT
    json_group_array(id), min(CASE WHEN shown_from > ?2 THEN shown_from END),
    min(CASE WHEN shown_until > ?2 THEN shown_until END)
FROM story WHERE app = ?1
"""
KNOWN = "SELECT app, place, shown_from, shown_until, metadata FROM story WHERE id = ?"
PUT = """
INSERT INTO story (app, place, shown_from, shown_until, metadata, changed_at, id)
VALUES (?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (id) DO UPDATE SET
    place = excluded.place, shown_from = excluded.shown_from, shown_until = excluded.shown_until,
    metadata = excluded.metadata, changed_at = excluded.changed_at
"""
LIST = """
SELECT id, app, place, shown_from, shown_until, metadata, changed_at FROM story
WHERE app = coalesce(?, app) ORDER BY app, place, id
"""
FOREVER = 2**63

_shown = msgspec.json.Decoder(list[tuple[int, str]]).decode
_texts = msgspec.json.Decoder(frozenset[str]).decode
_numbers = msgspec.json.Decoder(frozenset[int]).decode


@dataclass(frozen=True, slots=True)
class Shown:
    """What an app shows at a moment: (story, its image), in order."""

    app: int
    hosts: frozenset[str]  # whose pages may ask
    stories: list[tuple[int, str]]


@dataclass(frozen=True, slots=True)
class Shelf(Generic[T]):
    """What an app shows until a moment (µs), what was made ready of that, and all its stories."""

    shown: Shown
    ready: T
    stories: frozenset[int]
    until: int


async def shown(database: Database, token: str, now: int) -> Shown | None:
    """What the app with a public token shows at `now` (µs); None if there is no such app."""
    return await database.read(lambda connection: _read(connection, token, now))


class Shelves(Generic[T]):
    """What apps show, by public token, as it stands in memory."""

    def __init__(
        self, database: Database, prepare: Callable[[Shown], T], clock: Callable[[], int]
    ) -> None:
        """`prepare` makes what is kept ready; `clock` tells the microseconds since 1970."""
        self._database = database
        self._prepare = prepare
        self._clock = clock
        self.version = 0  # rises with each change
        self.cache: Cache[str, Shelf[T] | None] = Cache(self._load, size=APPS_KEPT, seconds=KEPT)
        for what in (APPS, STORIES):
            database.watch(what, self._forget)

    def peek(self, token: str) -> Shelf[T] | None:
        """The app's shelf, None if there is no such app; `KeyError` if it is to be read first."""
        found = self.cache.peek(token)
        if found is not None and self._clock() >= found.until:
            self.cache.forget(token)
            raise KeyError(token)
        return found

    async def get(self, token: str) -> Shelf[T] | None:
        """The same, read if need be: once for all who ask meanwhile."""
        try:
            return self.peek(token)
        except KeyError:
            return await self.cache.get(token)

    async def _forget(self) -> None:
        self.version += 1
        self.cache.clear()

    async def _load(self, token: str) -> Shelf[T] | None:
        now = self._clock()

        def job(connection: sqlite3.Connection) -> tuple[Shown, frozenset[int], int] | None:
            found = _read(connection, token, now)
            if found is None:
                return None
            stories, *moments = connection.execute(REST, (found.app, now)).fetchone()
            until = min((each for each in moments if each is not None), default=FOREVER)
            return found, _numbers(stories), until

        read = await self._database.read(job)
        if read is None:
            return None
        found, stories, until = read
        return Shelf(found, self._prepare(found), stories, until)


@dataclass(frozen=True)
class Put:
    """What became of a story that was put in; the reason if it was rejected."""

    verdict: Literal["stored", "changed", "duplicate", "rejected"]
    reason: str = ""


@dataclass(frozen=True)
class Kept:
    """A story as it is kept; moments in µs, `metadata` as JSON."""

    id: int
    app: int
    order: int
    shown_from: int | None
    shown_until: int | None
    metadata: str
    changed_at: int


@dataclass(frozen=True)
class RemovedStories:
    """The stories that were removed."""

    removed: list[int]


class PutStories(Command[list[Put]], frozen=True):
    """Put stories in, each in the place of the one with its id.

    One without an order stays where it is, or comes after all others of its app.
    """

    stories: tuple[Story, ...]

    async def run(self, database: Database) -> list[Put]:
        """What became of each."""
        parts = await Steps(database).write(self.stories, _put_all)
        await database.changed(STORIES)
        return [each for part in parts for each in part]


class ListStories(Command[list[Kept]], frozen=True):
    """The stories of all apps, or of one that is given by id, name or public token."""

    app: str | None = None

    async def run(self, database: Database) -> list[Kept]:
        """The stories of each app in their order; `StoreRefused` if there is no such app."""

        def job(connection: sqlite3.Connection) -> list[Kept]:
            app = None if self.app is None else find_app(connection, self.app)
            return [Kept(*row) for row in connection.execute(LIST, (app,))]

        return await database.read(job)


class RemoveStories(Command[RemovedStories], frozen=True):
    """Remove stories by their ids; their events and counts stay."""

    stories: tuple[int, ...]

    async def run(self, database: Database) -> RemovedStories:
        """Which they were; `StoreRefused` if one is unknown, and none is removed then."""

        def job(connection: sqlite3.Connection) -> None:
            for story in dict.fromkeys(self.stories):
                if not connection.execute("DELETE FROM story WHERE id = ?", (story,)).rowcount:
                    raise StoreRefused(f"there is no story {story}")

        await database.write(job)
        await database.changed(STORIES)
        return RemovedStories(sorted(set(self.stories)))


async def salt(database: Database) -> bytes:
    """The installation's own, made when it was."""

    def job(connection: sqlite3.Connection) -> bytes:
        return bytes(connection.execute("SELECT value FROM salt").fetchone()[0])

    return await database.read(job)


def _read(connection: sqlite3.Connection, token: str, now: int) -> Shown | None:
    row = connection.execute(SHOWN, (token, now)).fetchone()
    if row is None:
        return None
    app, hosts, stories = row
    return Shown(app, _texts(hosts), _shown(stories))


def _put_all(connection: sqlite3.Connection, stories: Sequence[Story]) -> list[Put]:
    return [_put(connection, story) for story in stories]


def _put(connection: sqlite3.Connection, story: Story) -> Put:
    try:
        app = find_app(connection, story.app)
    except StoreRefused as refused:
        return Put("rejected", str(refused))
    known = connection.execute(KNOWN, (story.id,)).fetchone()
    if known is not None and known[0] != app:
        return Put("rejected", f"story {story.id} is one of app {known[0]}")
    place = story.order
    if place is None and known is not None:
        place = known[1]
    elif place is None:
        sql = "SELECT coalesce(max(place) + 1, 1) FROM story WHERE app = ?"
        place = connection.execute(sql, (app,)).fetchone()[0]
    row = (app, place, story.shown_from, story.shown_until, story.metadata)
    if row == known:
        return Put("duplicate")
    connection.execute(PUT, (*row, time_ns() // 1000, story.id))
    return Put("stored" if known is None else "changed")
