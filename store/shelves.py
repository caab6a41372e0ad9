"""What apps show, as it is asked for all day: from the database each time, or from memory."""

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Generic, NamedTuple, Protocol, TypeVar

import msgspec

from store.apps import APPS, STORIES
from store.cache import Cache
from store.database import Database

T = TypeVar("T")

# Seconds for which an app's stories are kept, and how many apps' (an unknown token counts as one).
KEPT, APPS_KEPT = 60.0, 10_000
# So many are read at a time.
AT_ONCE = 100
# All in one value: after each row the thread would have to wait for the interpreter.
SHOWN = """
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
REST = """
SELECT
    json_group_array(id), min(CASE WHEN shown_from > ?2 THEN shown_from END),
    min(CASE WHEN shown_until > ?2 THEN shown_until END)
FROM story WHERE app = ?1
"""
FOREVER = 2**63

_numbers = msgspec.json.Decoder(frozenset[int]).decode


class Shown(NamedTuple):
    """What an app shows at a moment: (story, its image), in order."""

    app: int
    hosts: frozenset[str]  # whose pages may ask
    stories: list[tuple[int, str]]


# What is read: of a token that no app has, nothing.
Row = tuple[int | None, frozenset[str] | None, list[tuple[int, str]]]
_rows = msgspec.json.Decoder(list[Row]).decode


@dataclass(frozen=True, slots=True)
class Shelf(Generic[T]):
    """What an app shows from a moment until another (µs), made ready, and all its stories."""

    shown: Shown
    ready: T
    stories: frozenset[int]
    since: int
    until: int


class Asker(Protocol):
    """Whoever is to be told what an app shows."""

    def settled(self, shown: Shown | None) -> object:
        """This; None if there is no such app."""

    def failed(self, error: Exception) -> object:
        """It could not be read."""


class Reads:
    """Reads the database for each who asks; all who ask during a read are the next one's."""

    def __init__(self, database: Database, clock: Callable[[], int]) -> None:
        """`clock` tells the microseconds since 1970."""
        self._database = database
        self._clock = clock
        self._waiting: list[tuple[str, Asker]] = []
        self._work: asyncio.Task[None] | None = None

    def ask(self, token: str, asker: Asker) -> None:
        """Tell `asker` what the app with a public token shows now."""
        self._waiting.append((token, asker))
        if self._work is None:
            self._work = asyncio.get_running_loop().create_task(self._run())

    async def _run(self) -> None:
        try:
            while self._waiting:
                some, self._waiting = self._waiting[:AT_ONCE], self._waiting[AT_ONCE:]
                tokens, now = [token for token, _ in some], self._clock()
                try:
                    found = await self._database.read(partial(_read, tokens, now))
                except Exception as error:
                    for _, asker in some:
                        asker.failed(error)
                else:
                    for (_, asker), shown in zip(some, found, strict=True):
                        asker.settled(shown)
        finally:
            self._work = None


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
        if found is not None and not found.since <= self._clock() < found.until:
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
            (found,) = _read([token], now, connection)
            if found is None:
                return None
            stories, *moments = connection.execute(REST, (found.app, now)).fetchone()
            until = min((each for each in moments if each is not None), default=FOREVER)
            return found, _numbers(stories), until

        read = await self._database.read(job)
        if read is None:
            return None
        found, stories, until = read
        return Shelf(found, self._prepare(found), stories, now, until)


def _read(tokens: Sequence[str], now: int, connection: sqlite3.Connection) -> list[Shown | None]:
    """What the apps of these tokens show, each."""
    asked = msgspec.json.encode(tokens).decode()
    rows = _rows(connection.execute(SHOWN, (asked, now)).fetchone()[0])
    return [
        None if app is None or hosts is None else Shown(app, hosts, stories)
        for app, hosts, stories in rows
    ]
