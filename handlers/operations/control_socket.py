"""Control socket: commands and imports through the Unix socket in a server's data folder.

The client is `commands/control_client.py`. The socket's permissions admit the owner only.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

import msgspec
from tornado.iostream import StreamClosedError
from tornado.web import RequestHandler, stream_request_body

from handlers.common.base_handler import ApiError
from handlers.common.responses import PROBLEM_CONTENT_TYPE, problem_body
from handlers.common.route import Route
from store.api.errors import StoreBusy, StoreError, StoreRefused
from store.api.import_calls import IMPORT_CALLS, BeginImport, ImportCall, Publish
from store.api.import_session import MAX_IMAGE_BYTES
from store.sqlite.control_protocol import COMMAND_TYPES, STATUS_ERRORS
from store.sqlite.core.database import Database
from store.sqlite.events.event_export import EventExport
from store.sqlite.events.event_queries import EventQueries
from store.sqlite.events.rejected_event_replay import RejectedEventReplayer
from store.sqlite.imports.import_staging import ImportStaging
from store.sqlite.projections.projections import RebuildReport

LOG = logging.getLogger("marquee.control")

RebuildProjections = Callable[[Callable[[int], object]], Awaitable[RebuildReport]]
T = TypeVar("T")

# Seconds without a call until an import is aborted. The client may parse a large file before it
# sends anything; a client that ends closes its connection.
IMPORT_IDLE_TIMEOUT_SECONDS = 600.0
# An image, or several hundred rejected rows, with their framing.
MAX_CONTROL_BODY_BYTES = MAX_IMAGE_BYTES + 64 * 1024


class ActiveImport:
    """The state of an import's connection."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.ended = asyncio.Event()
        self.running_calls = 0
        self.last_call = asyncio.get_running_loop().time()


class ControlService:
    """The state behind the control socket; at most one import is active."""

    def __init__(
        self,
        database: Database,
        staging: ImportStaging,
        on_published: Callable[[], Awaitable[None]],
        rebuild: RebuildProjections,
        events: EventQueries,
        replayer: RejectedEventReplayer,
        idle_timeout: float = IMPORT_IDLE_TIMEOUT_SECONDS,
    ) -> None:
        """Await `on_published` after an import is published, before its client is answered.

        An import without a call for `idle_timeout` seconds is aborted.
        """
        self.database = database
        self.rebuild = rebuild
        self.events = events
        self.replayer = replayer
        self._staging = staging
        self._on_published = on_published
        self._idle_timeout = idle_timeout
        self._session: ActiveImport | None = None
        self._closed = False
        self._tasks: set[asyncio.Task[None]] = set()

    def routes(self) -> list[Route]:
        """Return the routes of the application that listens on the control socket."""
        parts = {"control": self}
        return [
            Route(r"/ask/(\w+)", ControlCommandHandler, parts, "control command"),
            Route(r"/rebuild", ControlRebuildHandler, parts, "control rebuild"),
            Route(r"/export", ControlExportHandler, parts, "control export"),
            Route(r"/replay/(\d{1,19})", ControlReplayHandler, parts, "control replay"),
            Route(r"/import", ControlImportHandler, parts, "control import"),
            Route(
                r"/import/(\d{1,18})/(\w+)", ControlImportCallHandler, parts, "control import call"
            ),
        ]

    async def close(self) -> None:
        """Abort the active import and reject new ones."""
        self._closed = True
        if self._session is not None:
            await self._abort(self._session, "the server is stopping")
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def begin(self, source: str) -> ActiveImport:
        """Begin an import; raise `StoreBusy` while another one is active."""
        self._check_open()
        session = self._session = ActiveImport(await self._staging.begin(source))
        self._spawn(self._watch(session))
        try:
            self._check_open()
        except StoreBusy:
            await self._abort(session, "the server is stopping")
            raise
        return session

    def disconnect(self, session: ActiveImport) -> None:
        """Abort the import of a closed connection."""
        self._spawn(self._abort(session, "its client disconnected"))

    async def call(self, number: int, call: ImportCall[T]) -> T:
        """Run a call of import `number`; raise `StoreRefused` if it is not active."""
        session = self._session
        if session is None or session.number != number or session.ended.is_set():
            raise StoreRefused("this import has ended; its rows were removed")
        session.running_calls += 1
        try:
            result = await call.run(self._staging)
            if isinstance(call, Publish):
                await self._update_pages(number)
        finally:
            session.running_calls -= 1
            session.last_call = asyncio.get_running_loop().time()
            if self._staging.active_number != number:
                session.ended.set()
        return result

    def _check_open(self) -> None:
        if self._closed:
            raise StoreBusy("the server is stopping")

    async def _update_pages(self, number: int) -> None:
        LOG.info("published import number=%d", number)
        try:
            await self._on_published()
        except Exception as error:
            LOG.exception("cannot update pages after import number=%d", number)
            raise StoreError(
                f"the import is published, but the pages could not be updated: {error}"
            ) from error

    async def _watch(self, session: ActiveImport) -> None:
        """Abort the import if it has no call for too long."""
        clock = asyncio.get_running_loop().time
        while not session.ended.is_set():
            remaining = session.last_call + self._idle_timeout - clock()
            if remaining <= 0 and not session.running_calls:
                await self._abort(session, f"no call for {self._idle_timeout:.0f} s")
                return
            try:
                await asyncio.wait_for(session.ended.wait(), max(remaining, 0.05))
            except TimeoutError:
                continue

    async def _abort(self, session: ActiveImport, reason: str) -> None:
        if self._staging.active_number != session.number:
            return
        LOG.warning("aborted import number=%d reason=%s", session.number, reason)
        try:
            await self._staging.abort()
        except StoreError as error:
            LOG.error(
                "cannot remove aborted import; retrying later number=%d error=%s",
                session.number,
                error,
            )
        finally:
            session.ended.set()

    def _spawn(self, coroutine: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


@stream_request_body
class ControlHandler(RequestHandler):
    """Base class: accepts large bodies and reports errors as problem documents."""

    def initialize(self, control: ControlService) -> None:
        """Keep the service."""
        self.control = control
        self.body = bytearray()

    def prepare(self) -> None:
        """Raise the body limit."""
        assert self.request.connection is not None
        self.request.connection.set_max_body_size(MAX_CONTROL_BODY_BYTES)  # type: ignore[attr-defined]

    def data_received(self, chunk: bytes) -> None:
        """Collect the body."""
        self.body += chunk

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """Send the error's message; a `StoreError` determines the status."""
        error = (kwargs.get("exc_info") or (None, None, None))[1]
        for status, error_type in STATUS_ERRORS.items():
            if isinstance(error, error_type):
                status_code = status
        self.set_status(status_code)
        self.set_header(*PROBLEM_CONTENT_TYPE)
        detail = error.detail if isinstance(error, ApiError) else str(error)
        self.finish(problem_body(status_code, detail))

    def log_exception(self, typ: Any, value: Any, tb: Any) -> None:
        """Log unexpected errors only; the client reports the others."""
        if not isinstance(value, StoreError | ApiError):
            super().log_exception(typ, value, tb)


class ControlCommandHandler(ControlHandler):
    """`POST /ask/<command>`."""

    async def post(self, name: str) -> None:
        """Run the command and send its result."""
        command_type = COMMAND_TYPES.get(name)
        if command_type is None:
            raise ApiError(404, f"unknown command {name}")
        command = _decode_body(msgspec.json.decode, bytes(self.body), command_type)
        self.set_header("Content-Type", "application/json")
        self.finish(msgspec.json.encode(await command.run(self.control.database)))


class ControlRebuildHandler(ControlHandler):
    """`POST /rebuild`."""

    async def post(self) -> None:
        """Rebuild the projections; send the number of events after each step, then the report."""

        def report_progress(events: int) -> None:
            self.write(f"{events}\n")
            self.flush()

        try:
            self.finish(msgspec.json.encode(await self.control.rebuild(report_progress)))
        except StoreError as error:
            if not self._headers_written:
                raise
            # The status has been sent already, so the last line reports the error.
            self.finish(msgspec.json.encode({"detail": str(error)}))


class ControlExportHandler(ControlHandler):
    """`POST /export`."""

    async def post(self) -> None:
        """Stream the events; an incomplete response means that the export failed."""
        export = _decode_body(msgspec.json.decode, bytes(self.body), EventExport)
        try:
            async for chunk in export.chunks(self.control.events):
                self.write(chunk)
                await self.flush()
        except StreamClosedError:
            return


class ControlReplayHandler(ControlHandler):
    """`POST /replay/<number>`."""

    async def post(self, number: str) -> None:
        """Revalidate a rejected event and send the result."""
        self.finish(msgspec.json.encode(await self.control.replayer.try_replay(int(number))))


class ControlImportHandler(ControlHandler):
    """`POST /import`: the import is aborted when this connection closes."""

    session: ActiveImport | None = None
    is_disconnected = False

    async def post(self) -> None:
        """Begin the import, send its number, and finish the response when the import ends."""
        message = _decode_body(msgspec.msgpack.decode, bytes(self.body), BeginImport)
        session = self.session = await self.control.begin(message.source)
        try:
            if self.is_disconnected:
                raise StreamClosedError
            self.write(f"{session.number}\n")
            await self.flush()
        except StreamClosedError:
            self.control.disconnect(session)
        await session.ended.wait()

    def on_connection_close(self) -> None:
        """Abort the import, unless it has ended."""
        super().on_connection_close()
        self.is_disconnected = True
        if self.session is not None:
            self.control.disconnect(self.session)


class ControlImportCallHandler(ControlHandler):
    """`POST /import/<number>/<call>`."""

    async def post(self, number: str, name: str) -> None:
        """Run the call and send its result."""
        call_type = IMPORT_CALLS.get(name)
        if call_type is None:
            raise ApiError(404, f"unknown import call {name}")
        call = _decode_body(msgspec.msgpack.decode, bytes(self.body), call_type)
        result = await self.control.call(int(number), call)
        self.set_header("Content-Type", "application/vnd.msgpack")
        self.finish(msgspec.msgpack.encode(result))


def _decode_body(decode: Callable[..., T], body: bytes, message_type: type[T]) -> T:
    try:
        return decode(body, type=message_type)
    except msgspec.DecodeError as error:
        raise ApiError(400, f"invalid message for this version of the server: {error}") from None
