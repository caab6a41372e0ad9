"""What apps show, as it is asked for all day: from the database each time, or from memory."""

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Generic, NamedTuple, Protocol, TypeVar

import msgspec

from store.cache.ttl_cache import LoadingCache
from store.sqlite.admin.apps import APPS_CHANGED, STORIES_CHANGED
from store.sqlite.core.database import Database

T = TypeVar("T")

# Seconds for which an app's stories are kept, and how many apps' (an unknown token counts as one).
CACHE_SECONDS, MAX_CACHED_APPS = 60.0, 10_000
# So many are read at a time.
TOKENS_PER_READ = 100
# All in one value: after each row the thread would have to wait for the interpreter.
VISIBLE_STORIES_SQL = """
SELECT json_group_array(json_array(app.id, json(hosts), json((
    SELECT json_group_array(json_array(id, metadata ->> 'img'))
    FROM (
        SELECT id, metadata FROM story
        WHERE app = app.id AND coalesce(shown_from <= ?2, true) AND coalesce(shown_until > ?2, true)
        ORDER BY place, id
    )
))))
FROM json_each(?1) AS asked LEFT JOIN app ON public_token = asked.value
"""
NEXT_CHANGE_SQL = """
SELECT
    json_group_array(id), min(CASE WHEN shown_from > ?2 THEN shown_from END),
    min(CASE WHEN shown_until > ?2 THEN shown_until END)
FROM story WHERE app = ?1
"""
NEVER_EXPIRES = 2**63

_decode_story_ids = msgspec.json.Decoder(frozenset[int]).decode


class VisibleStories(NamedTuple):
    """What an app shows at a moment: (story, its image), in order."""

    app: int
    hosts: frozenset[str]  # whose pages may ask
    stories: list[tuple[int, str]]


# What is read: of a token that no app has, nothing.
VisibleStoriesRow = tuple[int | None, frozenset[str] | None, list[tuple[int, str]]]
_decode_rows = msgspec.json.Decoder(list[VisibleStoriesRow]).decode


@dataclass(frozen=True, slots=True)
class CachedStories(Generic[T]):
    """What an app shows from a moment until another (µs), made ready, and all its stories."""

    shown: VisibleStories
    ready: T
    stories: frozenset[int]
    since: int
    until: int


class StoriesWaiter(Protocol):
    """Whoever is to be told what an app shows."""

    def settled(self, shown: VisibleStories | None) -> object:
        """This; None if there is no such app."""

    def failed(self, error: Exception) -> object:
        """It could not be read."""


class BatchedStoryReader:
    """Reads the database for each who asks; all who ask during a read are the next one's."""

    def __init__(self, database: Database, clock: Callable[[], int]) -> None:
        """`clock` tells the microseconds since 1970."""
        self._database = database
        self._clock = clock
        self._waiting: list[tuple[str, StoriesWaiter]] = []
        self._work: asyncio.Task[None] | None = None

    def ask(self, token: str, asker: StoriesWaiter) -> None:
        """Tell `asker` what the app with a public token shows now."""
        self._waiting.append((token, asker))
        if self._work is None:
            self._work = asyncio.get_running_loop().create_task(self._run())

    async def _run(self) -> None:
        try:
            while self._waiting:
                some, self._waiting = (
                    self._waiting[:TOKENS_PER_READ],
                    self._waiting[TOKENS_PER_READ:],
                )
                tokens, now = [token for token, _ in some], self._clock()
                try:
                    found = await self._database.read(partial(_read_visible_stories, tokens, now))
                except Exception as error:
                    for _, asker in some:
                        asker.failed(error)
                else:
                    for (_, asker), shown in zip(some, found, strict=True):
                        asker.settled(shown)
        finally:
            self._work = None


class StoryCache(Generic[T]):
    """What apps show, by public token, as it stands in memory."""

    def __init__(
        self, database: Database, prepare: Callable[[VisibleStories], T], clock: Callable[[], int]
    ) -> None:
        """`prepare` makes what is kept ready; `clock` tells the microseconds since 1970."""
        self._database = database
        self._prepare = prepare
        self._clock = clock
        self.version = 0  # rises with each change
        self.cache: LoadingCache[str, CachedStories[T] | None] = LoadingCache(
            self._load, size=MAX_CACHED_APPS, seconds=CACHE_SECONDS
        )
        for what in (APPS_CHANGED, STORIES_CHANGED):
            database.watch(what, self._forget)

    def peek(self, token: str) -> CachedStories[T] | None:
        """The app's shelf, None if there is no such app; `KeyError` if it is to be read first."""
        found = self.cache.peek(token)
        if found is not None and not found.since <= self._clock() < found.until:
            self.cache.forget(token)
            raise KeyError(token)
        return found

    async def get(self, token: str) -> CachedStories[T] | None:
        """The same, read if need be: once for all who ask meanwhile."""
        try:
            return self.peek(token)
        except KeyError:
            return await self.cache.get(token)

    async def _forget(self) -> None:
        self.version += 1
        self.cache.clear()

    async def _load(self, token: str) -> CachedStories[T] | None:
        now = self._clock()

        def job(
            connection: sqlite3.Connection,
        ) -> tuple[VisibleStories, frozenset[int], int] | None:
            (found,) = _read_visible_stories([token], now, connection)
            if found is None:
                return None
            stories, *moments = connection.execute(NEXT_CHANGE_SQL, (found.app, now)).fetchone()
            until = min((each for each in moments if each is not None), default=NEVER_EXPIRES)
            return found, _decode_story_ids(stories), until

        read = await self._database.read(job)
        if read is None:
            return None
        found, stories, until = read
        return CachedStories(found, self._prepare(found), stories, now, until)


def _read_visible_stories(
    tokens: Sequence[str], now: int, connection: sqlite3.Connection
) -> list[VisibleStories | None]:
    """What the apps of these tokens show, each."""
    asked = msgspec.json.encode(tokens).decode()
    rows = _decode_rows(connection.execute(VISIBLE_STORIES_SQL, (asked, now)).fetchone()[0])
    return [
        None if app is None or hosts is None else VisibleStories(app, hosts, stories)
        for app, hosts, stories in rows
    ]
