"""Ingest of NDJSON bodies of any size, of which only some lines are in memory at a time.

The stream serves bodies that are too large for the fast route or are chunked. It appends lines to
the event log as they arrive. When the log is full it stops reading, so TCP flow control slows the
client down. The response has one result per line and is sent when all lines are on disk.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NamedTuple

from tornado.httputil import HTTPServerRequest

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
    ITEMS_PER_STEP,
    JSON,
    NDJSON,
    OVERLOADED,
    PendingBatch,
    append_batch,
    body_type,
    now_micros,
)
from handlers.common.responses import problem_response
from httpserver import MemoryBudget, MemoryReservation, Response, reservation_owners
from store.api.errors import StoreError, StoreFull
from store.sqlite.admin.token_authenticator import AppAccess
from store.sqlite.events.event_log import EventLog
from store.sqlite.events.event_schemas import EventSchemaStore

# Batches of one stream that wait for the disk.
MAX_PENDING_BATCHES = 8
# How long a stream waits for capacity of the log, and how often it checks.
LOG_WAIT_SECONDS, LOG_POLL_SECONDS = 10.0, 0.02
# Memory of a stream, here and in its connection, besides one incomplete line. A stream begins only
# if this much is free, and reserves it as lines arrive.
STREAM_BUFFER_BYTES = 262_144

IngestBody = Callable[[bytes, str | None, AppAccess], Response | Awaitable[Response]]


class EventStreamContext(NamedTuple):
    """What a stream depends on.

    `ingest` takes bodies other than NDJSON. A stream may have `max_stream_bytes`, one line or
    another body `max_item_bytes`.
    """

    ingest: IngestBody
    log: EventLog
    schemas: EventSchemaStore
    max_stream_bytes: int
    max_item_bytes: int
    memory_budget: MemoryBudget


class EventStream:
    """The body of one `POST /events`."""

    def __init__(self, context: EventStreamContext, request: HTTPServerRequest) -> None:
        self.results = BatchResults()
        self.failure: StoreError | None = None
        self._context = context
        self._request = request
        self._log = context.log
        self._reservation = MemoryReservation(context.memory_budget)
        self._access: AppAccess
        self._media_type: str | None = None
        self._is_ndjson = False
        self._refusal: Response | None = None  # sent once the body has been discarded
        self._buffer = bytearray()  # an incomplete line, or a body other than NDJSON
        self._received_bytes = 0
        self._skipping_line = False
        self._receiving = self._disconnected = False
        self._short_items = 0
        self._pending: deque[PendingBatch] = deque()

    def count_refused(self) -> None:
        """Count the request among the refused events."""
        self._log.count_refused()

    def begin(self, access: AppAccess) -> None:
        """Prepare for the body of an authenticated request.

        Raises `ApiError` if a client with `Expect: 100-continue` should not send the body.
        """
        request = self._request
        self._access = access
        self._media_type = body_type(request.headers.get("Content-Type"))
        self._is_ndjson = self._media_type == NDJSON
        max_stream, max_item = self._context.max_stream_bytes, self._context.max_item_bytes
        connection: Any = request.connection
        connection.set_max_body_size(max_stream if self._is_ndjson else max(max_stream, max_item))
        if self._disconnected:
            return  # a reservation made after `disconnect` would never be released
        authorization = request.headers.get("Authorization")
        self._reservation.change_owners(reservation_owners(request.remote_ip or "", authorization))
        length = request.headers.get("Content-Length", "")
        if not self._is_ndjson and length.isdigit() and int(length) > max_item:
            self._refuse_too_large()
            return
        if self._reservation.fits(STREAM_BUFFER_BYTES) and self._log.has_room(0):
            return
        self._log.count_refused()
        if "Expect" in request.headers:
            raise ApiHandler.retry_later_error("The event log is overloaded")
        # Clients without `Expect` read no response before they have sent the body: discard it.
        self._refusal = OVERLOADED

    def _refuse_too_large(self) -> None:
        """Refuse a body other than NDJSON; raise `ApiError` if the client has not sent it yet."""
        detail = (
            f"A body of {JSON} is limited to {self._context.max_item_bytes} bytes (max_body): send "
            f"several events as lines ({NDJSON}), up to {self._context.max_stream_bytes} bytes at "
            "a time (max_batch)."
        )
        if "Expect" in self._request.headers:
            raise ApiError(413, detail)
        self._buffer.clear()
        self._refusal = problem_response(413, detail)

    async def receive(self, chunk: bytes) -> None:
        """Append the complete lines received so far."""
        self._receiving = True
        try:
            await self._receive(chunk)
        finally:
            self._receiving = False
            if self._disconnected:
                self.release()

    async def _receive(self, chunk: bytes) -> None:
        max_item = self._context.max_item_bytes
        if (
            self._refusal is not None
            or self.failure is not None
            or self._short_items > MAX_SHORT_ITEMS
        ):
            return
        self._received_bytes += len(chunk)
        if self._skipping_line:
            _, newline, chunk = chunk.partition(b"\n")
            self._skipping_line = not newline
        self._buffer += chunk
        if not self._is_ndjson and len(self._buffer) > max_item:
            self._refuse_too_large()
            return
        if not self._reserve_memory():
            return
        end = self._buffer.rfind(b"\n") + 1 if self._is_ndjson else 0
        if end:
            lines = bytes(self._buffer[:end])
            del self._buffer[:end]
            await self._append(split_ndjson(lines))
        if self._is_ndjson and len(self._buffer) > max_item:
            self._reject_buffer(FieldError("", f"is longer than {max_item} bytes"))
            self._skipping_line = True

    async def finish(self) -> Response | None:
        """Return the response to the complete body; None to send the `results` and `failure`."""
        if self._refusal is not None:
            return self._refusal
        if not self._is_ndjson and self.failure is None:
            body = bytes(self._buffer)
            response = self._context.ingest(body, self._media_type, self._access)
            return response if isinstance(response, Response) else await response
        if self.failure is None and self._short_items <= MAX_SHORT_ITEMS:
            await self._append(split_ndjson(bytes(self._buffer)))
        while self._pending:
            await self._await_oldest()
        if self.failure is not None and not self.results:
            self._log.count_refused()
            return OVERLOADED
        return None

    def release(self) -> None:
        """Release the reserved memory."""
        self._reservation.resize(0)

    def disconnect(self) -> None:
        """Release the memory of a client that disconnected, after the current chunk."""
        self._disconnected = True
        if not self._receiving:
            self.release()

    async def _append(self, lines: Sequence[bytes]) -> None:
        """Append lines in steps; refuse the remaining ones when the log is full or fails."""
        self._short_items += count_short_items(lines)
        if self._short_items > MAX_SHORT_ITEMS:
            joined = b"\n".join([*lines, bytes(self._buffer)])
            self._buffer[:] = joined[: self._context.max_item_bytes]
            self._reject_buffer(TOO_MANY_SHORT_ITEMS)
            return
        for start in range(0, len(lines), ITEMS_PER_STEP):
            step = lines[start : start + ITEMS_PER_STEP]
            if self.failure is None and not await self._wait_for_capacity(sum(map(len, step))):
                self.failure = StoreFull("the event log is overloaded")
            if self.failure is not None:
                await self._refuse_remaining(len(lines) - start)
                return
            schemas = self._context.schemas.registry.of(self._access.app, self._access.strict)
            self._pending.append(append_batch(self._log, step, now_micros(), schemas))
            if len(self._pending) > MAX_PENDING_BATCHES:
                await self._await_oldest()
            await asyncio.sleep(0)

    def _reject_buffer(self, error: FieldError) -> None:
        """Store the buffer as one rejected event."""
        batch = EventBatch()
        batch.reject(self._access.app, bytes(self._buffer), [error])
        self._buffer.clear()
        stored = self._log.append((), batch.rejects, received=now_micros(), size=batch.size)
        self._pending.append((batch, stored))

    async def _refuse_remaining(self, count: int) -> None:
        """Add results for `count` lines that were not stored, after the pending ones."""
        while self._pending:
            await self._await_oldest()
        self._log.count_refused(count)
        self.results.refuse(count)

    async def _wait_for_capacity(self, size: int) -> bool:
        clock = asyncio.get_running_loop().time
        deadline = clock() + LOG_WAIT_SECONDS
        while not self._log.has_room(size):
            if clock() > deadline:
                return False
            await asyncio.sleep(LOG_POLL_SECONDS)
        return True

    async def _await_oldest(self) -> None:
        """Wait until the oldest pending batch is on disk."""
        batch, stored = self._pending.popleft()
        try:
            self.results.add(batch, await stored)
        except StoreError as error:
            self.failure = error
            self.results.refuse(len(batch.errors))
        if self.failure is None:
            self._reserve_memory()

    def _reserve_memory(self) -> bool:
        """Reserve memory for the buffer and the results; without any, fail the stream."""
        if self._reservation.resize(
            min(STREAM_BUFFER_BYTES, self._received_bytes) + len(self._buffer) + self.results.size
        ):
            return True
        self._buffer.clear()
        self.failure = StoreFull("the memory budget of request bodies is exhausted")
        return False
