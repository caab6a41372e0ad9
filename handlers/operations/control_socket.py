"""What commands ask of a running server, through the Unix socket in its data folder.

The other end is `commands/control_client.py`. The socket's permissions keep all but the owner out.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import msgspec
from tornado.iostream import StreamClosedError
from tornado.web import RequestHandler, stream_request_body

from handlers.common.base_handler import ApiError
from handlers.common.responses import PROBLEM_CONTENT_TYPE, problem_body
from handlers.common.route import Route
from store.api.errors import StoreBusy, StoreError, StoreRefused
from store.api.import_session import IMPORT_CALLS, MAX_IMAGE_BYTES
from store.sqlite.control_protocol import COMMAND_TYPES, STATUS_ERRORS
from store.sqlite.core.database import Database
from store.sqlite.events.event_export import EventExport
from store.sqlite.events.event_queries import EventQueries
from store.sqlite.events.rejected_event_replay import RejectedEventReplayer
from store.sqlite.imports.import_staging import ImportStaging
from store.sqlite.projections.projections import RebuildReport

LOG = logging.getLogger("marquee.control")

RebuildProjections = Callable[[Callable[[int], object]], Awaitable[RebuildReport]]

# Seconds without a call after which an importer counts as gone: it may be parsing a large file of
# which nothing is to be sent yet. One that ends closes its connection.
IMPORT_IDLE_TIMEOUT_SECONDS = 600.0
# An image, or some hundred rejected rows, and what stands around them.
MAX_CONTROL_BODY_BYTES = MAX_IMAGE_BYTES + 64 * 1024


class ActiveImport:
    """An import under way, as its importer is seen from here."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.over = asyncio.Event()
        self.busy = 0  # calls in progress
        self.heard = asyncio.get_running_loop().time()


class ControlService:
    """The commands' side of a server; at most one import is under way."""

    def __init__(
        self,
        database: Database,
        staging: ImportStaging,
        published: Callable[[], Awaitable[None]],
        rebuild: RebuildProjections,
        events: EventQueries,
        replays: RejectedEventReplayer,
        patience: float = IMPORT_IDLE_TIMEOUT_SECONDS,
    ) -> None:
        """`published` is awaited when an import is in force, before the importer hears of it.

        `rebuild` makes the views anew, `events` are exported, `replays` takes rejects again.
        """
        self.database = database
        self._staging = staging
        self._published = published
        self.rebuild = rebuild
        self.events = events
        self.replays = replays
        self._patience = patience
        self._session: ActiveImport | None = None
        self._closed = False
        self._tasks: set[asyncio.Task[None]] = set()

    def routes(self) -> list[Route]:
        """The rules of a Tornado application that listens on the owner's socket alone."""
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
        """Abort the import that is under way, and take no other."""
        self._closed = True
        if self._session is not None:
            await self._abort(self._session, "the server is ending")
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def begin(self, source: str) -> ActiveImport:
        """Begin an import."""
        self._check_open()
        session = self._session = ActiveImport(await self._staging.begin(source))
        self._spawn(self._watch(session))
        try:
            self._check_open()
        except StoreBusy:
            await self._abort(session, "the server is ending")
            raise
        return session

    def gone(self, session: ActiveImport) -> None:
        """The importer's connection has closed."""
        self._spawn(self._abort(session, "its importer is gone"))

    async def call(self, number: int, name: str, arguments: tuple[Any, ...]) -> Any:
        """One of the intake's calls."""
        session = self._session
        if session is None or session.number != number or session.over.is_set():
            raise StoreRefused("this import has ended, and nothing of it was kept")
        session.busy += 1
        try:
            answer = await getattr(self._staging, name)(*arguments)
            if name == "publish":
                await self._show(number)
        finally:
            session.busy -= 1
            session.heard = asyncio.get_running_loop().time()
            if self._staging.under_way != number:
                session.over.set()
        return answer

    def _check_open(self) -> None:
        if self._closed:
            raise StoreBusy("the server is ending")

    async def _show(self, number: int) -> None:
        LOG.info("import %d is in force", number)
        try:
            await self._published()
        except Exception as error:
            LOG.exception("import %d could not be shown", number)
            raise StoreError(f"the import is in force, but could not be shown: {error}") from error

    async def _watch(self, session: ActiveImport) -> None:
        clock = asyncio.get_running_loop().time
        while not session.over.is_set():
            left = session.heard + self._patience - clock()
            if left <= 0 and not session.busy:
                await self._abort(session, f"nothing was heard of it for {self._patience:.0f} s")
                return
            try:
                await asyncio.wait_for(session.over.wait(), max(left, 0.05))
            except TimeoutError:
                continue

    async def _abort(self, session: ActiveImport, why: str) -> None:
        if self._staging.under_way != session.number:
            return
        LOG.warning("import %d ends with nothing kept: %s", session.number, why)
        try:
            await self._staging.abort()
        except StoreError as error:
            LOG.error("import %d will be cleared away later: %s", session.number, error)
        finally:
            session.over.set()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


@stream_request_body
class ControlHandler(RequestHandler):
    """The base: a body of any size that is expected, errors as problems."""

    def initialize(self, control: ControlService) -> None:
        """`control` does what is asked."""
        self.control = control
        self.body = bytearray()

    def prepare(self) -> None:
        """Take large bodies here, whatever other addresses take."""
        assert self.request.connection is not None
        self.request.connection.set_max_body_size(MAX_CONTROL_BODY_BYTES)  # type: ignore[attr-defined]

    def data_received(self, chunk: bytes) -> None:
        """Some of the body."""
        self.body += chunk

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """The error's own words."""
        error = (kwargs.get("exc_info") or (None, None, None))[1]
        for status, kind in STATUS_ERRORS.items():
            if isinstance(error, kind):
                status_code = status
        self.set_status(status_code)
        self.set_header(*PROBLEM_CONTENT_TYPE)
        detail = error.detail if isinstance(error, ApiError) else str(error)
        self.finish(problem_body(status_code, detail))

    def log_exception(self, typ: Any, value: Any, tb: Any) -> None:
        """What is told to the one who asked is not logged too."""
        if not isinstance(value, StoreError | ApiError):
            super().log_exception(typ, value, tb)


class ControlCommandHandler(ControlHandler):
    """A command by its name."""

    async def post(self, name: str) -> None:
        """Run it and answer what it answers."""
        kind = COMMAND_TYPES.get(name)
        if kind is None:
            raise ApiError(404, f"this server knows no command {name}")
        command = _decode_body(msgspec.json.decode, bytes(self.body), kind)
        self.set_header("Content-Type", "application/json")
        self.finish(msgspec.json.encode(await command.run(self.control.database)))


class ControlRebuildHandler(ControlHandler):
    """The views, made anew."""

    async def post(self) -> None:
        """Tell each step by how many events there are by then, and the end as JSON."""

        def told(folded: int) -> None:
            self.write(f"{folded}\n")
            self.flush()

        try:
            self.finish(msgspec.json.encode(await self.control.rebuild(told)))
        except StoreError as error:
            if not self._headers_written:
                raise
            # The status has been sent already, so the last line reports the error.
            self.finish(msgspec.json.encode({"detail": str(error)}))


class ControlExportHandler(ControlHandler):
    """Events, as a stream; one that is cut has not come to its end."""

    async def post(self) -> None:
        """Send them."""
        export = _decode_body(msgspec.json.decode, bytes(self.body), EventExport)
        try:
            async for piece in export.pieces(self.control.events):
                self.write(piece)
                await self.flush()
        except StreamClosedError:
            return


class ControlReplayHandler(ControlHandler):
    """A reject, taken again."""

    async def post(self, number: str) -> None:
        """Answer what became of it."""
        self.finish(msgspec.json.encode(await self.control.replays.told(int(number))))


class ControlImportHandler(ControlHandler):
    """An import, from its beginning to its end: it lives no longer than this connection."""

    session: ActiveImport | None = None
    left = False

    async def post(self) -> None:
        """Answer the number at once, and finish when the import is over."""
        (source,) = _decode_body(
            msgspec.msgpack.decode, bytes(self.body), IMPORT_CALLS["begin"].arguments
        )
        session = self.session = await self.control.begin(source)
        try:
            if self.left:
                raise StreamClosedError
            self.write(f"{session.number}\n")
            await self.flush()
        except StreamClosedError:
            self.control.gone(session)
        await session.over.wait()

    def on_connection_close(self) -> None:
        """The importer has ended, one way or another."""
        super().on_connection_close()
        self.left = True
        if self.session is not None:
            self.control.gone(self.session)


class ControlImportCallHandler(ControlHandler):
    """One of an import's calls."""

    async def post(self, number: str, name: str) -> None:
        """Do it and answer what it answers."""
        if name not in IMPORT_CALLS or name == "begin":
            raise ApiError(404, f"an import has no call {name}")
        arguments = _decode_body(
            msgspec.msgpack.decode, bytes(self.body), IMPORT_CALLS[name].arguments
        )
        answer = await self.control.call(int(number), name, arguments)
        self.set_header("Content-Type", "application/vnd.msgpack")
        self.finish(msgspec.msgpack.encode(answer))


def _decode_body(decode: Callable[..., Any], body: bytes, kind: Any) -> Any:
    try:
        return decode(body, type=kind)
    except msgspec.DecodeError as error:
        raise ApiError(400, f"this is no request of this version's: {error}") from None
