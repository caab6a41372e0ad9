"""views.db: what is looked up or counted, folded from the log; it may be deleted at any time.

A fold is an SQL file over the rows of a step (`sql/`). All folds of a step commit together with
the place in the log that they have come to, so that each event counts exactly once. One connection
alone writes and checkpoints this file; the log is attached to it for reading.
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
    """The statements of some files in `sql/`, in the order of the files' names."""
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
# The oldest events that may be dropped: in the order of the ids, up to the first that may not.
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
# Seconds of lag that are more than a burst of events causes.
MAX_LAG_SECONDS = 60.0

READER_CONNECTIONS = 2
# Rows of a step: each has a cost of its own, which many rows share.
STEP_ROWS = 20_000
CHECKPOINT_PAGES = 4_096
# Index rows that wait until there are some of each session.
MAX_PENDING_INDEX_ROWS = 262_144
# What SQLite says of a file whose content a disk has changed; and seconds from one mending to the
# next, should it be the log that is harmed.
CORRUPTION_ERRORS, MIN_REPAIR_INTERVAL_SECONDS = (
    {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB},
    600.0,
)
# Seconds until a failed attempt is repeated.
REPAIR_RETRY_SECONDS = 30.0
# SQLite's errors when the machine fails, not the file: no descriptors, no memory, …
ENVIRONMENT_ERRORS = {
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_NOMEM,
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_READONLY,
}


class ProjectionCheckpoint(NamedTuple):
    """How far the views have come: the ids of the last event and the last change in them."""

    id: int
    change: int


@dataclass(frozen=True)
class RebuildReport:
    """How many events views were made anew of, and how long that took."""

    events: int
    seconds: float


class Projections:
    """Open views of a log. `open` makes one; `close` must be called before the log's own."""

    def __init__(self, path: Path, log: Path) -> None:
        self.path = path
        self.lag = 0  # events of the log that are not in the views (up to 50,000 are counted)
        self.lag_seconds = 0.0  # since the oldest of them was received
        self.folded = 0  # events, since this was opened
        self.harmed = ""  # what was found to be wrong with the file
        self.closed = ""  # why the file is not open, if it could not be opened again
        self.ahead = False  # when opened, it had events that the log had lost
        self._mended: float | None = None  # when that was last seen to
        self._log = log
        self._opened: list[aiosqlite.Connection] = []
        self._idle: list[aiosqlite.Connection] = []
        self._free = Semaphore(READER_CONNECTIONS)
        self._free_to_public = Semaphore(READER_CONNECTIONS - 1)
        self._turn = Lock()
        # Held while what is past is sealed or dropped, and while the views are made anew.
        self.past = Lock()

    @classmethod
    async def open(cls, database: Database, path: Path) -> "Projections":
        """The views at `path` of the log in `database`, made anew if they are of no use."""
        views = cls(path, database.path)
        try:
            views._beside()._remove()  # what is left if making them anew was cut off
        except OSError as error:
            raise StoreError(f"{path} cannot be opened: {error}") from error
        await views._open()
        if views.ahead:
            LOG.error(
                "acknowledged events are gone from %s: views.db had later ones", database.path
            )
            with suppress(StoreError):
                await database.write(record_loss)
        return views

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
        """Fold up to `limit` of the next events, and all changes; how many events there were."""
        async with self._turn:
            count, self.lag, since = await self._write(partial(_run_step, limit))
        self.folded += count
        self.lag_seconds = 0.0 if since is None else max(0.0, time_ns() / 1e9 - since / 1e6)
        return count

    async def drop(self, limit: int, before: int) -> int | None:
        """Take up to `limit` of the oldest events out of the indexes; the last one's id, if any.

        It is of those received before `before` (µs), of sealed days, that the views have folded:
        the log may let go of them and of all before. What they counted stays.
        """
        async with self._turn:
            return await self._write(partial(_drop_from_indexes, limit, before))

    @asynccontextmanager
    async def still(self) -> AsyncIterator[None]:
        """A time in which nothing is folded."""
        async with self._turn:
            yield

    async def scrub(self) -> bool:
        """Leave nothing of what was deleted in the files; False if that is to be tried again."""
        async with self._turn:
            return await self._scrubbed()

    async def catch_up(self) -> None:
        """Fold until no event that is in the log now is missing."""
        last = await self.read_internal(
            lambda it: (read_checkpoint(it), it.execute(NEWEST_EVENT_SQL).fetchone()[0])[1]
        )
        while (await self.read_internal(read_checkpoint)).id < last and await self.step():
            pass

    async def read(self, job: Callable[[sqlite3.Connection], T]) -> T:
        """Run a client's look-up on a reader, to which the log is attached as `log`.

        It is to read of the views first: what is in them is in the log, if that is read later.
        Raises `StoreBusy` for what takes longer than `LONGEST_READ`, and while the file is harmed
        or not open.
        """
        async with self._reader() as reader:
            return await run_with_deadline(reader, partial(_run_read, job))

    async def read_public(self, job: Callable[[sqlite3.Connection], T]) -> T:
        """Run an anonymous client's look-up as `read` does; one reader is left to all others."""
        async with self._free_to_public:
            return await self.read(job)

    async def read_internal(self, job: Callable[[sqlite3.Connection], T]) -> T:
        """Run an internal read, bounded by its rows: as `Database.read_internal`."""
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
                raise self._told(error) from error
            finally:
                self._idle.append(reader)

    async def mend(self, rest: float = 0.0) -> bool:
        """Make them anew if they were found to be harmed; whether that was done."""
        now = monotonic()
        if not self.harmed or (self._mended and now - self._mended < MIN_REPAIR_INTERVAL_SECONDS):
            return False
        self._mended = now
        LOG.error("%s is harmed (%s): it is made anew from the log", self.path.name, self.harmed)
        try:
            await self.rebuild(lambda _: None, rest)
        except (StoreError, sqlite3.Error, OSError) as error:
            LOG.error("%s could not be made anew: %s", self.path.name, error)
            self._mended = now - MIN_REPAIR_INTERVAL_SECONDS + REPAIR_RETRY_SECONDS
            return False
        return True

    async def rebuild(self, told: Callable[[int], object], rest: float = 0.0) -> RebuildReport:
        """Make them anew from the log.

        That is done beside these, which answer until the new ones take their place. After each
        step, `told` hears how many events were folded, and others have the machine for `rest`
        times as long as it took.
        """
        async with self.past:
            new = self._beside()
            new._remove()
            await new._open()
            try:
                start = began = perf_counter()
                while await new.step():
                    told(new.folded)
                    await sleep(rest * (perf_counter() - began))
                    began = perf_counter()
                async with self._turn:
                    await new.catch_up()
                    # The rename does not move what is left in a WAL.
                    if not await new._scrubbed():
                        raise StoreBusy(f"another program reads {new.path.name}")
                    await new.close()
                    await self._become(new.path)
            finally:
                await new.close()
                new._remove()
        return RebuildReport(new.folded, round(perf_counter() - start, 3))

    async def close(self) -> None:
        """Finish what was begun, and close."""
        opened, self._opened = self._opened, []
        self._idle.clear()
        await close_connections(opened[::-1])

    async def _scrubbed(self) -> bool:
        try:
            return await scrub_wal(await self._writer())
        except sqlite3.Error as error:
            raise self._told(error) from error

    async def _write(self, job: Callable[[sqlite3.Connection], T]) -> T:
        try:
            return await run_on_connection(await self._writer(), job)
        except sqlite3.Error as error:
            raise self._told(error) from error

    async def _writer(self) -> aiosqlite.Connection:
        """The connection that writes; only for the holder of `_turn`."""
        if self.closed:
            await self._reopen()
        return self._opened[0]

    def _told(self, error: sqlite3.Error) -> Exception:
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
                # This does not affect the existing file.
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
            why = "the disk is full" if is_disk_full(error) else error
            raise StoreError(f"{self.path} cannot be opened: {why}") from error
        except BaseException:
            await self.close()
            raise

    async def _become(self, path: Path) -> None:
        """Replace these views by the closed ones at `path`.

        Where that fails, these are closed until a later write opens what is there then: the old
        views, the new ones, or empty ones that are filled from the log.
        """
        async with self._without_readers():
            try:
                await self.close()
                if self.path.with_name(f"{self.path.name}-wal").exists():
                    self._remove()  # its WAL would corrupt the new file
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

    def _beside(self) -> "Projections":
        return Projections(self.path.with_name(f"{self.path.name}-new"), self._log)

    def _remove(self) -> None:
        for suffix in ("", "-wal", "-shm"):
            self.path.with_name(self.path.name + suffix).unlink(missing_ok=True)


class UnusableProjections(Exception):
    """These views are not of this log, or not of these folds."""


class ProjectionsAhead(UnusableProjections):
    """These views have events that the log does not have any more."""


def read_checkpoint(connection: sqlite3.Connection) -> ProjectionCheckpoint:
    """How far the views have come, as this connection sees them."""
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
    known = connection.execute("SELECT log, version, id, change FROM place").fetchone()
    if known is None or known[0] != identity:
        raise UnusableProjections("it is of another log")
    if known[2] > last or known[3] > connection.execute(NEWEST_CHANGE_SQL).fetchone()[0]:
        raise ProjectionsAhead("it is ahead of the log")
    if known[1] != PROJECTIONS_VERSION:
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
