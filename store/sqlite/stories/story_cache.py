"""Visible stories of apps, read from the database in batches or cached in memory."""

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

# Lifetime of an entry, and maximum number of apps (unknown tokens count as well).
CACHE_SECONDS, MAX_CACHED_APPS = 60.0, 10_000
TOKENS_PER_READ = 100
# One JSON value: with several rows, the thread would wait for the interpreter lock after each.
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
    """The stories that an app shows at a moment: (story, image), in order."""

    app: int
    hosts: frozenset[str]  # hosts whose pages may request them
    stories: list[tuple[int, str]]


# A row of the query; its values are null for an unknown token.
VisibleStoriesRow = tuple[int | None, frozenset[str] | None, list[tuple[int, str]]]
_decode_rows = msgspec.json.Decoder(list[VisibleStoriesRow]).decode


@dataclass(frozen=True, slots=True)
class CachedStories(Generic[T]):
    """Visible stories from `since` until `until` (µs), prepared; `stories`: all ids of the app."""

    shown: VisibleStories
    ready: T
    stories: frozenset[int]
    since: int
    until: int


class StoriesWaiter(Protocol):
    """Receiver of the visible stories of an app."""

    def settled(self, shown: VisibleStories | None) -> object:
        """Receive the result; None if there is no such app."""

    def failed(self, error: Exception) -> object:
        """Receive the error of a failed read."""


class BatchedStoryReader:
    """Reads visible stories; requests that arrive during a read share the next one."""

    def __init__(self, database: Database, clock: Callable[[], int]) -> None:
        """`clock` returns microseconds since 1970."""
        self._database = database
        self._clock = clock
        self._waiting: list[tuple[str, StoriesWaiter]] = []
        self._work: asyncio.Task[None] | None = None

    def ask(self, token: str, waiter: StoriesWaiter) -> None:
        """Pass what the app with a public token shows now to `waiter`."""
        self._waiting.append((token, waiter))
        if self._work is None:
            self._work = asyncio.get_running_loop().create_task(self._run())

    async def _run(self) -> None:
        try:
            while self._waiting:
                batch, self._waiting = (
                    self._waiting[:TOKENS_PER_READ],
                    self._waiting[TOKENS_PER_READ:],
                )
                tokens, now = [token for token, _ in batch], self._clock()
                try:
                    found = await self._database.read(partial(_read_visible_stories, tokens, now))
                except Exception as error:
                    for _, waiter in batch:
                        waiter.failed(error)
                else:
                    for (_, waiter), shown in zip(batch, found, strict=True):
                        waiter.settled(shown)
        finally:
            self._work = None


class StoryCache(Generic[T]):
    """Cache of visible stories by public token."""

    def __init__(
        self, database: Database, prepare: Callable[[VisibleStories], T], clock: Callable[[], int]
    ) -> None:
        """`prepare` builds the cached value; `clock` returns microseconds since 1970."""
        self._database = database
        self._prepare = prepare
        self._clock = clock
        self.version = 0  # increases with each change
        self.cache: LoadingCache[str, CachedStories[T] | None] = LoadingCache(
            self._load, size=MAX_CACHED_APPS, seconds=CACHE_SECONDS
        )
        for what in (APPS_CHANGED, STORIES_CHANGED):
            database.watch(what, self._forget)

    def peek(self, token: str) -> CachedStories[T] | None:
        """Return the cached entry, None for an unknown app; raise `KeyError` if it must be read."""
        found = self.cache.peek(token)
        if found is not None and not found.since <= self._clock() < found.until:
            self.cache.forget(token)
            raise KeyError(token)
        return found

    async def get(self, token: str) -> CachedStories[T] | None:
        """Return the entry, read if necessary; concurrent calls share one read."""
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
    """Return what the app of each token shows; None for an unknown token."""
    asked = msgspec.json.encode(tokens).decode()
    rows = _decode_rows(connection.execute(VISIBLE_STORIES_SQL, (asked, now)).fetchone()[0])
    return [
        None if app is None or hosts is None else VisibleStories(app, hosts, stories)
        for app, hosts, stories in rows
    ]
