"""Client of a running server's control socket, a Unix socket in the data folder.

The protocol is HTTP. `POST /ask/<command>` runs a command (JSON). `POST /import` starts an import
and `POST /import/<number>/<call>` calls it (MessagePack). `POST /rebuild` responds with a line per
step and one for the result. `POST /export` streams events. Further: `POST /replay/<number>` and
`GET /readyz`.
"""

import asyncio
import contextlib
import http.client
import os
import socket
from collections.abc import AsyncIterator, Callable
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from typing import TypeVar

import msgspec

from store.api.errors import StoreDisconnected, StoreError
from store.api.import_calls import (
    Abort,
    AddClicks,
    AddConversions,
    AddFile,
    AddImage,
    AddRejections,
    AddStats,
    AddTargets,
    BeginImport,
    FindImported,
    ImportCall,
    Publish,
    Replace,
    Undo,
)
from store.api.import_session import (
    ConversionOutcome,
    ReplacedStats,
    RowRejection,
    StagedFile,
    StagingOutcome,
    StatsRow,
)
from store.sqlite.control_protocol import STATUS_ERRORS
from store.sqlite.core.command import AdminCommand
from store.sqlite.events.event_export import EventExport
from store.sqlite.events.rejected_event_replay import ReplayResult
from store.sqlite.projections.projections import RebuildReport

R = TypeVar("R")

# Seconds until a call times out. An import may first remove the rows of an interrupted one, and
# `replace` moves millions of rows in small steps. A server that stops closes its connections.
CALL_TIMEOUT_SECONDS = 3_600.0
EXPORT_CHUNK_BYTES = 262_144
# Seconds until a readiness request times out; enough for a busy server on a busy machine.
READINESS_TIMEOUT_SECONDS = 15.0
# Limit of `sun_path` (unix(7)), without its terminating null byte.
MAX_SOCKET_PATH_BYTES = 107


class UnixHTTPConnection(HTTPConnection):
    """An HTTP connection to a Unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=CALL_TIMEOUT_SECONDS)
        self._path = path

    def connect(self) -> None:
        """Connect; a path that is too long for an address is opened through /proc/self/fd."""
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(CALL_TIMEOUT_SECONDS)
        try:
            if len(os.fsencode(self._path)) <= MAX_SOCKET_PATH_BYTES:
                self.sock.connect(str(self._path))
                return
            folder = os.open(self._path.parent, os.O_PATH | os.O_DIRECTORY)
            try:
                self.sock.connect(f"/proc/self/fd/{folder}/{self._path.name}")
            finally:
                os.close(folder)
        except BaseException:
            self.close()
            raise

    def post(self, path: str, body: bytes) -> HTTPResponse:
        """Send a POST and return the unread response; raise `StoreError` for an error status."""
        try:
            self.request("POST", path, body)
            response = self.getresponse()
            if response.status == 200:
                return response
            problem = response.read()
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise _connection_lost(error) from error
        raise STATUS_ERRORS.get(response.status, StoreError)(_error_detail(problem, response))

    def post_and_read(self, path: str, body: bytes) -> bytes:
        """Send a POST and return the response body."""
        response = self.post(path, body)
        try:
            return response.read()
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise _connection_lost(error) from error


def is_server_running(path: Path) -> bool:
    """Return whether a server listens on the socket; raise `StoreError` without permission."""
    connection = UnixHTTPConnection(path)
    try:
        connection.connect()
    except PermissionError:
        raise StoreError(
            f"{path}: permission denied; run the command as the user of the server"
        ) from None
    except OSError:
        return False
    finally:
        connection.close()
    return True


async def run_command(path: Path, command: AdminCommand[R]) -> R:
    """Run a command in the server and return its result."""

    def exchange() -> bytes:
        with contextlib.closing(UnixHTTPConnection(path)) as connection:
            return connection.post_and_read(
                f"/ask/{type(command).__name__}", msgspec.json.encode(command)
            )

    result: R = msgspec.json.decode(await asyncio.to_thread(exchange), type=command.answer())
    return result


class ServerReadiness(msgspec.Struct):
    """The response of `/readyz`: checks by name, and notes for the operator."""

    checks: dict[str, bool]
    notes: list[str]


def fetch_readiness(path: Path) -> ServerReadiness:
    """Return the server's readiness; raise `StoreDisconnected` if it does not respond in time."""
    with contextlib.closing(UnixHTTPConnection(path)) as connection:
        try:
            connection.connect()
            connection.sock.settimeout(READINESS_TIMEOUT_SECONDS)
            connection.request("GET", "/readyz")
            return msgspec.json.decode(connection.getresponse().read(), type=ServerReadiness)
        except (OSError, http.client.HTTPException, msgspec.DecodeError) as error:
            raise StoreDisconnected(str(error)) from error


async def rebuild_projections(path: Path, on_progress: Callable[[int], object]) -> RebuildReport:
    """Rebuild the server's projections; call `on_progress` with the number of processed events."""

    def exchange() -> RebuildReport:
        with contextlib.closing(UnixHTTPConnection(path)) as connection:
            try:
                for response_line in connection.post("/rebuild", b""):
                    if not response_line.startswith(b"{"):
                        on_progress(int(response_line))
                        continue
                    return _decode_rebuild_report(response_line)
            except (OSError, http.client.HTTPException) as error:
                raise _connection_lost(error) from error
        raise StoreDisconnected("the server stopped before the projections were rebuilt")

    return await asyncio.to_thread(exchange)


def _decode_rebuild_report(body: bytes) -> RebuildReport:
    try:
        return msgspec.json.decode(body, type=RebuildReport)
    except msgspec.ValidationError:
        raise StoreError(msgspec.json.decode(body)["detail"]) from None


async def export_events(path: Path, export: EventExport) -> AsyncIterator[bytes]:
    """Stream events of the server in chunks; raise `StoreDisconnected` if the stream is cut off."""
    with contextlib.closing(UnixHTTPConnection(path)) as connection:
        response = await asyncio.to_thread(connection.post, "/export", msgspec.json.encode(export))
        while True:
            try:
                chunk = await asyncio.to_thread(response.read, EXPORT_CHUNK_BYTES)
            except (OSError, http.client.HTTPException) as error:
                raise StoreDisconnected(
                    f"the server stopped during the export: {error!r}"
                ) from error
            if not chunk:
                return
            yield chunk


async def replay_rejected_event(path: Path, number: int) -> ReplayResult:
    """Revalidate a rejected event in the server and store it if it is valid now."""

    def exchange() -> bytes:
        with contextlib.closing(UnixHTTPConnection(path)) as connection:
            return connection.post_and_read(f"/replay/{number}", b"")

    return msgspec.json.decode(await asyncio.to_thread(exchange), type=ReplayResult)


class RemoteImportSession:
    """An `ImportSession` in a running server.

    One connection stays open for the whole import. When it closes, the server removes an
    unpublished import.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._number: int | None = None
        self._session_connection = UnixHTTPConnection(path)
        self._call_connection = UnixHTTPConnection(path)

    async def begin(self, source: str) -> int:
        """Implement `ImportSession`."""

        def begin() -> int:
            body = msgspec.msgpack.encode(BeginImport(source))
            return int(self._session_connection.post("/import", body).readline())

        try:
            self._number = await asyncio.to_thread(begin)
        except BaseException:
            self._close()
            raise
        return self._number

    async def find_imported(self, files: list[tuple[bytes, str]]) -> list[int | None]:
        """Implement `ImportSession`."""
        return await self._call(FindImported(files))

    async def replace(self, slots: list[int], campaigns: list[int]) -> ReplacedStats:
        """Implement `ImportSession`."""
        return await self._call(Replace(slots, campaigns))

    async def undo(self, number: int) -> str:
        """Implement `ImportSession`."""
        return await self._call(Undo(number))

    async def add_clicks(self, slot: int, rows: list[tuple[int, int, int]]) -> list[int]:
        """Implement `ImportSession`."""
        return await self._call(AddClicks(slot, rows))

    async def add_conversions(
        self, slot: int, rows: list[tuple[int, int, int]]
    ) -> list[ConversionOutcome]:
        """Implement `ImportSession`."""
        return await self._call(AddConversions(slot, rows))

    async def add_stats(self, rows: list[StatsRow]) -> None:
        """Implement `ImportSession`."""
        await self._call(AddStats(rows))

    async def add_targets(self, rows: list[tuple[int, str]]) -> list[StagingOutcome]:
        """Implement `ImportSession`."""
        return await self._call(AddTargets(rows))

    async def add_image(self, banner: int, body: bytes) -> StagingOutcome:
        """Implement `ImportSession`."""
        return await self._call(AddImage(banner, body))

    async def add_rejections(self, rows: list[RowRejection]) -> None:
        """Implement `ImportSession`."""
        await self._call(AddRejections(rows))

    async def add_file(self, file: StagedFile) -> None:
        """Implement `ImportSession`."""
        await self._call(AddFile(file))

    async def publish(self) -> None:
        """Publish the import; pages show it when this returns."""
        try:
            await self._call(Publish())
        except StoreDisconnected as error:
            raise StoreDisconnected(
                "the server stopped while it published the import; run the import again: it "
                "reports whether the files are imported"
            ) from error
        self._close()

    async def abort(self) -> None:
        """Abort the import; if the call fails, closing the connection aborts it as well."""
        number, self._number = self._number, None
        try:
            if number is not None:
                # A new connection: a cancelled call may still block the other one.
                with (
                    contextlib.suppress(StoreError),
                    contextlib.closing(UnixHTTPConnection(self._path)) as connection,
                ):
                    path, body = (
                        f"/import/{number}/{Abort.__name__}",
                        msgspec.msgpack.encode(Abort()),
                    )
                    await asyncio.to_thread(connection.post_and_read, path, body)
        finally:
            self._close()

    async def _call(self, call: ImportCall[R]) -> R:
        path, body = f"/import/{self._number}/{type(call).__name__}", msgspec.msgpack.encode(call)
        response = await asyncio.to_thread(self._call_connection.post_and_read, path, body)
        result: R = msgspec.msgpack.decode(response, type=call.result_type())
        return result

    def _close(self) -> None:
        self._number = None
        self._session_connection.close()
        self._call_connection.close()


def _connection_lost(error: Exception) -> StoreDisconnected:
    return StoreDisconnected(f"the server stopped, and nothing was changed ({error!r})")


def _error_detail(problem: bytes, response: HTTPResponse) -> str:
    try:
        return str(msgspec.json.decode(problem)["detail"])
    except (msgspec.DecodeError, KeyError, TypeError):
        return f"the server responded {response.status} {response.reason}"
