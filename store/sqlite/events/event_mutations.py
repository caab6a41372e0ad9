"""Replacement, deletion and erasure of events, which leave no byte of them in the files.

A deleted event's row is blanked; a hash of its sender id prevents that a repeated request stores it
again. Counts still include deleted events, as they identify no person. A replaced event moves to
the counts of its new type and time.
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
from store.sqlite.events.event_queries import EventQueries
from store.sqlite.events.event_records import EventFilter
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
# Projections need the data of clicks, conversions and story events, which identifies no person.
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
# Maximum number of rejected events per read, and of bytes of their bodies.
REJECTED_PER_READ, REJECTED_BYTES_PER_READ = 200, 1_048_576
# Maximum bytes that a step overwrites or deletes, or one row, as long steps delay other writes.
MAX_STEP_BYTES = 131_072
REJECTED_EVENTS_SQL = "SELECT id, app, body FROM event_reject WHERE id > ? ORDER BY id LIMIT ?"
DELETE_CHANGES_SQL = "DELETE FROM change WHERE n <= ?"


@dataclass(frozen=True)
class ErasureResult:
    """Number of erased events and rejected events."""

    events: int
    rejected_events: int


class EventMutations:
    """Changes logged events; deletions run one at a time."""

    def __init__(self, database: Database, log: EventLog, projections: Projections) -> None:
        self._database = database
        self._log = log
        self._projections = projections
        self._events = EventQueries(database, projections, internal=True)
        self._lock = asyncio.Lock()
        # Files may hold bytes of blanked events, also from before a restart.
        self._is_scrub_due = True

    async def replace(self, number: int, row: EventRow) -> bool:
        """Replace an app's event; return False if it does not exist.

        Raises `StoreRefused` for a different sender id, and for an event that no app sent.
        """
        source, _, session, _, category, name, at, sender, _, data = row
        values = (session, session_key(session), category, name, at, data, number)

        def write(connection: sqlite3.Connection) -> bool:
            existing = connection.execute(EVENT_SENDER_SQL, (number,)).fetchone()
            if existing is None:
                return False
            if existing[0] != source or source != APP_SOURCE:
                raise StoreRefused("only events that apps sent can be replaced")
            if sender not in (None, existing[1]):
                raise StoreRefused("the `sender_id` of an event cannot be changed")
            connection.execute(RECORD_CHANGE_SQL, (number,))
            connection.execute(REPLACE_EVENT_SQL, values)
            return True

        return await self._database.write(write)

    async def delete(self, number: int) -> bool:
        """Delete an event; return whether it existed.

        Raises `StoreBusy` if another program prevents scrubbing the files: repeat the call then.
        """
        async with self._lock:
            count = await self._database.write(partial(_blank_events, None, numbers=[number]))
            await self._scrub()
        return bool(count)

    async def erase_session(self, session: str, app: int | None) -> ErasureResult:
        """Delete all acknowledged events of a session in an app, or in all, and rejected ones.

        Raises `StoreBusy` if another program prevents scrubbing the files: repeat the call then.
        """
        async with self._lock:
            await self._log.append((), counted=False)  # waits for earlier commits
            events = 0
            writer = BatchedWriter(self._database)
            cursor, conditions = None, EventFilter(session=session, app=app)
            while True:
                sizes, cursor = await self._events.find_sizes(conditions, cursor=cursor)
                for numbers in split_by_size(sizes, MAX_STEP_BYTES):
                    events += sum(await writer.write(numbers, partial(_blank_events, session)))
                if cursor is None:
                    break
            rejected = await self._erase_rejected(session, app)
            await self._scrub()
        return ErasureResult(events, rejected)

    async def _erase_rejected(self, session: str, app: int | None) -> int:
        count = last = 0
        writer = BatchedWriter(self._database)

        def find_matches(
            connection: sqlite3.Connection,
        ) -> tuple[int | None, list[tuple[int, int]]]:
            last_read, size = None, 0
            matches: list[tuple[int, int]] = []
            for number, event_app, body in connection.execute(
                REJECTED_EVENTS_SQL, (last, REJECTED_PER_READ)
            ):
                last_read = number
                if app in (None, event_app) and mentions_session(body, session):
                    matches.append((number, len(body)))
                size += len(body)
                if size > REJECTED_BYTES_PER_READ:
                    break
            return last_read, matches

        while True:
            last_read, matches = await self._database.read_internal(find_matches)
            if last_read is None:
                return count
            last = last_read
            for numbers in split_by_size(matches, MAX_STEP_BYTES):
                count += sum(await writer.write(numbers, _delete_rejected))

    async def retry_scrub(self, _: int = 0) -> bool:
        """Scrub the files if a deletion could not; raise `StoreBusy` if it still cannot."""
        if self._is_scrub_due:
            async with self._lock:
                await self._scrub()
        return False

    async def _scrub(self) -> None:
        self._is_scrub_due = True
        if self._projections.past.locked():  # its holder applies the changes
            await self._projections.step(0)
        else:
            async with self._projections.past:
                await apply_changes(self._database, self._projections)
        if not (await self._projections.scrub() and await self._database.scrub()):
            raise StoreBusy("the data is deleted, but another program reads the files that held it")
        self._is_scrub_due = False


async def apply_changes(database: Database, projections: Projections) -> None:
    """Update the projections for changed events; the caller holds `projections.past`."""
    await projections.step(0)
    applied = (await projections.read_internal(read_checkpoint)).change
    await database.write(
        lambda connection: connection.execute(DELETE_CHANGES_SQL, (applied,)).rowcount
    )


def _blank_events(
    session: str | None, connection: sqlite3.Connection, numbers: Sequence[int]
) -> int:
    """Blank events, with `session` of that session only; return their number."""
    count = 0
    for number in numbers:
        existing = connection.execute(EVENT_TO_BLANK_SQL, (number, session)).fetchone()
        if existing is None:
            continue
        app, sender, digest = existing
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
