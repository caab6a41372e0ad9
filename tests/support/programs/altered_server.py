"""The server with changed behaviour: `python altered_server.py CHANGE,… serve …`.

A change speeds a test up (`check_retention_often`) or removes a safeguard, so that a test can show
that it detects the loss. mypy checks that every replaced name still exists; names that a module
only imports are replaced by `replace_attribute`, which fails if they do not.
"""

import errno
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[3]))

import server
from app import core
from background.common.sse_hub import SseListener
from background.events import retention_worker
from domain.common import clock_state
from handlers.common import audience_base, base_handler
from httpserver.connection.connection import Connection
from httpserver.memory_budget import MemoryBudget
from httpserver.tornado.tornado_request import TornadoRequest
from store.api.errors import StoreBusy, StoreError
from store.sqlite.core import database, paging
from store.sqlite.core.database import Database
from store.sqlite.events import (
    commit_batch,
    event_log,
    event_retention,
    event_search,
    snowflake_ids,
)
from store.sqlite.projections import projections
from tests.support.programs import replace_attribute


def check_retention_often() -> None:
    """Delete expired events within a fraction of a second."""
    retention_worker.CHECK_INTERVAL_SECONDS = 0.2


def trust_any_clock() -> None:
    """Trust the clock however far it jumps."""
    clock_state.MAX_TRUSTED_GAP_SECONDS = float("inf")


def let_ids_fall_with_clock() -> None:
    """Derive ids from the clock alone, so that they fall when it is set back."""

    class FallingIds(snowflake_ids.SnowflakeIds):
        def generate(self, count: int, milliseconds: int) -> Sequence[int]:
            self._follow(milliseconds)
            return super().generate(count, milliseconds)

        def generate_one(self, milliseconds: int) -> int:
            self._follow(milliseconds)
            return super().generate_one(milliseconds)

        def _follow(self, milliseconds: int) -> None:
            if self.last >> snowflake_ids.TIMESTAMP_SHIFT > milliseconds:
                self.last = milliseconds << snowflake_ids.TIMESTAMP_SHIFT

    replace_attribute(event_log, "SnowflakeIds", FallingIds)


def acknowledge_before_commit() -> None:
    """Acknowledge events as soon as they are queued."""

    class EarlyEventLog(event_log.EventLog):
        def enqueue_one(self, waiter: Any, row: Any, **options: Any) -> None:
            super().enqueue_one(SilentWaiter(), row, **options)
            waiter.settled([(self.last_id, "stored")])

        def enqueue(self, waiter: Any, rows: Any, *args: Any, **options: Any) -> None:
            super().enqueue(SilentWaiter(), rows, *args, **options)
            first = self.last_id - len(rows) + 1
            waiter.settled([(first + number, "stored") for number in range(len(rows))])

    replace_attribute(core, "EventLog", EarlyEventLog)


class SilentWaiter:
    """Discards the outcome of a commit."""

    def settled(self, _: object) -> None:
        pass

    def failed(self, _: object) -> None:
        pass


def ignore_sender_ids() -> None:
    """Store an event again when its sender repeats it."""
    full_row = commit_batch.full_row

    def without_sender(
        number: int, received: int, row: commit_batch.EventRow
    ) -> commit_batch.FullEventRow:
        return full_row(number, received, (*row[:7], None, None, *row[9:]))

    commit_batch.full_row = without_sender
    replace_attribute(event_log, "full_row", without_sender)


def acknowledge_failed_commits() -> None:
    """Acknowledge events that could not be written."""

    def fail(self: event_log.EventLog, batch: commit_batch.CommitBatch, _: Exception) -> None:
        batch.settle({})
        self._dequeue(batch)

    event_log.EventLog._fail = fail


def ignore_disk_errors() -> None:
    """Treat failed writes as successful."""
    write = Database.write

    async def careless(self: Database, job: Callable[..., Any]) -> object:
        try:
            return await write(self, job)
        except StoreError:
            return {}, log_counts[-1]

    log_counts: list[object] = []
    opened: Any = event_log.EventLog.open.__func__  # type: ignore[attr-defined]

    async def open_log(
        cls: type[event_log.EventLog], /, *args: object, **options: object
    ) -> object:
        log = await opened(cls, *args, **options)
        log_counts.append(log.counts)
        return log

    event_log.EventLog.open = classmethod(open_log)
    Database.write = careless


def search_endlessly() -> None:
    """Make every search for events read more rows than a second allows."""
    find_positions = event_search.find_positions
    endless = (
        "WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n) SELECT max(n) FROM n"
    )

    def find(connection: Any, *args: Any) -> Any:
        connection.execute(endless).fetchone()
        return find_positions(connection, *args)

    event_search.find_positions = find


def remove_read_deadline() -> None:
    """Let a read take as long as it needs."""
    database.MAX_READ_SECONDS = 3_600.0


def expire_client_reads() -> None:
    """Let the deadline of each client's read pass at once; internal reads get small pages."""

    async def expire(*_: object) -> None:
        raise StoreBusy("it took too long to look this up")

    database.run_with_deadline = expire
    replace_attribute(projections, "run_with_deadline", expire)
    paging.PAGE_ROWS = 50


def fail_while_marker_exists() -> None:
    """Fail to open projections and to delete expired rows while the file $FAILING exists."""
    marker = Path(os.environ["FAILING"])

    def failing(call: Any) -> Any:
        async def call_or_fail(*args: Any) -> Any:
            if marker.exists():
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return await call(*args)

        return call_or_fail

    become = projections.Projections._replace_with

    async def become_failing(self: projections.Projections, path: Path) -> None:
        self._connect = failing(self._connect)
        await become(self, path)

    projections.Projections._replace_with = become_failing
    event_retention.EventRetention.run_step = failing(event_retention.EventRetention.run_step)


def limit_wal_to_2_mb() -> None:
    """Lower the maximum size of the WAL, which takes long to reach otherwise."""
    database.MAX_WAL_BYTES = 2_000_000


def checkpoint_only_on_writes() -> None:
    """Stop the maintenance of the WAL between writes."""

    async def do_nothing(_: Database) -> bool:
        return True

    Database.tend = Database.scrub = do_nothing
    Database._run_checkpoint = lambda *_: None


def accept_any_body() -> None:
    """Let the memory budget have room for every body."""
    MemoryBudget.fits = lambda *_: True


def count_no_refused_events() -> None:
    """Do not count refused events."""
    event_log.EventLog.count_refused = lambda *_: None


def keep_half_closed_connections() -> None:
    """Keep a connection open after the client has closed its side."""
    Connection.eof_received = lambda _: True


def report_disconnects_early() -> None:
    """Tell a handler of a disconnect before its request has been read."""
    TornadoRequest.handle_peer_eof = TornadoRequest.notify_closed


def ignore_stream_disconnects() -> None:
    """Keep streams whose client has disconnected."""
    SseListener.tell = lambda *_: None
    audience_base.PolledHostHandler.on_connection_close = lambda _: None


def leave_projections_damaged() -> None:
    """Do not rebuild damaged projections."""

    async def mend_nothing(*_: object) -> bool:
        return False

    projections.Projections.mend = mend_nothing


def send_tracebacks() -> None:
    """Send the traceback of an error to the client."""

    def write_error(self: base_handler.BaseHandler, _: int, **options: Any) -> None:
        self.finish("".join(traceback.format_exception(*options["exc_info"])))

    base_handler.BaseHandler.write_error = write_error


CHANGES: dict[str, Callable[[], None]] = {
    each.__name__: each
    for each in (
        check_retention_often,
        trust_any_clock,
        let_ids_fall_with_clock,
        acknowledge_before_commit,
        ignore_sender_ids,
        acknowledge_failed_commits,
        ignore_disk_errors,
        search_endlessly,
        remove_read_deadline,
        expire_client_reads,
        fail_while_marker_exists,
        limit_wal_to_2_mb,
        checkpoint_only_on_writes,
        accept_any_body,
        count_no_refused_events,
        keep_half_closed_connections,
        report_disconnects_early,
        ignore_stream_disconnects,
        leave_projections_damaged,
        send_tracebacks,
    )
}

if __name__ == "__main__":
    for name in filter(None, sys.argv[1].split(",")):
        CHANGES[name]()
    sys.exit(server.main(sys.argv[2:]))
