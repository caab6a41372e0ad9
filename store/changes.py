"""Events that are replaced, deleted or forgotten, of which no byte stays in the files.

A deleted event is blanked in place and found no more; its sender's id is kept as a hash, so that
it does not come back by being sent again. Figures that counted it stay as they were: they tell
what happened, not to whom. A replaced event moves from one figure to another.
"""

import asyncio
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from rules.event import APP, Row
from rules.sessions import mentions
from store.batch import sender_hash
from store.database import Database
from store.errors import StoreBusy, StoreRefused
from store.events import Events, Filter
from store.log import Log
from store.sessions import session_key
from store.steps import Steps, parts
from store.views import Views, place

OF_FIGURES = "source, app, session_key, category, name, at"
CHANGED = f"INSERT INTO change (id, {OF_FIGURES}) SELECT id, {OF_FIGURES} FROM event WHERE id = ?"  # noqa: S608
REPLACE = """
UPDATE event SET session = ?, session_key = ?, category = ?, name = ?, at = ?, data = ?
WHERE id = ?
"""
KNOWN = "SELECT source, sender FROM event WHERE id = ? AND data IS NOT NULL"
# What clicks, conversions and stories' events count for names no person; events of apps may.
REMAINS = """
INSERT INTO remains SELECT id, data FROM event WHERE id = ? AND source IN (2, 3, 4)
"""
FORGET = "INSERT OR IGNORE INTO forgotten VALUES (?, ?, ?, ?)"
BLANK = """
UPDATE event SET session = NULL, session_key = NULL, sender = NULL, digest = NULL, data = NULL
WHERE id = ?
"""
STILL_THERE = """
SELECT app, sender, hex(digest) FROM event
WHERE id = ? AND data IS NOT NULL AND session IS coalesce(?, session)
"""
# Rejects read at a time, and the maximum bytes of their bodies.
LOOKED_AT, LOOKED_AT_BYTES = 200, 1_048_576
# Bytes that one step overwrites or deletes, or one row: it must not hold the writer for long.
STEP_BYTES = 131_072
REJECTS = "SELECT id, app, body FROM event_reject WHERE id > ? ORDER BY id LIMIT ?"
TAKEN_BACK = "DELETE FROM change WHERE n <= ?"


@dataclass(frozen=True)
class Forgotten:
    """How many events and rejects told of a person."""

    events: int
    rejects: int


class Changes:
    """Changes what the log holds, at most one at a time."""

    def __init__(self, database: Database, log: Log, views: Views) -> None:
        self._database = database
        self._log = log
        self._views = views
        self._events = Events(database, views, internal=True)
        self._turn = asyncio.Lock()
        # Something of what was blanked may still stand in a file, also from before a restart.
        self._owed = True

    async def replace(self, number: int, row: Row) -> bool:
        """Put an app's event in the place of its event `number`; False if there is none.

        The sender's id stays; `StoreRefused` for another one, and for an event that no app sent.
        """
        source, _, session, _, category, name, at, sender, _, data = row
        values = (session, session_key(session), category, name, at, data, number)

        def job(connection: sqlite3.Connection) -> bool:
            known = connection.execute(KNOWN, (number,)).fetchone()
            if known is None:
                return False
            if known[0] != source or source != APP:
                raise StoreRefused("only events that apps sent can be replaced")
            if sender not in (None, known[1]):
                raise StoreRefused("the `sender_id` of an event stays as it is")
            connection.execute(CHANGED, (number,))
            connection.execute(REPLACE, values)
            return True

        return await self._database.write(job)

    async def delete(self, number: int) -> bool:
        """Blank an event; whether there was one. `StoreBusy` if it is to be asked for again."""
        async with self._turn:
            count = await self._database.write(partial(_blank, None, numbers=[number]))
            await self._scrub()
        return bool(count)

    async def forget(self, session: str, app: int | None) -> Forgotten:
        """Blank what was acknowledged of a session, in one app or (None) all, rejects included.

        `StoreBusy` if it is to be asked for again, as another program reads the files.
        """
        async with self._turn:
            await self._log.append((), counted=False)  # what came before is committed then
            events = 0
            steps = Steps(self._database)
            cursor, wanted = None, Filter(session=session, app=app)
            while True:
                sizes, cursor = await self._events.sizes(wanted, cursor=cursor)
                for numbers in parts(sizes, STEP_BYTES):
                    events += sum(await steps.write(numbers, partial(_blank, session)))
                if cursor is None:
                    break
            rejects = await self._forget_rejects(session, app)
            await self._scrub()
        return Forgotten(events, rejects)

    async def _forget_rejects(self, session: str, app: int | None) -> int:
        count = last = 0
        steps = Steps(self._database)

        def look(connection: sqlite3.Connection) -> tuple[int | None, list[tuple[int, int]]]:
            upto, size = None, 0
            found: list[tuple[int, int]] = []
            for number, owner, body in connection.execute(REJECTS, (last, LOOKED_AT)):
                upto = number
                if app in (None, owner) and mentions(body, session):
                    found.append((number, len(body)))
                size += len(body)
                if size > LOOKED_AT_BYTES:
                    break
            return upto, found

        while True:
            upto, found = await self._database.read_internal(look)
            if upto is None:
                return count
            last = upto
            for numbers in parts(found, STEP_BYTES):
                count += sum(await steps.write(numbers, _remove))

    async def clean(self, _: int = 0) -> bool:
        """Do what could not be done when it was asked for; `StoreBusy` if it still cannot."""
        if self._owed:
            async with self._turn:
                await self._scrub()
        return False

    async def _scrub(self) -> None:
        self._owed = True
        if self._views.past.locked():  # they may yet need it, or see to it themselves
            await self._views.step(0)
        else:
            async with self._views.past:
                await clear(self._database, self._views)
        if not (await self._views.scrub() and await self._database.scrub()):
            raise StoreBusy("it is blank, but another program reads the files it stood in")
        self._owed = False


async def clear(database: Database, views: Views) -> None:
    """Have the views take back what changed, and let go of that; `views.past` is to be held."""
    await views.step(0)
    taken = (await views.read_internal(place)).change
    await database.write(lambda connection: connection.execute(TAKEN_BACK, (taken,)).rowcount)


def _blank(session: str | None, connection: sqlite3.Connection, numbers: Sequence[int]) -> int:
    """Blank events, of one session alone if it is given; how many there were."""
    count = 0
    for number in numbers:
        known = connection.execute(STILL_THERE, (number, session)).fetchone()
        if known is None:
            continue
        app, sender, digest = known
        count += 1
        connection.execute(CHANGED, (number,))
        connection.execute(REMAINS, (number,))
        if sender is not None:
            values = (app, sender_hash(sender), number, digest.lower() or None)
            connection.execute(FORGET, values)
        connection.execute(BLANK, (number,))
    return count


def _remove(connection: sqlite3.Connection, numbers: Sequence[int]) -> int:
    rows = [(number,) for number in numbers]
    return connection.executemany("DELETE FROM event_reject WHERE id = ?", rows).rowcount
