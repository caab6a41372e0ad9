"""A SQLite database with one connection that writes, and readers beside it.

SQLite before 3.51.3 can harm a WAL database that two connections write or checkpoint at the same
instant, so one connection alone does both. A job is a plain function of a connection; it runs on
that connection's thread in one hop, as one transaction.
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
# Small checkpoints often: one runs within a commit, and a commit should be short.
CHECKPOINT_PAGES = 256
# SQLite does not tell how checkpoints within commits went: every so many seconds, one is asked for.
CHECKPOINT_INTERVAL_SECONDS = 1.0
# While there is always someone reading, the WAL only grows. Beyond so many bytes the writer waits
# for the readers to leave, for so many milliseconds at a time, and begins it anew.
MAX_WAL_BYTES, READER_WAIT_MS = 67_108_864, 50
# Maximum seconds of a client's query: it occupies a reader and holds the WAL.
MAX_READ_SECONDS = 2.0
# How often the WAL is tried to be emptied when it should be, or recovered, and seconds in between.
SCRUB_ATTEMPTS, RECOVERY_ATTEMPTS, RETRY_PAUSE_SECONDS = 50, 10, 0.05
BUSY_TIMEOUT_MS = 5_000  # milliseconds to wait otherwise, should another program hold the database
# Where a disk has changed a name or a text, Python cannot read even what SQLite says of it.
READ_ERRORS, DECODE_ERROR_TEXT = (sqlite3.Error, UnicodeDecodeError), "Could not decode to UTF-8"
LOST_COMMITS_MESSAGE = (
    "the disk has changed %s-wal: up to %d commits that were in it are gone; look at the disk, and "
    "have senders send again what they were told of last"
)
# SQLite's errors for lack of descriptors or memory: they are temporary.
RESOURCE_ERROR_CODES = {sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_NOMEM}
FATAL_ERROR_CODES = {sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}


class Database:
    """An open database; `open` makes one, `close` must be called, or the process will not end."""

    def __init__(
        self, path: Path, writer: aiosqlite.Connection, readers: list[aiosqlite.Connection]
    ) -> None:
        self.path = path
        self.failed: StoreFailed | None = None
        self.longest_hold = 0.0  # milliseconds that one job held the writer, at most
        self.commits = 0
        self.lost = 0  # commits that the WAL had lost when it was opened
        self._looked = perf_counter()
        self._told_grown = False
        self._writer = writer
        self._readers = readers
        self._idle = list(readers)
        self._free = asyncio.Semaphore(len(readers))
        self._watchers: dict[str, list[Callable[[], Awaitable[object]]]] = {}

    @classmethod
    async def open(cls, path: Path) -> "Database":
        """Open `path`, made for its owner alone if it is missing, and bring it up to date.

        Raises `StoreNewer` if a newer program wrote it, `StoreError` if it cannot be opened.
        """
        opened: list[aiosqlite.Connection] = []
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
            wal = path.with_name(f"{path.name}-wal")
            head, told = read_wal_header(wal), commit_frames(wal)
            for setup in (_set_up_writer, *[_set_up_reader] * READER_CONNECTIONS):
                opened.append(await aiosqlite.connect(path, isolation_level=None))
                if setup is _set_up_writer:
                    taken = await run_on_connection(opened[-1], recover_wal)
                    if taken is None or read_wal_header(wal) != head:
                        told = []  # another program empties it, and has lost nothing
                await run_on_connection(opened[-1], setup)
        except (*READ_ERRORS, OSError) as error:
            await close_connections(opened)
            why = "the disk is full" if is_disk_full(error) else error
            raise StoreError(f"{path} cannot be opened: {why}") from error
        except BaseException:
            await close_connections(opened)
            raise
        made = cls(path, opened[0], opened[1:])
        made.lost = count_lost_commits(told, taken or 0)
        if made.lost:
            LOG.error(LOST_COMMITS_MESSAGE, path.name, made.lost)
            with suppress(StoreError):
                await made.write(record_loss)
        return made

    async def write(self, job: DatabaseJob[T]) -> T:
        """Run `job` as one transaction, after those that came before; its result once durable.

        What the job raises rolls everything back and is raised here; `StoreFull` on a full disk,
        `StoreFailed` when the database is broken, from then on for every write; `StoreBusy` when
        a program that is none of ours keeps it. A job whose caller was cancelled runs all the same.
        """
        return (await self.timed_write(job))[0]

    async def timed_write(self, job: DatabaseJob[T]) -> tuple[T, float]:
        """`write`, with the seconds for which the job held the writer."""
        return await run_on_connection(self._writer, partial(self._transact, job))

    async def read(self, job: DatabaseJob[T]) -> T:
        """Run a client's look-up on a reader that sees one committed state throughout.

        Raises `StoreBusy` for what takes longer than `LONGEST_READ`, which is ended. The server's
        own reads go through `read_internal`.
        """
        async with self._reader() as reader:
            return await run_with_deadline(reader, partial(self._look, job))

    async def read_internal(self, job: DatabaseJob[T]) -> T:
        """Run an internal read without a deadline, which a growing table would exceed.

        A job reads a bounded number of rows: whole tables are read by `store.paging`.
        """
        async with self._reader() as reader:
            return await run_on_connection(reader, partial(self._look, job))

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
        """The size of the WAL; 0 without one."""
        try:
            return self.path.with_name(f"{self.path.name}-wal").stat().st_size
        except OSError:
            return 0

    @property
    def held_back(self) -> bool:
        """Whether the WAL has grown, as it does while another program keeps reading."""
        return self.wal_bytes > MAX_WAL_BYTES

    async def tend(self) -> None:
        """Begin a grown WAL anew, if whoever held it back has left; to be called now and then."""
        grown = self.held_back
        if grown and not self._told_grown:
            LOG.warning(
                "%s-wal has %d MB: some program has been reading the database for long; it is "
                "emptied when that one ends",
                self.path.name,
                self.wal_bytes // 1_000_000,
            )
        self._told_grown = grown
        if grown and self.failed is None:
            await run_on_connection(self._writer, self._look_after)

    def watch(self, what: str, call: Callable[[], Awaitable[object]]) -> None:
        """Have `call` called whenever `what` is said to have `changed`."""
        self._watchers.setdefault(what, []).append(call)

    async def changed(self, what: str) -> None:
        """Let all who watch it know, after the write; when this returns, they do."""
        for call in self._watchers.get(what, ()):
            await call()

    async def scrub(self) -> bool:
        """Leave nothing of what was deleted or overwritten in the files, once that is committed.

        False if that is to be tried again, as another program is reading.
        """
        try:
            return await scrub_wal(self._writer)
        except sqlite3.Error as error:
            raise self._told(error) from error

    async def close(self) -> None:
        """Finish what was begun, checkpoint and close."""
        await close_connections(self._readers)
        try:
            if self.failed is None:
                await run_on_connection(self._writer, _checkpoint)
        except sqlite3.Error as error:  # a full disk: all that counts stands in the WAL
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
            raise self._told(error) from error
        finally:
            held = perf_counter() - began
            self.longest_hold = max(self.longest_hold, held * 1000)
        self.commits += 1
        if began - self._looked > CHECKPOINT_INTERVAL_SECONDS:
            self._looked = began
            self._look_after(connection)
        return result, held

    def _look_after(self, connection: sqlite3.Connection) -> None:
        try:
            connection.execute(f"PRAGMA busy_timeout = {READER_WAIT_MS}")
            _checkpoint(connection, "TRUNCATE" if self.held_back else "PASSIVE")
        except sqlite3.Error as error:
            # What was committed is in the WAL, and safe.
            self._told(error)
        finally:
            connection.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")

    def _look(self, job: DatabaseJob[T], connection: sqlite3.Connection) -> T:
        try:
            connection.execute("BEGIN")
            try:
                return job(connection)
            finally:
                connection.execute("ROLLBACK")
        except READ_ERRORS as error:
            raise self._told(error) from error

    def _told(self, error: Exception) -> Exception:
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
    """Whether an error of SQLite's means that the disk is full."""
    code = getattr(error, "sqlite_errorcode", 0)
    # SQLite calls it an I/O error when there is no room for its -shm file.
    return code & 0xFF == sqlite3.SQLITE_FULL or code == sqlite3.SQLITE_IOERR_SHMSIZE


def recover_wal(connection: sqlite3.Connection) -> int | None:
    """Bring what stands in the WAL of a database just opened into it; of how many frames.

    None where another program is at it for longer than a moment, as that one alone is told.
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
    """Empty the WAL into the file, where deleted content is overwritten; whether it could be."""
    for _ in range(SCRUB_ATTEMPTS):
        if await run_on_connection(writer, _try_truncate_wal):
            return True
        await asyncio.sleep(RETRY_PAUSE_SECONDS)
    return False


def _try_truncate_wal(connection: sqlite3.Connection) -> bool:
    # Readers of our own are short; meanwhile nobody is to wait long for the writer.
    connection.execute(f"PRAGMA busy_timeout = {READER_WAIT_MS // 5}")
    try:
        return _checkpoint(connection)
    finally:
        connection.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")


async def run_on_connection(connection: aiosqlite.Connection, job: DatabaseJob[T]) -> T:
    """Run `job` on the connection's thread."""
    # aiosqlite's own methods cost a hop a statement; this one runs the whole job in one.
    result: T = await connection._execute(lambda: job(connection._conn))  # type: ignore[no-untyped-call]
    return result


async def run_with_deadline(connection: aiosqlite.Connection, job: DatabaseJob[T]) -> T:
    """`hop` for a reader; raises `StoreBusy` for what takes longer than `LONGEST_READ`."""
    loop = asyncio.get_running_loop()
    end = loop.call_later(MAX_READ_SECONDS, connection._conn.interrupt)
    try:
        return await run_on_connection(connection, job)
    except sqlite3.OperationalError as error:
        if getattr(error, "sqlite_errorcode", 0) != sqlite3.SQLITE_INTERRUPT:
            raise
        words = f"it took longer than {MAX_READ_SECONDS:g} s to look this up"
        raise StoreBusy(words) from error
    finally:
        end.cancel()


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
