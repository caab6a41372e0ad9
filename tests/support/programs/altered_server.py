"""The server with something changed: `python altered_server.py CHANGE,… serve …`.

A change makes a test quicker (`hasty`), or takes a guard out, so that a test can show that it
would see the loss.
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
    event_queries,
    event_retention,
    snowflake_ids,
)
from store.sqlite.projections import projections


def hasty() -> None:
    """What is old goes at once."""
    retention_worker.CHECK_INTERVAL_SECONDS = 0.2


def believes_any_clock() -> None:
    """Whatever the clock says is believed."""
    clock_state.MAX_TRUSTED_GAP_SECONDS = float("inf")


def ids_follow_the_clock() -> None:
    """Ids are the clock's alone, and fall when it does."""

    class Falling(snowflake_ids.SnowflakeIds):
        def take(self, count: int, milliseconds: int) -> Sequence[int]:
            self._begin(milliseconds)
            return super().take(count, milliseconds)

        def one(self, milliseconds: int) -> int:
            self._begin(milliseconds)
            return super().one(milliseconds)

        def _begin(self, milliseconds: int) -> None:
            if self.last >> snowflake_ids.TIMESTAMP_SHIFT > milliseconds:
                self.last = milliseconds << snowflake_ids.TIMESTAMP_SHIFT

    event_log.SnowflakeIds = Falling  # type: ignore[misc]


def answers_before_the_commit() -> None:
    """Senders hear yes as soon as their events wait."""

    class Early(event_log.EventLog):
        def take_one(self, waiter: Any, row: Any, **more: Any) -> None:
            super().take_one(Deaf(), row, **more)
            waiter.settled([(self.last, "stored")])

        def take(self, waiter: Any, rows: Any, *words: Any, **more: Any) -> None:
            super().take(Deaf(), rows, *words, **more)
            first = self.last - len(rows) + 1
            waiter.settled([(first + number, "stored") for number in range(len(rows))])

    core.EventLog = Early  # type: ignore[misc]


class Deaf:
    """Is not told."""

    def settled(self, _: object) -> None:
        pass

    def failed(self, _: object) -> None:
        pass


def overlooks_senders_ids() -> None:
    """What is sent again is stored again."""
    whole = commit_batch.full_row

    def full(number: int, received: int, row: commit_batch.EventRow) -> commit_batch.FullEventRow:
        return whole(number, received, (*row[:7], None, None, *row[9:]))

    commit_batch.full_row = event_log.full_row = full  # type: ignore[attr-defined]


def settles_what_failed() -> None:
    """Senders hear yes of what could not be written."""

    def fail(self: event_log.EventLog, batch: commit_batch.CommitBatch, _: Exception) -> None:
        batch.settle({})
        self._leave(batch)

    event_log.EventLog._fail = fail  # type: ignore[method-assign]


def overlooks_the_disk() -> None:
    """What the disk says is not looked at."""
    write = Database.write

    async def careless(self: Database, job: Callable) -> object:
        try:
            return await write(self, job)
        except StoreError:
            return {}, log_counts[-1]

    log_counts: list[object] = []
    opened = event_log.EventLog.open.__func__  # type: ignore[attr-defined]

    async def open_log(
        cls: type[event_log.EventLog], *words: object, **more: object
    ) -> event_log.EventLog:
        made = await opened(cls, *words, **more)
        log_counts.append(made.counts)
        return made

    event_log.EventLog.open = classmethod(open_log)  # type: ignore[assignment]
    Database.write = careless  # type: ignore[method-assign]


def looks_for_ever() -> None:
    """Whoever asks for events has more looked through than a second has time for."""
    look = event_queries._find_positions
    endless = (
        "WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n) SELECT max(n) FROM n"
    )

    def find(connection: Any, *words: Any) -> Any:
        connection.execute(endless).fetchone()
        return look(connection, *words)

    event_queries._find_positions = find


def never_ends_a_look_up() -> None:
    """A look-up takes the time that it takes."""
    database.MAX_READ_SECONDS = 3_600.0


def ends_every_look_up() -> None:
    """A client's look-up meets its deadline at once; the server's own reads have small pages."""

    async def end(*_: object) -> None:
        raise StoreBusy("it took too long to look this up")

    database.run_with_deadline = projections.run_with_deadline = end  # type: ignore[assignment, attr-defined]
    paging.PAGE_ROWS = 50


def fails_while_told() -> None:
    """Views cannot be opened, and nothing is let go of, while a file is there."""
    marker = Path(os.environ["FAILING"])

    def failing(call: Any) -> Any:
        async def perhaps(*words: Any) -> Any:
            if marker.exists():
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return await call(*words)

        return perhaps

    become = projections.Projections._become

    async def swapped(self: projections.Projections, path: Path) -> None:
        self._connect = failing(self._connect)  # type: ignore[method-assign]
        await become(self, path)

    projections.Projections._become = swapped  # type: ignore[method-assign]
    event_retention.EventRetention.once = failing(event_retention.EventRetention.once)  # type: ignore[method-assign]


def has_a_small_wal() -> None:
    """What takes a while to grow is large at once."""
    database.MAX_WAL_BYTES = 2_000_000


def does_not_tend() -> None:
    """Nobody looks after the WAL, but who writes."""

    async def idle(_: Database) -> bool:
        return True

    Database.tend = Database.scrub = idle  # type: ignore[method-assign,assignment]
    Database._look_after = lambda *_: None  # type: ignore[method-assign]


def holds_whatever_comes() -> None:
    """There is room for each body."""
    MemoryBudget.fits = lambda *_: True  # type: ignore[method-assign]


def counts_no_refusal() -> None:
    """What is turned away is not counted."""
    event_log.EventLog.refuse = lambda *_: None  # type: ignore[method-assign]


def keeps_whom_has_left() -> None:
    """A connection whose peer has ended it stays open."""
    Connection.eof_received = lambda _: True  # type: ignore[method-assign]


def tells_early() -> None:
    """Who has not yet the whole of a request is told that its peer has left."""
    TornadoRequest.handle_peer_eof = TornadoRequest.notify_closed  # type: ignore[method-assign]


def hears_nobody_leave() -> None:
    """Of a stream that was left, nobody is told."""
    SseListener.tell = lambda *_: None  # type: ignore[method-assign]
    audience_base.PolledHostHandler.on_connection_close = lambda _: None  # type: ignore[method-assign]


def leaves_views_harmed() -> None:
    """Views that are harmed are not made anew."""

    async def leave(*_: object) -> bool:
        return False

    projections.Projections.mend = leave  # type: ignore[method-assign]


def tells_all() -> None:
    """What went wrong is told to whoever asked."""

    def tell(self: base_handler.BaseHandler, _: int, **more: Any) -> None:
        self.finish("".join(traceback.format_exception(*more["exc_info"])))

    base_handler.BaseHandler.write_error = tell  # type: ignore[method-assign]


CHANGES: dict[str, Callable[[], None]] = {
    each.__name__: each
    for each in (
        hasty,
        believes_any_clock,
        ids_follow_the_clock,
        answers_before_the_commit,
        overlooks_senders_ids,
        settles_what_failed,
        overlooks_the_disk,
        looks_for_ever,
        never_ends_a_look_up,
        ends_every_look_up,
        fails_while_told,
        has_a_small_wal,
        does_not_tend,
        holds_whatever_comes,
        counts_no_refusal,
        keeps_whom_has_left,
        tells_early,
        hears_nobody_leave,
        leaves_views_harmed,
        tells_all,
    )
}

if __name__ == "__main__":
    for name in filter(None, sys.argv[1].split(",")):
        CHANGES[name]()
    sys.exit(server.main(sys.argv[2:]))
