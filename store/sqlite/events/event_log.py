"""The event log: appends are acknowledged once they are on disk.

Group commit: requests that arrive during a commit form the next one. The queue is bounded in bytes
and in waiting time; handlers call `has_room` before they read a body, to reject excess load early.
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
# Memory per queued row and request in addition to the body's bytes.
ROW_COST_BYTES, REQUEST_COST_BYTES = 1_000, 2_000
# Approximate maximum of one commit, which keeps it short.
MAX_COMMIT_ROWS, MAX_COMMIT_BYTES = 1_024, 2_097_152
# A queue that exceeds one commit for the first number of seconds is not a burst: from then on the
# log has no room while a request has waited for the second. Throughput stays the same, but requests
# wait no longer than necessary (like CoDel, RFC 8289).
STANDING_QUEUE_SECONDS, STANDING_MAX_SECONDS = 0.5, 0.1
# Turns of the event loop between two commits, in which clients that were just answered can send
# again. This halves the number of commits with hundreds of clients, and takes microseconds without.
GATHER_LOOP_TURNS = 2


class EventLog:
    """The event log, used on one event loop; create it with `open`."""

    def __init__(
        self,
        database: Database,
        last: int,
        committed: IngestCounts,
        *,
        node: int = 0,
        queue_bytes: int = MAX_QUEUE_BYTES,
        queue_age: float = MAX_QUEUE_SECONDS,
        rejected_limits: RejectedEventLimits | None = None,
    ) -> None:
        self.counts = committed
        self.queued_bytes = 0  # including the costs per row and request
        self.longest_wait = 0.0  # maximum seconds from an append to its commit
        self.latencies = LatencyHistogram()  # of each row, as the longest wait in its commit
        self.rejected_limits = rejected_limits or RejectedEventLimits()
        self._database = database
        self._loop = asyncio.get_running_loop()
        self._ids = SnowflakeIds(last, node)
        self._max_bytes, self._max_age = queue_bytes, queue_age
        self._batches = deque([CommitBatch()])  # the last one is being filled
        self._oldest = 0.0  # time of the oldest queued append
        self._backlog_since = inf  # time since when the queue has exceeded one commit
        self._commit_task: asyncio.Task[None] | None = None
        self._is_disk_full = False

    @classmethod
    async def open(
        cls,
        database: Database,
        *,
        node: int = 0,
        queue_bytes: int = MAX_QUEUE_BYTES,
        queue_age: float = MAX_QUEUE_SECONDS,
        rejected_limits: RejectedEventLimits | None = None,
    ) -> "EventLog":
        """Open the log of `database`.

        `node` is part of the ids of this server. The queue has no room beyond `queue_bytes`, and
        while its oldest request has waited for more than `queue_age` seconds.
        """
        return cls(
            database,
            *await database.read_internal(_read_log_state),
            node=node,
            queue_bytes=queue_bytes,
            queue_age=queue_age,
            rejected_limits=rejected_limits,
        )

    @property
    def last_id(self) -> int:
        """The highest assigned id."""
        return self._ids.last

    @property
    def oldest_wait(self) -> float:
        """Seconds for which the oldest queued request has waited."""
        return monotonic() - self._oldest if self.queued_bytes else 0.0

    @property
    def is_backlogged(self) -> bool:
        """Whether the queue exceeds the next commit."""
        return len(self._batches) > 1

    def has_room(self, size: int) -> bool:
        """Return whether the queue has room for `size` bytes; if not, call `count_refused`."""
        if not self.queued_bytes:
            return True
        if self.queued_bytes + size + REQUEST_COST_BYTES > self._max_bytes:
            return False
        now = monotonic()
        age = (
            self._max_age
            if now < self._backlog_since + STANDING_QUEUE_SECONDS
            else min(self._max_age, STANDING_MAX_SECONDS)
        )
        return now - self._oldest < age

    def append(
        self,
        rows: Sequence[EventRow],
        rejected: Sequence[tuple[int, bytes, str]] = (),
        **options: Any,
    ) -> asyncio.Future[list[AppendOutcome]]:
        """Call `enqueue`; return a future of the outcomes, which raises the waiter's error."""
        future = self._loop.create_future()
        self.enqueue(_FutureWaiter(future), rows, rejected, **options)
        return future

    def enqueue(
        self,
        waiter: CommitWaiter,
        rows: Sequence[EventRow],
        rejected: Sequence[tuple[int, bytes, str]] = (),
        *,
        received: int | None = None,
        rejected_count: int | None = None,
        refused: int = 0,
        size: int = 0,
        bodies: Sequence[bytes] = (),
        counted: bool = True,
    ) -> None:
        """Append a request's items in one commit, and call `waiter` when they are on disk.

        `rows` are valid events, `rejected` are invalid ones as (app, body, errors as JSON).
        `rejected_count` is their number if not all are stored, `refused` the number of items
        without room. `received` is the time in µs, `size` the memory of the request in bytes.
        `bodies` are the bodies of the rows, stored with rejected events on a conflict. Items that
        are not `counted`, as of unauthenticated requests, are in no count.

        `waiter` fails with `StoreFull` if the disk is full (the items then count as refused),
        `StoreFailed` if the database is broken, or another `StoreError`. The commit calls it
        directly: with hundreds of waiters, futures would cost more than the writes.
        """
        if received is None:
            received = time_ns() // 1000
        ids = self._ids.generate(len(rows) + len(rejected), received // 1000)
        batch = self._admit(ids[-1] if ids else 0, size + ROW_COST_BYTES * len(rows))
        if rejected:
            ids, rejected_ids = ids[: len(rows)], ids[len(rows) :]
            for number, (app, body, errors) in zip(rejected_ids, rejected, strict=True):
                batch.rejected.append((number, received, app, body, errors))
        batch.add(BatchEntry(ids, rows, bodies, received, counted, waiter))
        if counted:
            invalid = len(rejected) if rejected_count is None else rejected_count
            batch.counts.add(stored=len(rows), rejected=invalid, refused=refused)

    def enqueue_one(
        self, waiter: CommitWaiter, row: EventRow, *, received: int, body: bytes
    ) -> None:
        """Call `enqueue` for one valid event, faster: most requests have one."""
        number = self._ids.generate_one(received // 1000)
        # Twice: as the body and as the row.
        batch = self._admit(number, 2 * len(body) + ROW_COST_BYTES)
        batch.entries.append(BatchEntry((number,), (row,), (body,), received, True, waiter))
        batch.rows.append(full_row(number, received, row))
        batch.counts.received += 1
        batch.counts.stored += 1

    def replay(
        self, rejected_id: int, row: EventRow, *, received: int | None = None
    ) -> asyncio.Future[list[AppendOutcome]]:
        """Append the row of a rejected event and delete the rejected event in one commit.

        It then counts as stored instead of rejected. The outcome is "gone" if the rejected event
        does not exist; after a "conflict" it is not deleted.
        """
        if received is None:
            received = time_ns() // 1000
        number = self._ids.generate_one(received // 1000)
        future = self._loop.create_future()
        entry = BatchEntry((number,), (row,), (), received, True, _FutureWaiter(future))
        self._admit(number, ROW_COST_BYTES).replays.append((rejected_id, entry))
        return future

    def count_refused(self, items: int = 1) -> None:
        """Count refused items of an authenticated request in the next commit."""
        self._batches[-1].counts.add(refused=items)
        self._start()

    async def drain(self) -> None:
        """Wait until all appends and counts are committed."""
        if self._batches[0]:
            self._start()
        while self._commit_task is not None:
            await asyncio.wait([self._commit_task])

    def _admit(self, last: int, cost: int) -> CommitBatch:
        batch = self._batches[-1]
        if len(batch.rows) >= MAX_COMMIT_ROWS or batch.cost >= MAX_COMMIT_BYTES:
            batch = CommitBatch()
            self._batches.append(batch)
        now = monotonic()
        if not batch.cost:
            batch.since = now
        if not self.queued_bytes:
            self._oldest = now
        cost += REQUEST_COST_BYTES
        batch.cost += cost
        self.queued_bytes += cost
        batch.last = last or batch.last
        if self._commit_task is None:
            self._start()
        return batch

    def _start(self) -> None:
        if self._commit_task is None:
            self._commit_task = self._loop.create_task(self._commit())

    async def _commit(self) -> None:
        try:
            while self._batches[0]:
                batch = self._batches.popleft()
                if self._batches:
                    self._backlog_since = min(self._backlog_since, monotonic())
                else:
                    self._backlog_since = inf
                    self._batches.append(CommitBatch())
                try:
                    exceptions, self.counts = await self._database.write(
                        partial(batch.write, self.rejected_limits)
                    )
                except Exception as error:
                    self._fail(batch, error)
                    if not self._batches[0].cost:  # refused counts wait for the next append
                        return
                else:
                    self._is_disk_full = False
                    batch.settle(exceptions)
                    self._dequeue(batch)
                    for _ in range(GATHER_LOOP_TURNS):
                        await asyncio.sleep(0)
        finally:
            self._commit_task = None

    def _fail(self, batch: CommitBatch, error: Exception) -> None:
        if isinstance(error, StoreFull):
            if not self._is_disk_full:
                LOG.error("%s: refusing events until there is space", error)
            self._is_disk_full = True
        elif not isinstance(error, StoreError):
            LOG.error("commit of the event log failed", exc_info=error)
            error = StoreError(f"the events were not stored: {error}")
        self._batches[0].counts.add(refused=batch.counts.received)
        batch.fail(error)
        self._dequeue(batch)

    def _dequeue(self, batch: CommitBatch) -> None:
        self.queued_bytes -= batch.cost
        if batch.cost:
            wait = monotonic() - batch.since
            self.longest_wait = max(self.longest_wait, wait)
            self.latencies.add(wait, len(batch.rows) or 1)
        self._oldest = self._batches[0].since


class _FutureWaiter:
    """Completes a future, unless its owner has cancelled it."""

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
