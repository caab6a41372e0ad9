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

from domain.events.event import APP_SOURCE, EventRow
from domain.events.session_mention import mentions_session
from store.api.errors import StoreBusy, StoreRefused
from store.sqlite.core.batched_writes import BatchedWriter, split_by_size
from store.sqlite.core.database import Database
from store.sqlite.events.commit_batch import sender_hash
from store.sqlite.events.event_log import EventLog
from store.sqlite.events.event_queries import EventFilter, EventQueries
from store.sqlite.projections.projections import Projections, read_checkpoint
from store.sqlite.projections.session_key import session_key

PROJECTED_COLUMNS = "source, app, session_key, category, name, at"
RECORD_CHANGE_SQL = (
    f"INSERT INTO change (id, {PROJECTED_COLUMNS}) "  # noqa: S608
    f"SELECT id, {PROJECTED_COLUMNS} FROM event WHERE id = ?"
)
REPLACE_EVENT_SQL = """
UPDATE event SET session = ?, session_key = ?, category = ?, name = ?, at = ?, data = ?
WHERE id = ?
"""
EVENT_SENDER_SQL = "SELECT source, sender FROM event WHERE id = ? AND data IS NOT NULL"
# What clicks, conversions and stories' events count for names no person; events of apps may.
KEEP_REMAINS_SQL = """
INSERT INTO remains SELECT id, data FROM event WHERE id = ? AND source IN (2, 3, 4)
"""
ERASE_SENDER_SQL = "INSERT OR IGNORE INTO forgotten VALUES (?, ?, ?, ?)"
BLANK_EVENT_SQL = """
UPDATE event SET session = NULL, session_key = NULL, sender = NULL, digest = NULL, data = NULL
WHERE id = ?
"""
EVENT_TO_BLANK_SQL = """
SELECT app, sender, hex(digest) FROM event
WHERE id = ? AND data IS NOT NULL AND session IS coalesce(?, session)
"""
# Rejects read at a time, and the maximum bytes of their bodies.
REJECTED_PER_READ, REJECTED_BYTES_PER_READ = 200, 1_048_576
# Bytes that one step overwrites or deletes, or one row: it must not hold the writer for long.
MAX_STEP_BYTES = 131_072
REJECTED_EVENTS_SQL = "SELECT id, app, body FROM event_reject WHERE id > ? ORDER BY id LIMIT ?"
DELETE_CHANGES_SQL = "DELETE FROM change WHERE n <= ?"


@dataclass(frozen=True)
class ErasureResult:
    """How many events and rejects told of a person."""

    events: int
    rejected_events: int


class EventMutations:
    """Changes what the log holds, at most one at a time."""

    def __init__(self, database: Database, log: EventLog, views: Projections) -> None:
        self._database = database
        self._log = log
        self._views = views
        self._events = EventQueries(database, views, internal=True)
        self._turn = asyncio.Lock()
        # Something of what was blanked may still stand in a file, also from before a restart.
        self._owed = True

    async def replace(self, number: int, row: EventRow) -> bool:
        """Put an app's event in the place of its event `number`; False if there is none.

        The sender's id stays; `StoreRefused` for another one, and for an event that no app sent.
        """
        source, _, session, _, category, name, at, sender, _, data = row
        values = (session, session_key(session), category, name, at, data, number)

        def job(connection: sqlite3.Connection) -> bool:
            known = connection.execute(EVENT_SENDER_SQL, (number,)).fetchone()
            if known is None:
                return False
            if known[0] != source or source != APP_SOURCE:
                raise StoreRefused("only events that apps sent can be replaced")
            if sender not in (None, known[1]):
                raise StoreRefused("the `sender_id` of an event stays as it is")
            connection.execute(RECORD_CHANGE_SQL, (number,))
            connection.execute(REPLACE_EVENT_SQL, values)
            return True

        return await self._database.write(job)

    async def delete(self, number: int) -> bool:
        """Blank an event; whether there was one. `StoreBusy` if it is to be asked for again."""
        async with self._turn:
            count = await self._database.write(partial(_blank_events, None, numbers=[number]))
            await self._scrub()
        return bool(count)

    async def forget(self, session: str, app: int | None) -> ErasureResult:
        """Blank what was acknowledged of a session, in one app or (None) all, rejects included.

        `StoreBusy` if it is to be asked for again, as another program reads the files.
        """
        async with self._turn:
            await self._log.append((), counted=False)  # what came before is committed then
            events = 0
            steps = BatchedWriter(self._database)
            cursor, wanted = None, EventFilter(session=session, app=app)
            while True:
                sizes, cursor = await self._events.sizes(wanted, cursor=cursor)
                for numbers in split_by_size(sizes, MAX_STEP_BYTES):
                    events += sum(await steps.write(numbers, partial(_blank_events, session)))
                if cursor is None:
                    break
            rejects = await self._forget_rejects(session, app)
            await self._scrub()
        return ErasureResult(events, rejects)

    async def _forget_rejects(self, session: str, app: int | None) -> int:
        count = last = 0
        steps = BatchedWriter(self._database)

        def look(connection: sqlite3.Connection) -> tuple[int | None, list[tuple[int, int]]]:
            upto, size = None, 0
            found: list[tuple[int, int]] = []
            for number, owner, body in connection.execute(
                REJECTED_EVENTS_SQL, (last, REJECTED_PER_READ)
            ):
                upto = number
                if app in (None, owner) and mentions_session(body, session):
                    found.append((number, len(body)))
                size += len(body)
                if size > REJECTED_BYTES_PER_READ:
                    break
            return upto, found

        while True:
            upto, found = await self._database.read_internal(look)
            if upto is None:
                return count
            last = upto
            for numbers in split_by_size(found, MAX_STEP_BYTES):
                count += sum(await steps.write(numbers, _delete_rejected))

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
                await apply_changes(self._database, self._views)
        if not (await self._views.scrub() and await self._database.scrub()):
            raise StoreBusy("it is blank, but another program reads the files it stood in")
        self._owed = False


async def apply_changes(database: Database, views: Projections) -> None:
    """Have the views take back what changed, and let go of that; `views.past` is to be held."""
    await views.step(0)
    taken = (await views.read_internal(read_checkpoint)).change
    await database.write(
        lambda connection: connection.execute(DELETE_CHANGES_SQL, (taken,)).rowcount
    )


def _blank_events(
    session: str | None, connection: sqlite3.Connection, numbers: Sequence[int]
) -> int:
    """Blank events, of one session alone if it is given; how many there were."""
    count = 0
    for number in numbers:
        known = connection.execute(EVENT_TO_BLANK_SQL, (number, session)).fetchone()
        if known is None:
            continue
        app, sender, digest = known
        count += 1
        connection.execute(RECORD_CHANGE_SQL, (number,))
        connection.execute(KEEP_REMAINS_SQL, (number,))
        if sender is not None:
            values = (app, sender_hash(sender), number, digest.lower() or None)
            connection.execute(ERASE_SENDER_SQL, values)
        connection.execute(BLANK_EVENT_SQL, (number,))
    return count


def _delete_rejected(connection: sqlite3.Connection, numbers: Sequence[int]) -> int:
    rows = [(number,) for number in numbers]
    return connection.executemany("DELETE FROM event_reject WHERE id = ?", rows).rowcount
