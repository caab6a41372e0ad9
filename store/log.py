"""The log: what is appended is on disk when its future is done.

Group commit: requests that arrive while a commit runs make the next one. They wait here, bounded
in bytes and in age; whoever asks `room` before it takes a request's body turns away in time what
would be too much.
"""

import asyncio
import logging
import sqlite3
from collections.abc import Sequence
from functools import partial
from time import monotonic, time_ns

from store import batch, counts
from store.batch import Entry, Outcome, Row
from store.counts import Counts
from store.database import Database
from store.errors import StoreError, StoreFailed, StoreFull
from store.identifiers import Identifiers
from store.rejected import Bounds

LOG = logging.getLogger("marquee.log")

# What waits holds more memory than the bytes that came: a row in Python, and a request's state.
ROW_COST, REQUEST_COST = 1_000, 2_000
# One commit takes no more than this, so that it stays short when much waits.
COMMIT_ROWS, COMMIT_COST = 2_048, 4_194_304


class Log:
    """An open log; to be used on one event loop. `open` makes one."""

    def __init__(
        self,
        database: Database,
        last: int,
        committed: Counts,
        *,
        node: int = 0,
        queue_bytes: int = 33_554_432,
        queue_age: float = 2.0,
        bounds: Bounds = Bounds(),  # noqa: B008
    ) -> None:
        self.counts = committed  # as committed
        self.queued = 0  # bytes that wait, as `room` reckons them
        self.longest_wait = 0.0  # seconds from an append to its commit, at most
        self.bounds = bounds
        self._database = database
        self._ids = Identifiers(last, node)
        self._bytes, self._age = queue_bytes, queue_age
        self._queue: list[Entry] = []
        self._oldest = 0.0
        self._refused = 0
        self._work: asyncio.Task[None] | None = None

    @classmethod
    async def open(
        cls,
        database: Database,
        *,
        node: int = 0,
        queue_bytes: int = 33_554_432,
        queue_age: float = 2.0,
        bounds: Bounds = Bounds(),  # noqa: B008
    ) -> "Log":
        """The log in `database`.

        `node` tells this server's ids from those of others. The queue holds up to `queue_bytes`,
        and takes nothing while someone has waited for more than `queue_age` seconds.
        """
        last, committed = await database.read(_state)
        return cls(
            database,
            last,
            committed,
            node=node,
            queue_bytes=queue_bytes,
            queue_age=queue_age,
            bounds=bounds,
        )

    def room(self, size: int) -> bool:
        """Whether a request of `size` bytes may be taken now; if not, it is to be `refuse`d."""
        if not self.queued:
            return True
        return (
            self.queued + size + REQUEST_COST <= self._bytes
            and monotonic() - self._oldest < self._age
        )

    @property
    def waiting(self) -> float:
        """Seconds for which the oldest request has waited."""
        return monotonic() - self._oldest if self.queued else 0.0

    @property
    def last(self) -> int:
        """The highest id that was given."""
        return self._ids.last

    def append(
        self,
        rows: Sequence[Row],
        rejects: Sequence[tuple[int, bytes, str]] = (),
        *,
        received: int | None = None,
        rejected: int | None = None,
        refused: int = 0,
        size: int = 0,
        bodies: Sequence[bytes] = (),
        counted: bool = True,
    ) -> asyncio.Future[list[Outcome]]:
        """Append a request's items, all in one commit; each row's outcome, once that is on disk.

        `rows` are right, `rejects` are wrong ones to be kept as (app, body, errors as JSON);
        `rejected` says how many were wrong if not all of them are to be kept, `refused` how many
        were turned away. `received` is the time in µs, `size` the bytes that the request holds.
        `bodies` are those of the rows as they came, kept for rows that turn out to conflict.
        What is not `counted` (no authenticated request) is in no count.

        The future raises `StoreFull` when the disk is full (the items are then counted as
        refused), `StoreFailed` when the database is broken, else `StoreError`.
        """
        entry = Entry()
        entry.rows, entry.rejects, entry.bodies = rows, rejects, bodies
        entry.rejected = len(rejects) if rejected is None else rejected
        entry.refused, entry.counted, entry.replays = refused, counted, None
        return self._enter(entry, received, size)

    def replay(
        self, reject: int, row: Row, *, received: int | None = None
    ) -> asyncio.Future[list[Outcome]]:
        """Append the event of a reject, and take that one out of the rejects, in one commit.

        The outcome is "gone" if there is no such reject; after a "conflict" it stays there.
        """
        entry = Entry()
        entry.rows, entry.rejects, entry.bodies = (row,), (), ()
        entry.rejected = entry.refused = 0
        entry.counted, entry.replays = True, reject
        return self._enter(entry, received, 0)

    def refuse(self, items: int = 1) -> None:
        """Count items of an authenticated request that was turned away; in the next commit."""
        self._refused += items
        self._start()

    async def drain(self) -> None:
        """Wait until all that was appended, and counted as refused, has had its commit."""
        if self._queue or self._refused:
            self._start()
        while self._work is not None:
            await asyncio.wait([self._work])

    def _enter(
        self, entry: Entry, received: int | None, size: int
    ) -> asyncio.Future[list[Outcome]]:
        entry.received = time_ns() // 1000 if received is None else received
        entry.ids = self._ids.take(len(entry.rows) + len(entry.rejects), entry.received // 1000)
        entry.since = monotonic()
        entry.cost = size + REQUEST_COST + ROW_COST * len(entry.rows)
        entry.future = asyncio.get_running_loop().create_future()
        if not self.queued:
            self._oldest = entry.since
        self.queued += entry.cost
        self._queue.append(entry)
        self._start()
        return entry.future

    def _start(self) -> None:
        if self._work is None:
            self._work = asyncio.get_running_loop().create_task(self._commit())

    async def _commit(self) -> None:
        try:
            while self._queue or self._refused:
                entries = self._take()
                refused, self._refused = self._refused, 0
                try:
                    lost, added = await self._database.write(
                        partial(_append, entries, refused, self.bounds)
                    )
                except Exception as error:
                    self._refused += refused
                    self._fail(entries, error)
                    if not self._queue:
                        return
                else:
                    self.counts += added
                    self._settle(entries, lost)
        finally:
            self._work = None

    def _take(self) -> list[Entry]:
        rows = cost = 0
        for number, entry in enumerate(self._queue):
            if rows >= COMMIT_ROWS or cost >= COMMIT_COST:
                taken, self._queue = self._queue[:number], self._queue[number:]
                return taken
            rows += len(entry.rows)
            cost += entry.cost
        taken, self._queue = self._queue, []
        return taken

    def _settle(self, entries: Sequence[Entry], lost: dict[int, Outcome]) -> None:
        for entry in entries:
            self.queued -= entry.cost
            if entry.future.done():  # whoever waited has left
                continue
            ids = entry.ids[: len(entry.rows)]
            entry.future.set_result([lost.get(number, (number, "stored")) for number in ids])
        self._look_at_age(entries)

    def _fail(self, entries: Sequence[Entry], error: Exception) -> None:
        if not isinstance(error, StoreError):
            LOG.error("a commit of the log failed", exc_info=error)
            error = StoreError(f"the events were not stored: {error}")
        if isinstance(error, StoreFull):
            LOG.warning("%s; events are turned away", error)
        for entry in entries:
            self.queued -= entry.cost
            if entry.counted and not isinstance(error, StoreFailed) and entry.replays is None:
                self._refused += len(entry.rows) + entry.rejected + entry.refused
            if not entry.future.done():
                entry.future.set_exception(type(error)(str(error)))
        self._look_at_age(entries)

    def _look_at_age(self, entries: Sequence[Entry]) -> None:
        if entries:
            self.longest_wait = max(self.longest_wait, monotonic() - entries[0].since)
        if self._queue:
            self._oldest = self._queue[0].since


def _append(
    entries: Sequence[Entry], refused: int, bounds: Bounds, connection: sqlite3.Connection
) -> tuple[dict[int, Outcome], Counts]:
    return batch.append(connection, entries, refused, bounds)


def _state(connection: sqlite3.Connection) -> tuple[int, Counts]:
    sql = "SELECT max(last, (SELECT coalesce(max(id), 0) FROM event)) FROM log"
    return connection.execute(sql).fetchone()[0], counts.read(connection)
