"""Projections (views.db): indexes and counts derived from the event log, which can be rebuilt.

The SQL files in `sql/` update them from the events and changes of a step. A step commits together
with its checkpoint, the position in the log, so that each event counts exactly once. Only one
connection writes and checkpoints the file; the log is attached to it for reading.
"""

import hashlib
import logging
import os
import sqlite3
from asyncio import Lock, Semaphore, sleep
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from time import monotonic, perf_counter, time_ns
from typing import NamedTuple, TypeVar

import aiosqlite

from store.api.errors import StoreBusy, StoreError, StoreFull
from store.sqlite.core.data_loss import record_loss
from store.sqlite.core.database import (
    DECODE_ERROR_TEXT,
    Database,
    close_connections,
    is_disk_full,
    run_on_connection,
    run_with_deadline,
    scrub_wal,
)

LOG = logging.getLogger("marquee.views")
T = TypeVar("T")

PROJECTION_SQL_FOLDER = Path(__file__).with_name("sql")


def read_statements(pattern: str) -> list[str]:
    """Return the statements of the matching files in `sql/`, ordered by file name."""
    texts = [file.read_text("utf-8") for file in sorted(PROJECTION_SQL_FOLDER.glob(pattern))]
    return [each for text in texts for each in text.split(";\n") if each.strip()]


STEP_TABLE_SQL, PROJECTION_TABLES_SQL, LOAD_SEALED_SQL = (
    read_statements(f"{name}.sql") for name in ("step", "tables", "0_seals")
)
SELECT_EVENTS_SQL, SELECT_CHANGES_SQL, SELECT_DROPPED_SQL = (
    read_statements(f"1_{name}.sql") for name in ("events", "changes", "dropped")
)
UPDATE_PROJECTIONS_SQL = read_statements("[23]_*.sql")
ALL_PROJECTION_SQL = "\0".join(
    [
        *STEP_TABLE_SQL,
        *PROJECTION_TABLES_SQL,
        *LOAD_SEALED_SQL,
        *SELECT_EVENTS_SQL,
        *SELECT_CHANGES_SQL,
        *SELECT_DROPPED_SQL,
        *UPDATE_PROJECTIONS_SQL,
    ]
)
PROJECTIONS_VERSION = hashlib.sha256(ALL_PROJECTION_SQL.encode()).hexdigest()
NEWEST_CHANGE_SQL = "SELECT coalesce(max(seq), 0) FROM log.sqlite_sequence WHERE name = 'change'"
INSERT_CHECKPOINT_SQL = f"""
INSERT INTO place
SELECT ?, ?, 0, ({NEWEST_CHANGE_SQL}), 0, 0, 0
"""
NEWEST_EVENT_SQL = "SELECT last FROM log.log"
LOG_IDENTITY_SQL = (
    "SELECT identity, max(last, (SELECT coalesce(max(id), 0) FROM log.event)) FROM log.log"
)
# The last of the oldest events that may be dropped: those before the first that may not.
OLDEST_DROPPABLE_SQL = """
SELECT max(id) FROM (SELECT id FROM log.event WHERE id <= ?1 ORDER BY id LIMIT ?2)
WHERE id < coalesce(
    (
        SELECT min(id)
        FROM (SELECT id, received, at FROM log.event WHERE id <= ?1 ORDER BY id LIMIT ?2)
        WHERE received >= ?3 OR at >= (SELECT sealed FROM log.log)
    ),
    9223372036854775807
)
"""
NEXT_EVENTS_SQL = """
SELECT count(*), max(id) FROM (SELECT id FROM log.event WHERE id > ? ORDER BY id LIMIT ?)
"""
MAX_COUNTED_LAG = 50_000
LAG_SQL = f"""
SELECT count(*), min(received)
FROM (SELECT received FROM log.event WHERE id > ? ORDER BY id LIMIT {MAX_COUNTED_LAG})
"""  # noqa: S608
# Maximum lag that a burst of events explains.
MAX_LAG_SECONDS = 60.0

READER_CONNECTIONS = 2
# Events per step: many events share its fixed cost.
STEP_ROWS = 20_000
CHECKPOINT_PAGES = 4_096
# Index rows that are held back, so that the rows of a session are written together.
MAX_PENDING_INDEX_ROWS = 262_144
# SQLite's errors for a corrupt file; and the minimum time between rebuilds, which do not help if
# the log itself is corrupt.
CORRUPTION_ERRORS, MIN_REPAIR_INTERVAL_SECONDS = (
    {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB},
    600.0,
)
# Delay before a failed rebuild is retried.
REPAIR_RETRY_SECONDS = 30.0
# SQLite's errors caused by the environment, not by the file: no descriptors, no memory, …
ENVIRONMENT_ERRORS = {
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_NOMEM,
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_READONLY,
}


class ProjectionCheckpoint(NamedTuple):
    """Progress of the projections: the ids of the last event and the last change in them."""

    id: int
    change: int


@dataclass(frozen=True)
class RebuildReport:
    """The events processed by a rebuild, and its duration."""

    events: int
    seconds: float


class Projections:
    """Open projections of a log, created by `open`; `close` them before the log's database."""

    def __init__(self, path: Path, log: Path) -> None:
        self.path = path
        self.lag = 0  # events not yet processed (counted up to `MAX_COUNTED_LAG`)
        self.lag_seconds = 0.0  # since the oldest of these events was received
        self.folded = 0  # events processed since opening
        self.harmed = ""  # the error, if the file was found to be corrupt
        self.closed = ""  # the reason, if the file could not be reopened
        self.ahead = False  # on opening, it had events that the log had lost
        self._repaired_at: float | None = None  # last repair attempt, by the monotonic clock
        self._log = log
        self._opened: list[aiosqlite.Connection] = []
        self._idle: list[aiosqlite.Connection] = []
        self._free = Semaphore(READER_CONNECTIONS)
        self._free_to_public = Semaphore(READER_CONNECTIONS - 1)
        self._write_lock = Lock()
        # Held while old days are sealed or dropped, and during a rebuild.
        self.past = Lock()

    @classmethod
    async def open(cls, database: Database, path: Path) -> "Projections":
        """Open the projections of `database` at `path`; recreate them if they are unusable."""
        projections = cls(path, database.path)
        try:
            projections._new_replacement()._remove()  # left over from an interrupted rebuild
        except OSError as error:
            raise StoreError(f"{path} cannot be opened: {error}") from error
        await projections._open()
        if projections.ahead:
            LOG.error(
                "acknowledged events are gone from %s: views.db had later ones", database.path
            )
            with suppress(StoreError):
                await database.write(record_loss)
        return projections

    @property
    def trouble(self) -> str:
        """Return why queries fail now; empty if they do not."""
        if self.closed:
            return self.closed
        if self.harmed:
            return f"{self.path.name} is harmed, and is made anew: {self.harmed}"
        if self.lag >= MAX_COUNTED_LAG and self.lag_seconds > MAX_LAG_SECONDS:
            return f"{self.path.name} is {self.lag_seconds:,.0f} s behind the log"
        return ""

    async def step(self, limit: int = STEP_ROWS) -> int:
        """Process up to `limit` new events and all changes; return the number of these events."""
        async with self._write_lock:
            count, self.lag, since = await self._write(partial(_run_step, limit))
        self.folded += count
        self.lag_seconds = 0.0 if since is None else max(0.0, time_ns() / 1e9 - since / 1e6)
        return count

    async def drop(self, limit: int, before: int) -> int | None:
        """Remove up to `limit` of the oldest events from the indexes; return the last one's id.

        These are processed events of sealed days, received before `before` (µs). The log may then
        delete all events up to that id; their counts remain. Returns None if there are none.
        """
        async with self._write_lock:
            return await self._write(partial(_drop_from_indexes, limit, before))

    @asynccontextmanager
    async def still(self) -> AsyncIterator[None]:
        """Block steps and all other writes while the context is open."""
        async with self._write_lock:
            yield

    async def scrub(self) -> bool:
        """Erase deleted content from the files; return False if it must be retried."""
        async with self._write_lock:
            return await self._scrub_wal()

    async def catch_up(self) -> None:
        """Run steps until all events that are in the log now are processed."""
        last = await self.read_internal(
            lambda it: (read_checkpoint(it), it.execute(NEWEST_EVENT_SQL).fetchone()[0])[1]
        )
        while (await self.read_internal(read_checkpoint)).id < last and await self.step():
            pass

    async def read(self, job: Callable[[sqlite3.Connection], T]) -> T:
        """Run a client's query on a reader, to which the log is attached as `log`.

        The job must read the projections before the log: the log, read later, then has all their
        events. Raises `StoreBusy` after `MAX_READ_SECONDS`, or if the file is corrupt or closed.
        """
        async with self._reader() as reader:
            return await run_with_deadline(reader, partial(_run_read, job))

    async def read_public(self, job: Callable[[sqlite3.Connection], T]) -> T:
        """Run an anonymous client's query like `read`; leave one reader free for other clients."""
        async with self._free_to_public:
            return await self.read(job)

    async def read_internal(self, job: Callable[[sqlite3.Connection], T]) -> T:
        """Run an internal read of a bounded number of rows, like `Database.read_internal`."""
        async with self._reader() as reader:
            return await run_on_connection(reader, partial(_run_read, job))

    @asynccontextmanager
    async def _reader(self) -> AsyncIterator[aiosqlite.Connection]:
        async with self._free:
            if not self._idle:
                raise StoreBusy(f"{self.path.name} is not open: {self.closed}")
            reader = self._idle.pop()
            try:
                yield reader
            except sqlite3.Error as error:
                raise self._translate_error(error) from error
            finally:
                self._idle.append(reader)

    async def mend(self, rest: float = 0.0) -> bool:
        """Rebuild the projections if they were found to be corrupt; return whether it was done."""
        now = monotonic()
        last = self._repaired_at
        if not self.harmed or (last and now - last < MIN_REPAIR_INTERVAL_SECONDS):
            return False
        self._repaired_at = now
        LOG.error("%s is harmed (%s): it is made anew from the log", self.path.name, self.harmed)
        try:
            await self.rebuild(lambda _: None, rest)
        except (StoreError, sqlite3.Error, OSError) as error:
            LOG.error("%s could not be made anew: %s", self.path.name, error)
            self._repaired_at = now - MIN_REPAIR_INTERVAL_SECONDS + REPAIR_RETRY_SECONDS
            return False
        return True

    async def rebuild(self, progress: Callable[[int], object], rest: float = 0.0) -> RebuildReport:
        """Rebuild the projections from the log.

        The old ones serve queries until the new ones replace them. After each step, `progress`
        gets the number of processed events, and the rebuild sleeps for `rest` times the duration
        of the step.
        """
        async with self.past:
            replacement = self._new_replacement()
            replacement._remove()
            await replacement._open()
            try:
                start = began = perf_counter()
                while await replacement.step():
                    progress(replacement.folded)
                    await sleep(rest * (perf_counter() - began))
                    began = perf_counter()
                async with self._write_lock:
                    await replacement.catch_up()
                    # The rename does not move what is left in a WAL.
                    if not await replacement._scrub_wal():
                        raise StoreBusy(f"another program reads {replacement.path.name}")
                    await replacement.close()
                    await self._replace_with(replacement.path)
            finally:
                await replacement.close()
                replacement._remove()
        return RebuildReport(replacement.folded, round(perf_counter() - start, 3))

    async def close(self) -> None:
        """Run pending jobs and close."""
        opened, self._opened = self._opened, []
        self._idle.clear()
        await close_connections(opened[::-1])

    async def _scrub_wal(self) -> bool:
        try:
            return await scrub_wal(await self._writer())
        except sqlite3.Error as error:
            raise self._translate_error(error) from error

    async def _write(self, job: Callable[[sqlite3.Connection], T]) -> T:
        try:
            return await run_on_connection(await self._writer(), job)
        except sqlite3.Error as error:
            raise self._translate_error(error) from error

    async def _writer(self) -> aiosqlite.Connection:
        """Return the writer connection; only for the holder of `_write_lock`."""
        if self.closed:
            await self._reopen()
        return self._opened[0]

    def _translate_error(self, error: sqlite3.Error) -> Exception:
        code = getattr(error, "sqlite_errorcode", 0)
        if is_disk_full(error):
            return StoreFull(f"{self.path.name}: the disk is full")
        if code & 0xFF in ENVIRONMENT_ERRORS:
            return StoreError(f"{self.path.name} cannot be used: {error}")
        if code & 0xFF not in CORRUPTION_ERRORS and DECODE_ERROR_TEXT not in str(error):
            return error
        self.harmed = str(error)
        return StoreBusy(f"{self.path.name} is harmed, and is made anew: {error}")

    async def _open(self) -> None:
        try:
            try:
                await self._connect(_set_up_writer)
            except (UnusableProjections, sqlite3.DatabaseError) as error:
                code = getattr(error, "sqlite_errorcode", 0)
                # These errors do not mean that the file is unusable.
                if is_disk_full(error) or code & 0xFF in ENVIRONMENT_ERRORS - {
                    sqlite3.SQLITE_IOERR
                }:
                    raise
                LOG.warning("%s is made anew: %s", self.path.name, error)
                self.ahead = self.ahead or isinstance(error, ProjectionsAhead)
                await self.close()
                self._remove()
                await self._connect(_set_up_writer)
            for _ in range(READER_CONNECTIONS):
                self._idle.append(await self._connect(_set_up_reader))
        except (sqlite3.Error, OSError) as error:
            await self.close()
            reason = "the disk is full" if is_disk_full(error) else error
            raise StoreError(f"{self.path} cannot be opened: {reason}") from error
        except BaseException:
            await self.close()
            raise

    async def _replace_with(self, path: Path) -> None:
        """Replace the file by the closed projections at `path`.

        If that fails, the projections stay closed until a later write opens what is there: the old
        file, the new one, or an empty one, which the next steps fill from the log.
        """
        async with self._without_readers():
            try:
                await self.close()
                if self.path.with_name(f"{self.path.name}-wal").exists():
                    self._remove()  # its WAL would corrupt the replacement file
                path.replace(self.path)
                await self._open()
            except OSError as error:
                self.closed = f"{self.path.name} cannot be replaced: {error.strerror}"
                raise StoreError(self.closed) from error
            except BaseException as error:
                self.closed = str(error) or type(error).__name__
                raise
            self.closed = self.harmed = ""

    async def _reopen(self) -> None:
        async with self._without_readers():
            try:
                await self._open()
            except StoreError as error:
                self.closed = str(error)
                raise
            LOG.info("%s is open again", self.path.name)
            self.closed = ""

    @asynccontextmanager
    async def _without_readers(self) -> AsyncIterator[None]:
        async with AsyncExitStack() as taken:
            for _ in range(READER_CONNECTIONS):
                await taken.enter_async_context(self._free)
            yield

    async def _connect(self, setup: Callable[[sqlite3.Connection], None]) -> aiosqlite.Connection:
        os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        uri = self.path.absolute().as_uri()
        connection = await aiosqlite.connect(uri, isolation_level=None, uri=True)
        self._opened.append(connection)
        log = f"{self._log.absolute().as_uri()}?mode=ro"
        await run_on_connection(connection, lambda it: it.execute("ATTACH ? AS log", (log,)))
        await run_on_connection(connection, setup)
        return connection

    def _new_replacement(self) -> "Projections":
        return Projections(self.path.with_name(f"{self.path.name}-new"), self._log)

    def _remove(self) -> None:
        for suffix in ("", "-wal", "-shm"):
            self.path.with_name(self.path.name + suffix).unlink(missing_ok=True)


class UnusableProjections(Exception):
    """The file belongs to another log, or to another version of the projections."""


class ProjectionsAhead(UnusableProjections):
    """The file has events that the log has lost."""


def read_checkpoint(connection: sqlite3.Connection) -> ProjectionCheckpoint:
    """Return the checkpoint that this connection sees."""
    return ProjectionCheckpoint(*connection.execute("SELECT id, change FROM place").fetchone())


def _set_up_writer(connection: sqlite3.Connection) -> None:
    connection.execute("PRAGMA main.journal_mode = WAL")
    connection.execute("PRAGMA main.synchronous = NORMAL")
    connection.execute("PRAGMA main.secure_delete = ON")
    connection.execute("PRAGMA temp_store = MEMORY")
    connection.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}")
    for statement in STEP_TABLE_SQL:
        connection.execute(statement)
    identity, last = connection.execute(LOG_IDENTITY_SQL).fetchone()
    if connection.execute("SELECT 1 FROM main.sqlite_schema").fetchone() is None:
        with _transaction(connection):
            for statement in PROJECTION_TABLES_SQL:
                connection.execute(statement)
            connection.execute(INSERT_CHECKPOINT_SQL, (identity, PROJECTIONS_VERSION))
            for statement in LOAD_SEALED_SQL:
                connection.execute(statement)
        return
    checkpoint = connection.execute("SELECT log, version, id, change FROM place").fetchone()
    if checkpoint is None or checkpoint[0] != identity:
        raise UnusableProjections("it is of another log")
    if checkpoint[2] > last or checkpoint[3] > connection.execute(NEWEST_CHANGE_SQL).fetchone()[0]:
        raise ProjectionsAhead("it is ahead of the log")
    if checkpoint[1] != PROJECTIONS_VERSION:
        raise UnusableProjections("it is of another version")


def _set_up_reader(connection: sqlite3.Connection) -> None:
    connection.execute("PRAGMA query_only = ON")
    connection.execute("PRAGMA wal_autocheckpoint = 0")


@contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _run_step(limit: int, connection: sqlite3.Connection) -> tuple[int, int, int | None]:
    with _transaction(connection):
        after, change = read_checkpoint(connection)
        until = connection.execute(NEWEST_CHANGE_SQL).fetchone()[0]
        count, last = connection.execute(NEXT_EVENTS_SQL, (after, limit)).fetchone()
        connection.execute("DELETE FROM step")
        values = {"after": after, "change": change, "last": last, "waiting": MAX_PENDING_INDEX_ROWS}
        if until > change:
            for statement in SELECT_CHANGES_SQL:
                connection.execute(statement, values)
            _update_projections(connection, values)
            connection.execute("DELETE FROM step")
        if count:
            for statement in SELECT_EVENTS_SQL:
                connection.execute(statement, values)
            _update_projections(connection, values)
        connection.execute("UPDATE place SET id = ?, change = ?", (last or after, until))
    lag, since = connection.execute(LAG_SQL, (last or after,)).fetchone()
    return count, lag, since


def _drop_from_indexes(limit: int, before: int, connection: sqlite3.Connection) -> int | None:
    with _transaction(connection):
        after, _ = read_checkpoint(connection)
        last: int | None = connection.execute(
            OLDEST_DROPPABLE_SQL, (after, limit, before)
        ).fetchone()[0]
        if last is not None:
            connection.execute("DELETE FROM step")
            values = {"dropped": last, "waiting": MAX_PENDING_INDEX_ROWS}
            for statement in SELECT_DROPPED_SQL:
                connection.execute(statement, values)
            _update_projections(connection, values)
    return last


def _update_projections(connection: sqlite3.Connection, values: Mapping[str, int | None]) -> None:
    for statement in UPDATE_PROJECTIONS_SQL:
        connection.execute(statement, values)


def _run_read(job: Callable[[sqlite3.Connection], T], connection: sqlite3.Connection) -> T:
    connection.execute("BEGIN")
    try:
        return job(connection)
    finally:
        connection.execute("ROLLBACK")
