"""The store of a running server, through the Unix socket in its data folder.

Plain HTTP: `POST /ask/<command>` for commands, as JSON; `POST /import` and
`POST /import/<number>/<call>` for an import, as MessagePack; `POST /rebuild`, answered by a line
for each step and one for the end; `POST /export` for a stream of events; `POST /replay/<number>`;
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
from typing import Any, TypeVar

import msgspec

from store.api.errors import StoreDisconnected, StoreError
from store.api.import_session import (
    IMPORT_CALLS,
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

# Seconds for one answer: an import may have to remove what another one left, and `replace` moves
# millions of rows in small steps. A server that ends closes its connections.
CALL_TIMEOUT_SECONDS = 3_600.0
# Bytes of an export that are read at a time.
EXPORT_CHUNK_BYTES = 262_144
# Seconds for an answer that takes no work. A busy server on a busy machine answers within them.
READINESS_TIMEOUT_SECONDS = 15.0
# No arguments, in MessagePack.
NO_ARGUMENTS = b"\x90"
# What fits the address of a Unix socket.
MAX_SOCKET_PATH_BYTES = 107


class UnixHTTPConnection(HTTPConnection):
    """An HTTP connection to a Unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=CALL_TIMEOUT_SECONDS)
        self._path = path

    def connect(self) -> None:
        """Connect, by a short cut where the path is too long for an address."""
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
        """The answer, not yet read; raises the `StoreError` that it tells of."""
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

    def read(self, path: str, body: bytes) -> bytes:
        """The answer's body."""
        response = self.post(path, body)
        try:
            return response.read()
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise _connection_lost(error) from error


def is_server_running(path: Path) -> bool:
    """Whether a server listens on the socket; `StoreError` if it is not for us."""
    line = UnixHTTPConnection(path)
    try:
        line.connect()
    except PermissionError:
        raise StoreError(f"{path} is for the user alone who runs the server") from None
    except OSError:
        return False
    finally:
        line.close()
    return True


async def run_command(path: Path, command: AdminCommand[R]) -> R:
    """Have the server run a command."""

    def exchange() -> bytes:
        with contextlib.closing(UnixHTTPConnection(path)) as line:
            return line.read(f"/ask/{type(command).__name__}", msgspec.json.encode(command))

    answer: R = msgspec.json.decode(await asyncio.to_thread(exchange), type=command.answer())
    return answer


class ServerReadiness(msgspec.Struct):
    """What the server says of itself: what has to hold, and what its owner should know."""

    checks: dict[str, bool]
    notes: list[str]


def fetch_readiness(path: Path) -> ServerReadiness:
    """How the server is; `StoreError` if it does not say in a moment."""
    with contextlib.closing(UnixHTTPConnection(path)) as line:
        try:
            line.connect()
            line.sock.settimeout(READINESS_TIMEOUT_SECONDS)
            line.request("GET", "/readyz")
            return msgspec.json.decode(line.getresponse().read(), type=ServerReadiness)
        except (OSError, http.client.HTTPException, msgspec.DecodeError) as error:
            raise StoreDisconnected(str(error)) from error


async def rebuild_projections(path: Path, told: Callable[[int], object]) -> RebuildReport:
    """Have the server make its views anew; `told` hears how many events are in them by then."""

    def exchange() -> RebuildReport:
        with contextlib.closing(UnixHTTPConnection(path)) as line:
            try:
                for said in line.post("/rebuild", b""):
                    if not said.startswith(b"{"):
                        told(int(said))
                        continue
                    return _decode_rebuild_report(said)
            except (OSError, http.client.HTTPException) as error:
                raise _connection_lost(error) from error
        raise StoreDisconnected("the server ended before its views were made anew")

    return await asyncio.to_thread(exchange)


def _decode_rebuild_report(said: bytes) -> RebuildReport:
    try:
        return msgspec.json.decode(said, type=RebuildReport)
    except msgspec.ValidationError:
        raise StoreError(msgspec.json.decode(said)["detail"]) from None


async def export_events(path: Path, wanted: EventExport) -> AsyncIterator[bytes]:
    """Events of the server, some at a time; raises `StoreGone` if they end too early."""
    with contextlib.closing(UnixHTTPConnection(path)) as line:
        response = await asyncio.to_thread(line.post, "/export", msgspec.json.encode(wanted))
        while True:
            try:
                piece = await asyncio.to_thread(response.read, EXPORT_CHUNK_BYTES)
            except (OSError, http.client.HTTPException) as error:
                raise StoreDisconnected(f"the export ended too early: {error!r}") from error
            if not piece:
                return
            yield piece


async def replay_rejected_event(path: Path, number: int) -> ReplayResult:
    """Have the server take a reject again."""

    def exchange() -> bytes:
        with contextlib.closing(UnixHTTPConnection(path)) as line:
            return line.read(f"/replay/{number}", b"")

    return msgspec.json.decode(await asyncio.to_thread(exchange), type=ReplayResult)


class RemoteImportSession:
    """The `Intake` of a running server.

    One connection is held open from beginning to end: when it closes, the server knows that the
    importer is gone, and clears away.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._number: int | None = None
        self._life = UnixHTTPConnection(path)
        self._line = UnixHTTPConnection(path)

    async def begin(self, source: str) -> int:
        """See `Intake`."""

        def begin() -> int:
            body = msgspec.msgpack.encode((source,))
            return int(self._life.post("/import", body).readline())

        try:
            self._number = await asyncio.to_thread(begin)
        except BaseException:
            self._end()
            raise
        return self._number

    async def known(self, files: list[tuple[bytes, str]]) -> list[int | None]:
        """See `Intake`."""
        return await self._call("known", files)  # type: ignore[no-any-return]

    async def replace(self, slots: list[int], campaigns: list[int]) -> ReplacedStats:
        """See `Intake`."""
        return await self._call("replace", slots, campaigns)  # type: ignore[no-any-return]

    async def undo(self, number: int) -> str:
        """See `Intake`."""
        return await self._call("undo", number)  # type: ignore[no-any-return]

    async def clicks(self, slot: int, rows: list[tuple[int, int, int]]) -> list[int]:
        """See `Intake`."""
        return await self._call("clicks", slot, rows)  # type: ignore[no-any-return]

    async def conversions(
        self, slot: int, rows: list[tuple[int, int, int]]
    ) -> list[ConversionOutcome]:
        """See `Intake`."""
        return await self._call("conversions", slot, rows)  # type: ignore[no-any-return]

    async def figures(self, rows: list[StatsRow]) -> None:
        """See `Intake`."""
        await self._call("figures", rows)

    async def targets(self, rows: list[tuple[int, str]]) -> list[StagingOutcome]:
        """See `Intake`."""
        return await self._call("targets", rows)  # type: ignore[no-any-return]

    async def image(self, banner: int, body: bytes) -> StagingOutcome:
        """See `Intake`."""
        return await self._call("image", banner, body)  # type: ignore[no-any-return]

    async def rejects(self, rows: list[RowRejection]) -> None:
        """See `Intake`."""
        await self._call("rejects", rows)

    async def file(self, taken: StagedFile) -> None:
        """See `Intake`."""
        await self._call("file", taken)

    async def publish(self) -> None:
        """See `Intake`; in force, and shown by the server, when this returns."""
        try:
            await self._call("publish")
        except StoreDisconnected as error:
            raise StoreDisconnected(
                "the server went away while it put the import in force: import again to see "
                "whether it did"
            ) from error
        self._end()

    async def abort(self) -> None:
        """See `Intake`; the server clears away by itself what it can't be told of."""
        number, self._number = self._number, None
        try:
            if number is not None:
                # A line of its own: a call that was cancelled may still be on the other.
                with (
                    contextlib.suppress(StoreError),
                    contextlib.closing(UnixHTTPConnection(self._path)) as line,
                ):
                    await asyncio.to_thread(line.read, f"/import/{number}/abort", NO_ARGUMENTS)
        finally:
            self._end()

    async def _call(self, name: str, *arguments: object) -> Any:
        path, body = f"/import/{self._number}/{name}", msgspec.msgpack.encode(arguments)
        answer = await asyncio.to_thread(self._line.read, path, body)
        return msgspec.msgpack.decode(answer, type=IMPORT_CALLS[name].answer)

    def _end(self) -> None:
        self._number = None
        self._life.close()
        self._line.close()


def _connection_lost(error: Exception) -> StoreDisconnected:
    return StoreDisconnected(f"the server went away, and nothing was changed ({error!r})")


def _error_detail(problem: bytes, response: HTTPResponse) -> str:
    try:
        return str(msgspec.json.decode(problem)["detail"])
    except (msgspec.DecodeError, KeyError, TypeError):
        return f"the server answered {response.status} {response.reason}"
