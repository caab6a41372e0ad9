"""Taking events as a stream: NDJSON of any size, of which only some lines are held at a time.

It is for bodies that are larger than a lane takes, or come in chunks. Lines go to the log as they
come; where it is full the stream waits, and so, by the flow control of its connection, does its
sender. The answer comes when all is on disk, with a result for each line.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from tornado.iostream import StreamClosedError
from tornado.web import stream_request_body

from domain.common.validation_errors import FieldError
from domain.events.event_batch import (
    MAX_SHORT_ITEMS,
    TOO_MANY_SHORT_ITEMS,
    BatchResults,
    EventBatch,
    count_short_items,
    split_ndjson,
)
from handlers.common.api_handler import ApiHandler
from handlers.common.base_handler import ApiError
from handlers.common.ingest import (
    BATCH_RESPONSE_END,
    ITEMS_PER_STEP,
    JSON,
    NDJSON,
    OVERLOADED,
    PendingBatch,
    append_batch,
    batch_response,
    body_type,
    now_micros,
)
from handlers.common.responses import problem_response
from httpserver import MemoryReservation, Response, reservation_owners
from store.api.errors import StoreError, StoreFull
from store.sqlite.admin.apps import AppAccess
from store.sqlite.events.event_log import EventLog
from store.sqlite.events.event_schemas import EventSchemaStore

# Steps of one stream that wait for the disk.
MAX_PENDING_BATCHES = 8
# Seconds for which a stream waits for room in the log, and how often it looks.
LOG_WAIT_SECONDS, LOG_POLL_SECONDS = 10.0, 0.02
# Bytes that a stream may hold, here and in its connection, besides a line that is not whole. They
# must be free for it to begin; it takes them as its lines arrive.
STREAM_BUFFER_BYTES = 262_144

IngestBody = Callable[[bytes, str | None, AppAccess], Response | Awaitable[Response]]


@stream_request_body
class EventStreamIngestHandler(ApiHandler):
    """`POST /events` with a body of any size."""

    def initialize(self, **parts: Any) -> None:
        """Of the `parts`, `take` takes other bodies than lines.

        All lines may have `most` bytes, one line or another body `largest`, as for a lane. What
        is held of them takes of `room`.
        """
        self._take: IngestBody = parts["take"]
        self._journal: EventLog = parts["log"]
        self._rules: EventSchemaStore = parts["rules"]
        self._most: int = parts["most"]
        self._largest: int = parts["largest"]
        self._share = MemoryReservation(parts["room"])
        self._access: AppAccess
        self._kind: str | None = None
        self._lines = False
        self._refusal: Response | None = None  # the response, once the body has been discarded
        self._rest = bytearray()  # of a line, or of a body that is not in lines
        self._arrived = 0
        self._skipping = False
        self._busy = self._gone = False
        self._over: StoreError | None = None
        self._short = 0
        self._steps: deque[PendingBatch] = deque()
        self._results = BatchResults()

    def count_refused(self) -> None:
        """Count it among the events that were turned away; asking for some is none of these."""
        if self.request.method == "POST":
            self._journal.refuse()

    async def prepare(self) -> None:
        """Let in who may write, while there is room."""
        if self.request.method != "POST":
            return
        self._access = await self.require_any_scope("write")
        self._kind = body_type(self.request.headers.get("Content-Type"))
        self._lines = self._kind == NDJSON
        connection: Any = self.request.connection
        connection.set_max_body_size(self._most if self._lines else max(self._most, self._largest))
        if self._gone:
            return  # it left while it was let in, and would never give back what is held for it
        request = self.request
        authorization = request.headers.get("Authorization")
        self._share.assign(reservation_owners(request.remote_ip or "", authorization))
        announced = request.headers.get("Content-Length", "")
        if not self._lines and announced.isdigit() and int(announced) > self._largest:
            self._too_large()
            return
        if self._share.fits(STREAM_BUFFER_BYTES) and self._journal.room(0):
            return
        self._journal.refuse()
        if "Expect" in self.request.headers:
            raise self.retry_later_error("More events are waiting than can be held")
        # Who sends without asking may not look for an answer before all is sent: it is read past.
        self._refusal = OVERLOADED

    def _too_large(self) -> None:
        """Refuse a body that is not in lines; raise `Refusal` if none of it has been sent yet."""
        words = (
            f"A body of {JSON} is limited to {self._largest} bytes (max_body): send several events "
            f"as lines ({NDJSON}), up to {self._most} bytes at a time (max_batch)."
        )
        if "Expect" in self.request.headers:
            raise ApiError(413, words)
        self._rest.clear()
        self._refusal = problem_response(413, words)

    async def data_received(self, chunk: bytes) -> None:
        """Take the lines that are whole."""
        self._busy = True
        try:
            await self._receive(chunk)
        finally:
            self._busy = False
            if self._gone:
                self._share.hold(0)

    async def _receive(self, chunk: bytes) -> None:
        if self._refusal is not None or self._over is not None or self._short > MAX_SHORT_ITEMS:
            return
        self._arrived += len(chunk)
        if self._skipping:
            _, ended, chunk = chunk.partition(b"\n")
            self._skipping = not ended
        self._rest += chunk
        if not self._lines and len(self._rest) > self._largest:
            self._too_large()
            return
        if not self._hold():
            return
        end = self._rest.rfind(b"\n") + 1 if self._lines else 0
        if end:
            whole = bytes(self._rest[:end])
            del self._rest[:end]
            await self._append(split_ndjson(whole))
        if self._lines and len(self._rest) > self._largest:
            self._refuse(FieldError("", f"is longer than {self._largest} bytes"))
            self._skipping = True

    async def post(self) -> None:
        """Answer when all is on disk."""
        if self._refusal is not None:
            self.send_response(self._refusal)
            return
        if not self._lines and self._over is None:
            answer = self._take(bytes(self._rest), self._kind, self._access)
            self.send_response(answer if isinstance(answer, Response) else await answer)
            return
        if self._over is None and self._short <= MAX_SHORT_ITEMS:
            await self._append(split_ndjson(bytes(self._rest)))
        while self._steps:
            await self._conclude()
        if self._over is not None and not self._results:
            self._journal.refuse()
            self.send_response(OVERLOADED)
            return
        with contextlib.suppress(StreamClosedError):
            await self._tell()

    def on_finish(self) -> None:
        """Hold nothing any more."""
        self._share.hold(0)

    def on_connection_close(self) -> None:
        """The sender is gone; what is in hand is still taken."""
        super().on_connection_close()
        self._gone = True
        if not self._busy:
            self._share.hold(0)

    async def _tell(self) -> None:
        """Send the results, as fast as they are read."""
        frame = batch_response([], self._over)
        self.set_status(frame.status)
        for name, value in frame.headers:
            self.set_header(name, value)
        self.write(frame.body[: -len(BATCH_RESPONSE_END)])
        for number, part in enumerate(self._results.parts()):
            if number:
                await self.flush()
            self.write(part)
        self.finish(BATCH_RESPONSE_END)

    async def _append(self, some: Sequence[bytes]) -> None:
        """Append lines, a step at a time; none any more when the log is full or fails."""
        self._short += count_short_items(some)
        if self._short > MAX_SHORT_ITEMS:
            self._rest[:] = b"\n".join([*some, bytes(self._rest)])[: self._largest]
            self._refuse(TOO_MANY_SHORT_ITEMS)
            return
        for start in range(0, len(some), ITEMS_PER_STEP):
            part = some[start : start + ITEMS_PER_STEP]
            if self._over is None and not await self._room(sum(map(len, part))):
                self._over = StoreFull("more events are waiting than can be held")
            if self._over is not None:
                await self._turn_away(len(some) - start)
                return
            rules = self._rules.book.of(self._access.app, self._access.strict)
            self._steps.append(append_batch(self._journal, part, now_micros(), rules))
            if len(self._steps) > MAX_PENDING_BATCHES:
                await self._conclude()
            await asyncio.sleep(0)

    def _refuse(self, fault: FieldError) -> None:
        """Take what is in hand as one item, which is wrong."""
        batch = EventBatch()
        batch.reject(self._access.app, bytes(self._rest), [fault])
        self._rest.clear()
        stored = self._journal.append((), batch.rejects, received=now_micros(), size=batch.size)
        self._steps.append((batch, stored))

    async def _turn_away(self, left: int) -> None:
        """Tell that so many more lines were not taken."""
        while self._steps:
            await self._conclude()
        self._journal.refuse(left)
        self._results.refuse(left)

    async def _room(self, size: int) -> bool:
        end = asyncio.get_running_loop().time() + LOG_WAIT_SECONDS
        while not self._journal.room(size):
            if asyncio.get_running_loop().time() > end:
                return False
            await asyncio.sleep(LOG_POLL_SECONDS)
        return True

    async def _conclude(self) -> None:
        """Wait for the first step that is not on disk yet."""
        batch, stored = self._steps.popleft()
        try:
            self._results.add(batch, await stored)
        except StoreError as error:
            self._over = error
            self._results.refuse(len(batch.errors))
        if self._over is None:
            self._hold()

    def _hold(self) -> bool:
        """Take room for what is held by now; without any, take no more of the stream."""
        if self._share.hold(
            min(STREAM_BUFFER_BYTES, self._arrived) + len(self._rest) + self._results.size
        ):
            return True
        self._rest.clear()
        self._over = StoreFull("more is being sent than can be held")
        return False
