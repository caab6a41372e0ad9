"""A SQLite database with one writer connection and several readers.

SQLite before 3.51.3 can corrupt a WAL database if two connections write or checkpoint at the same
instant, so a single connection does both. A job is a function of a connection; it runs as one
transaction, in one call on that connection's thread.
"""

import asyncio
import logging
import os
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from time import perf_counter, sleep
from typing import TypeVar

import aiosqlite

from store.api.errors import StoreBusy, StoreError, StoreFailed, StoreFull
from store.sqlite.core.data_loss import record_loss
from store.sqlite.core.migrations import migrate
from store.sqlite.core.wal import commit_frames, count_lost_commits, read_wal_header

LOG = logging.getLogger("marquee.database")

T = TypeVar("T")
DatabaseJob = Callable[[sqlite3.Connection], T]

READER_CONNECTIONS = 3
# Checkpoints run within commits; frequent small ones keep commits short.
CHECKPOINT_PAGES = 256
# SQLite does not report the outcome of checkpoints within commits, so explicit ones run as well.
CHECKPOINT_INTERVAL_SECONDS = 1.0
# While some reader is always active, the WAL only grows. Above this size the writer waits briefly
# for the readers to finish and truncates the WAL.
MAX_WAL_BYTES, READER_WAIT_MS = 67_108_864, 50
# Maximum seconds of a client's query: it occupies a reader and holds the WAL.
MAX_READ_SECONDS = 2.0
# Attempts to empty or recover the WAL, and the seconds between them.
SCRUB_ATTEMPTS, RECOVERY_ATTEMPTS, RETRY_PAUSE_SECONDS = 50, 10, 0.05
BUSY_TIMEOUT_MS = 5_000  # wait in all other cases, if another program holds the database
# If a disk has corrupted a name or text, Python cannot even decode SQLite's message about it.
READ_ERRORS, DECODE_ERROR_TEXT = (sqlite3.Error, UnicodeDecodeError), "Could not decode to UTF-8"
LOST_COMMITS_MESSAGE = (
    "the disk has changed %s-wal: up to %d commits that were in it are gone; look at the disk, and "
    "have senders send again what they were told of last"
)
# SQLite's errors for lack of descriptors or memory: they are temporary.
RESOURCE_ERROR_CODES = {sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_NOMEM}
FATAL_ERROR_CODES = {sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}


class Database:
    """An open database, created by `open`; without `close`, the process does not exit."""

    def __init__(
        self, path: Path, writer: aiosqlite.Connection, readers: list[aiosqlite.Connection]
    ) -> None:
        self.path = path
        self.failed: StoreFailed | None = None
        self.longest_hold = 0.0  # maximum milliseconds for which a job held the writer
        self.commits = 0
        self.lost = 0  # commits that were missing from the WAL on opening
        self._checkpointed_at = perf_counter()
        self._has_warned_of_growth = False
        self._writer = writer
        self._readers = readers
        self._idle = list(readers)
        self._free = asyncio.Semaphore(len(readers))
        self._watchers: dict[str, list[Callable[[], Awaitable[object]]]] = {}

    @classmethod
    async def open(cls, path: Path) -> "Database":
        """Open the database, created with owner-only access if missing, and migrate it.

        Raises `StoreTooNew` if a newer version wrote it, `StoreError` if it cannot be opened.
        """
        opened: list[aiosqlite.Connection] = []
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
            wal = path.with_name(f"{path.name}-wal")
            header, commits = read_wal_header(wal), commit_frames(wal)
            for setup in (_set_up_writer, *[_set_up_reader] * READER_CONNECTIONS):
                opened.append(await aiosqlite.connect(path, isolation_level=None))
                if setup is _set_up_writer:
                    recovered = await run_on_connection(opened[-1], recover_wal)
                    if recovered is None or read_wal_header(wal) != header:
                        commits = []  # another program is emptying the WAL: nothing is lost
                await run_on_connection(opened[-1], setup)
        except (*READ_ERRORS, OSError) as error:
            await close_connections(opened)
            reason = "the disk is full" if is_disk_full(error) else error
            raise StoreError(f"{path} cannot be opened: {reason}") from error
        except BaseException:
            await close_connections(opened)
            raise
        database = cls(path, opened[0], opened[1:])
        database.lost = count_lost_commits(commits, recovered or 0)
        if database.lost:
            LOG.error(LOST_COMMITS_MESSAGE, path.name, database.lost)
            with suppress(StoreError):
                await database.write(record_loss)
        return database

    async def write(self, job: DatabaseJob[T]) -> T:
        """Run `job` as one transaction, after earlier ones; return its result once it is durable.

        An exception of the job rolls back and propagates. Raises `StoreFull` for a full disk,
        `StoreFailed` for a broken database (also on every later write), and `StoreBusy` if another
        program holds the database. A job runs even if its caller is cancelled.
        """
        return (await self.timed_write(job))[0]

    async def timed_write(self, job: DatabaseJob[T]) -> tuple[T, float]:
        """Run `write`; return its result and the seconds for which the job held the writer."""
        return await run_on_connection(self._writer, partial(self._transact, job))

    async def read(self, job: DatabaseJob[T]) -> T:
        """Run a client's query on a reader that sees a single committed state.

        Raises `StoreBusy` and interrupts the query after `MAX_READ_SECONDS`. The server's own
        reads use `read_internal`.
        """
        async with self._reader() as reader:
            return await run_with_deadline(reader, partial(self._run_read, job))

    async def read_internal(self, job: DatabaseJob[T]) -> T:
        """Run an internal read without a deadline, which a growing table would exceed.

        A job must read a bounded number of rows; read whole tables with `paging`.
        """
        async with self._reader() as reader:
            return await run_on_connection(reader, partial(self._run_read, job))

    @asynccontextmanager
    async def _reader(self) -> AsyncIterator[aiosqlite.Connection]:
        async with self._free:
            reader = self._idle.pop()
            try:
                yield reader
            finally:
                self._idle.append(reader)

    @property
    def wal_bytes(self) -> int:
        """The size of the WAL; 0 if it is missing."""
        try:
            return self.path.with_name(f"{self.path.name}-wal").stat().st_size
        except OSError:
            return 0

    @property
    def held_back(self) -> bool:
        """Whether the WAL is oversized, usually because another program keeps reading."""
        return self.wal_bytes > MAX_WAL_BYTES

    async def tend(self) -> None:
        """Truncate an oversized WAL if its readers have finished; call this periodically."""
        grown = self.held_back
        if grown and not self._has_warned_of_growth:
            LOG.warning(
                "%s-wal has %d MB: some program has been reading the database for long; it is "
                "emptied when that one ends",
                self.path.name,
                self.wal_bytes // 1_000_000,
            )
        self._has_warned_of_growth = grown
        if grown and self.failed is None:
            await run_on_connection(self._writer, self._run_checkpoint)

    def watch(self, what: str, call: Callable[[], Awaitable[object]]) -> None:
        """Register `call` to be awaited by `changed(what)`."""
        self._watchers.setdefault(what, []).append(call)

    async def changed(self, what: str) -> None:
        """Await all callbacks registered for `what`; call this after the write."""
        for call in self._watchers.get(what, ()):
            await call()

    async def scrub(self) -> bool:
        """Erase deleted and overwritten content, once committed, from the files.

        Returns False if another program's reads prevent it; then try again later.
        """
        try:
            return await scrub_wal(self._writer)
        except sqlite3.Error as error:
            raise self._translate_error(error) from error

    async def close(self) -> None:
        """Run pending jobs, checkpoint and close."""
        await close_connections(self._readers)
        try:
            if self.failed is None:
                await run_on_connection(self._writer, _checkpoint)
        except sqlite3.Error as error:  # such as a full disk; the WAL has all commits
            LOG.warning("%s is closed without a checkpoint: %s", self.path, error)
        finally:
            await close_connections([self._writer])

    def _transact(self, job: DatabaseJob[T], connection: sqlite3.Connection) -> tuple[T, float]:
        if self.failed is not None:
            raise StoreFailed(str(self.failed))
        began = perf_counter()
        try:
            connection.execute("BEGIN IMMEDIATE")
            try:
                result = job(connection)
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise
        except READ_ERRORS as error:
            raise self._translate_error(error) from error
        finally:
            held = perf_counter() - began
            self.longest_hold = max(self.longest_hold, held * 1000)
        self.commits += 1
        if began - self._checkpointed_at > CHECKPOINT_INTERVAL_SECONDS:
            self._checkpointed_at = began
            self._run_checkpoint(connection)
        return result, held

    def _run_checkpoint(self, connection: sqlite3.Connection) -> None:
        try:
            connection.execute(f"PRAGMA busy_timeout = {READER_WAIT_MS}")
            _checkpoint(connection, "TRUNCATE" if self.held_back else "PASSIVE")
        except sqlite3.Error as error:
            # Commits are safe in the WAL.
            self._translate_error(error)
        finally:
            connection.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")

    def _run_read(self, job: DatabaseJob[T], connection: sqlite3.Connection) -> T:
        try:
            connection.execute("BEGIN")
            try:
                return job(connection)
            finally:
                connection.execute("ROLLBACK")
        except READ_ERRORS as error:
            raise self._translate_error(error) from error

    def _translate_error(self, error: Exception) -> Exception:
        code = getattr(error, "sqlite_errorcode", 0)
        if isinstance(error, UnicodeDecodeError) or DECODE_ERROR_TEXT in str(error):
            return StoreError(f"{self.path.name} holds text that nobody wrote: {error}")
        if is_disk_full(error):
            return StoreFull(f"{self.path.name}: the disk is full")
        if code & 0xFF == sqlite3.SQLITE_BUSY:
            return StoreBusy(f"{self.path.name} is being written by another program: {error}")
        if code & 0xFF in RESOURCE_ERROR_CODES:
            return StoreError(f"{self.path.name} cannot be used: {error}")
        if code & 0xFF in FATAL_ERROR_CODES:
            self.failed = self.failed or StoreFailed(
                f"{self.path.name} is broken: {error} ({getattr(error, 'sqlite_errorname', '')})"
            )
            return StoreFailed(str(self.failed))
        return error


def is_disk_full(error: Exception) -> bool:
    """Return whether an SQLite error means that the disk is full."""
    code = getattr(error, "sqlite_errorcode", 0)
    # SQLite reports an I/O error if the -shm file does not fit on the disk.
    return code & 0xFF == sqlite3.SQLITE_FULL or code == sqlite3.SQLITE_IOERR_SHMSIZE


def recover_wal(connection: sqlite3.Connection) -> int | None:
    """Checkpoint the WAL of a newly opened database; return the number of its valid frames.

    Returns None if another program keeps checkpointing: SQLite then reports no number.
    """
    connection.execute("PRAGMA schema_version").fetchone()
    frames: int
    for _ in range(RECOVERY_ATTEMPTS):
        busy, frames, _ = connection.execute("PRAGMA main.wal_checkpoint(PASSIVE)").fetchone()
        if not busy:
            return max(0, frames)
        sleep(RETRY_PAUSE_SECONDS)
    return None


def _set_up_writer(connection: sqlite3.Connection) -> None:
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA secure_delete = ON")
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}")
    migrate(connection)


def _set_up_reader(connection: sqlite3.Connection) -> None:
    connection.execute("PRAGMA query_only = ON")
    connection.execute("PRAGMA wal_autocheckpoint = 0")


def _checkpoint(connection: sqlite3.Connection, mode: str = "TRUNCATE") -> bool:
    # Always by schema: without one, it would checkpoint attached databases too.
    busy, *_ = connection.execute(f"PRAGMA main.wal_checkpoint({mode})").fetchone()
    return not busy


async def scrub_wal(writer: aiosqlite.Connection) -> bool:
    """Empty the WAL by a checkpoint, which erases deleted content; return whether it is empty."""
    for _ in range(SCRUB_ATTEMPTS):
        if await run_on_connection(writer, _try_truncate_wal):
            return True
        await asyncio.sleep(RETRY_PAUSE_SECONDS)
    return False


def _try_truncate_wal(connection: sqlite3.Connection) -> bool:
    # The server's own reads are short; a longer timeout would delay other writes.
    connection.execute(f"PRAGMA busy_timeout = {READER_WAIT_MS // 5}")
    try:
        return _checkpoint(connection)
    finally:
        connection.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")


async def run_on_connection(connection: aiosqlite.Connection, job: DatabaseJob[T]) -> T:
    """Run `job` on the connection's thread."""
    # aiosqlite's public methods switch threads for each statement; this switches once per job.
    result: T = await connection._execute(lambda: job(connection._conn))  # type: ignore[no-untyped-call]
    return result


async def run_with_deadline(connection: aiosqlite.Connection, job: DatabaseJob[T]) -> T:
    """Run `job` on a reader; interrupt it and raise `StoreBusy` after `MAX_READ_SECONDS`."""
    loop = asyncio.get_running_loop()
    timer = loop.call_later(MAX_READ_SECONDS, connection._conn.interrupt)
    try:
        return await run_on_connection(connection, job)
    except sqlite3.OperationalError as error:
        if getattr(error, "sqlite_errorcode", 0) != sqlite3.SQLITE_INTERRUPT:
            raise
        message = f"it took longer than {MAX_READ_SECONDS:g} s to look this up"
        raise StoreBusy(message) from error
    finally:
        timer.cancel()


async def close_connections(connections: list[aiosqlite.Connection]) -> None:
    """Close each after its pending jobs, even if another one fails to close."""
    failed: Exception | None = None
    for connection in connections:
        try:
            await connection.close()
        except Exception as error:
            failed = failed or error
    if failed is not None:
        raise failed
