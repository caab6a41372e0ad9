"""The log: what is appended is on disk when its future is done.

Group commit: requests that arrive while a commit runs make the next one. They wait here, bounded
in bytes and in age; whoever asks `room` before taking a request's body turns away in time what
would be too much.
"""

import asyncio
import logging
import sqlite3
from collections import deque
from collections.abc import Sequence
from functools import partial
from math import inf
from time import monotonic, time_ns
from typing import Any

from store.api.errors import StoreError, StoreFull
from store.sqlite.core.database import Database
from store.sqlite.core.latency_histogram import LatencyHistogram
from store.sqlite.events.commit_batch import (
    AppendOutcome,
    BatchEntry,
    CommitBatch,
    CommitWaiter,
    EventRow,
    full_row,
)
from store.sqlite.events.ingest_counts import IngestCounts
from store.sqlite.events.rejected_event_store import RejectedEventLimits
from store.sqlite.events.snowflake_ids import SnowflakeIds

LOG = logging.getLogger("marquee.log")

MAX_QUEUE_BYTES, MAX_QUEUE_SECONDS = 16_777_216, 2.0
# What waits holds more memory than the bytes that came: a row in Python, and a request's state.
ROW_COST_BYTES, REQUEST_COST_BYTES = 1_000, 2_000
# When much waits, a commit takes about this much of it, and stays short.
MAX_COMMIT_ROWS, MAX_COMMIT_BYTES = 1_024, 2_097_152
# A queue that has not fitted into one commit for so many seconds is no burst: from then on nothing
# is taken while someone has waited for longer than this. As much is taken as ever, but it does not
# wait for longer than it has to (as CoDel has it, RFC 8289).
STANDING_QUEUE_SECONDS, STANDING_MAX_SECONDS = 0.5, 0.1
# Turns of the loop between two commits: who was just answered may ask again, and is in the next one
# instead of the one after. Commits are half as many then where hundreds ask at once; where nobody
# does, it is over in microseconds.
GATHER_LOOP_TURNS = 2


class EventLog:
    """An open log; to be used on one event loop. `open` makes one."""

    def __init__(
        self,
        database: Database,
        last: int,
        committed: IngestCounts,
        *,
        node: int = 0,
        queue_bytes: int = MAX_QUEUE_BYTES,
        queue_age: float = MAX_QUEUE_SECONDS,
        bounds: RejectedEventLimits | None = None,
    ) -> None:
        self.counts = committed  # as committed
        self.queued = 0  # bytes that wait, as `room` reckons them
        self.longest_wait = 0.0  # seconds from an append to its commit, at most
        self.waits = LatencyHistogram()  # each as long as the longest of its commit
        self.bounds = bounds or RejectedEventLimits()
        self._database = database
        self._loop = asyncio.get_running_loop()
        self._ids = SnowflakeIds(last, node)
        self._bytes, self._age = queue_bytes, queue_age
        self._batches = deque([CommitBatch()])  # the last one is being filled
        self._oldest = 0.0
        self._standing = inf  # since when more has waited than fits into one commit
        self._work: asyncio.Task[None] | None = None
        self._full = False

    @classmethod
    async def open(
        cls,
        database: Database,
        *,
        node: int = 0,
        queue_bytes: int = MAX_QUEUE_BYTES,
        queue_age: float = MAX_QUEUE_SECONDS,
        bounds: RejectedEventLimits | None = None,
    ) -> "EventLog":
        """The log in `database`.

        `node` tells this server's ids from those of others. The queue holds up to `queue_bytes`,
        and takes nothing while someone has waited for more than `queue_age` seconds.
        """
        return cls(
            database,
            *await database.read_internal(_read_log_state),
            node=node,
            queue_bytes=queue_bytes,
            queue_age=queue_age,
            bounds=bounds,
        )

    @property
    def last(self) -> int:
        """The highest id that was given."""
        return self._ids.last

    @property
    def waiting(self) -> float:
        """Seconds for which the oldest request has waited."""
        return monotonic() - self._oldest if self.queued else 0.0

    @property
    def crowded(self) -> bool:
        """Whether more waits than the next commit takes."""
        return len(self._batches) > 1

    def room(self, size: int) -> bool:
        """Whether a request of `size` bytes may be taken now; if not, it is to be `refuse`d."""
        if not self.queued:
            return True
        if self.queued + size + REQUEST_COST_BYTES > self._bytes:
            return False
        now = monotonic()
        age = (
            self._age
            if now < self._standing + STANDING_QUEUE_SECONDS
            else min(self._age, STANDING_MAX_SECONDS)
        )
        return now - self._oldest < age

    def append(
        self,
        rows: Sequence[EventRow],
        rejects: Sequence[tuple[int, bytes, str]] = (),
        **more: Any,
    ) -> asyncio.Future[list[AppendOutcome]]:
        """`take` for whoever would rather await: each row's outcome, once that is on disk.

        The future raises what `take` would tell of.
        """
        future = self._loop.create_future()
        self.take(_FutureWaiter(future), rows, rejects, **more)
        return future

    def take(
        self,
        waiter: CommitWaiter,
        rows: Sequence[EventRow],
        rejects: Sequence[tuple[int, bytes, str]] = (),
        *,
        received: int | None = None,
        rejected: int | None = None,
        refused: int = 0,
        size: int = 0,
        bodies: Sequence[bytes] = (),
        counted: bool = True,
    ) -> None:
        """Append a request's items, all in one commit, and tell `waiter` when that is on disk.

        `rows` are right, `rejects` are wrong ones to be kept as (app, body, errors as JSON);
        `rejected` says how many were wrong if not all of them are to be kept, `refused` how many
        were turned away. `received` is the time in µs, `size` the bytes that the request holds.
        `bodies` are those of the rows as they came, to be kept of rows that conflict. What is
        not `counted` (it came with no authenticated request) is in no count.

        The waiter is told of a `StoreFull` when the disk is full (the items then count as
        refused), of a `StoreFailed` when the database is broken, else of a `StoreError`. It is
        called straight from the commit: where hundreds wait for one, a future's way through the
        loop would cost each of them more than all of its writing.
        """
        if received is None:
            received = time_ns() // 1000
        ids = self._ids.take(len(rows) + len(rejects), received // 1000)
        batch = self._admit(ids[-1] if ids else 0, size + ROW_COST_BYTES * len(rows))
        if rejects:
            ids, theirs = ids[: len(rows)], ids[len(rows) :]
            for number, (app, body, errors) in zip(theirs, rejects, strict=True):
                batch.rejects.append((number, received, app, body, errors))
        batch.add(BatchEntry(ids, rows, bodies, received, counted, waiter))
        if counted:
            wrong = len(rejects) if rejected is None else rejected
            batch.counts.add(stored=len(rows), rejected=wrong, refused=refused)

    def take_one(self, waiter: CommitWaiter, row: EventRow, *, received: int, body: bytes) -> None:
        """`take` for one event that is right, as most requests hold: the same in fewer steps."""
        number = self._ids.one(received // 1000)
        # It is held as it came and as it will be stored.
        batch = self._admit(number, 2 * len(body) + ROW_COST_BYTES)
        batch.entries.append(BatchEntry((number,), (row,), (body,), received, True, waiter))
        batch.rows.append(full_row(number, received, row))
        batch.counts.received += 1
        batch.counts.stored += 1

    def replay(
        self, reject: int, row: EventRow, *, received: int | None = None
    ) -> asyncio.Future[list[AppendOutcome]]:
        """Append the event of a reject and take that one out of the rejects, in one commit.

        It counts as stored then, and no longer as rejected. The outcome is "gone" if there is no
        such reject; after a "conflict" it stays there.
        """
        if received is None:
            received = time_ns() // 1000
        number = self._ids.one(received // 1000)
        future = self._loop.create_future()
        entry = BatchEntry((number,), (row,), (), received, True, _FutureWaiter(future))
        self._admit(number, ROW_COST_BYTES).replays.append((reject, entry))
        return future

    def refuse(self, items: int = 1) -> None:
        """Count items of an authenticated request that was turned away, in the next commit."""
        self._batches[-1].counts.add(refused=items)
        self._start()

    async def drain(self) -> None:
        """Wait until all that was appended, or counted as refused, has had its commit."""
        if self._batches[0]:
            self._start()
        while self._work is not None:
            await asyncio.wait([self._work])

    def _admit(self, last: int, cost: int) -> CommitBatch:
        batch = self._batches[-1]
        if len(batch.rows) >= MAX_COMMIT_ROWS or batch.cost >= MAX_COMMIT_BYTES:
            batch = CommitBatch()
            self._batches.append(batch)
        now = monotonic()
        if not batch.cost:
            batch.since = now
        if not self.queued:
            self._oldest = now
        cost += REQUEST_COST_BYTES
        batch.cost += cost
        self.queued += cost
        batch.last = last or batch.last
        if self._work is None:
            self._start()
        return batch

    def _start(self) -> None:
        if self._work is None:
            self._work = self._loop.create_task(self._commit())

    async def _commit(self) -> None:
        try:
            while self._batches[0]:
                batch = self._batches.popleft()
                if self._batches:
                    self._standing = min(self._standing, monotonic())
                else:
                    self._standing = inf
                    self._batches.append(CommitBatch())
                try:
                    lost, self.counts = await self._database.write(
                        partial(batch.write, self.bounds)
                    )
                except Exception as error:
                    self._fail(batch, error)
                    if not self._batches[0].cost:  # what was refused waits for better times
                        return
                else:
                    self._full = False
                    batch.settle(lost)
                    self._leave(batch)
                    for _ in range(GATHER_LOOP_TURNS):
                        await asyncio.sleep(0)
        finally:
            self._work = None

    def _fail(self, batch: CommitBatch, error: Exception) -> None:
        if isinstance(error, StoreFull):
            if not self._full:
                LOG.error("%s: events are turned away until there is room", error)
            self._full = True
        elif not isinstance(error, StoreError):
            LOG.error("a commit of the log failed", exc_info=error)
            error = StoreError(f"the events were not stored: {error}")
        self._batches[0].counts.add(refused=batch.counts.received)
        batch.fail(error)
        self._leave(batch)

    def _leave(self, batch: CommitBatch) -> None:
        self.queued -= batch.cost
        if batch.cost:
            wait = monotonic() - batch.since
            self.longest_wait = max(self.longest_wait, wait)
            self.waits.add(wait, len(batch.rows) or 1)
        self._oldest = self._batches[0].since


class _FutureWaiter:
    """Tells a future, whose owner may have left."""

    __slots__ = ("_future",)

    def __init__(self, future: asyncio.Future[list[AppendOutcome]]) -> None:
        self._future = future

    def settled(self, outcomes: list[AppendOutcome]) -> None:
        if not self._future.done():
            self._future.set_result(outcomes)

    def failed(self, error: Exception) -> None:
        if not self._future.done():
            self._future.set_exception(error)


def _read_log_state(connection: sqlite3.Connection) -> tuple[int, IngestCounts]:
    sql = "SELECT max(last, (SELECT coalesce(max(id), 0) FROM event)) FROM log"
    return connection.execute(sql).fetchone()[0], IngestCounts.read(connection)
