"""An upstream server that fails in many ways, or forwards requests to another server."""

import asyncio
import contextlib
import gzip
import select
import threading
import time
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable
from functools import cache
from urllib.parse import parse_qs, urlsplit

BODY_BLOCK = b"x" * 65_536


class FaultyUpstream:
    """Listens on a free port in a thread of its own; `mode` selects the response."""

    def __init__(self, target_port: int | None = None) -> None:
        """In mode "pass", requests are forwarded to `target_port` of this machine."""
        self.target_port = target_port
        self.mode = "pass"
        self.pages_json = b"[]"
        self.retry_after = "2"
        self.delay_seconds = 0.0  # before a response
        self.known_sites: set[tuple[str, str]] | None = None  # (key, host); None: every site
        self.unknown_mode = "404"  # the mode for unknown sites
        self.requests: deque[tuple[float, str, str]] = deque()  # monotonic time, key, host
        self.redirected_requests = 0  # requests that followed a redirect
        self.max_concurrent = 0  # requests of one key and host
        self._open_writers: defaultdict[tuple[str, str], set[asyncio.StreamWriter]] = defaultdict(
            set
        )
        self._loop = asyncio.new_event_loop()
        self._server: asyncio.Server | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        ready = threading.Event()
        self._loop.call_soon(lambda: self._loop.create_task(self._listen(ready)))
        self._thread.start()
        assert ready.wait(120)

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(120)
        self._loop.close()

    def _run(self) -> None:
        self._loop.run_forever()
        assert self._server is not None
        self._server.close()
        self._loop.run_until_complete(self._end())

    async def _end(self) -> None:
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0.01)

    async def _listen(self, ready: threading.Event) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, backlog=4096)
        self.port = self._server.sockets[0].getsockname()[1]
        ready.set()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # Closing the loop cancels this task, which the streams of Python 3.11 would log.
        with contextlib.suppress(asyncio.CancelledError):
            await self._respond(reader, writer)
        writer.close()

    async def _respond(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        work = disconnect = asyncio.get_running_loop().create_future()
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            head = await reader.readuntil(b"\r\n\r\n")
            target = urlsplit(head.split()[1].decode())
            if target.path == "/inside":
                self.redirected_requests += 1
            parameters = parse_qs(target.query)
            fields = dict(
                line.lower().split(": ", 1) for line in head.decode().split("\r\n")[1:] if line
            )
            key = parameters.get("apikey", [fields.get("x-cb-ak", "")])[0]
            site = key, parameters.get("host", [""])[0]
            self.requests.append((time.monotonic(), *site))
            self._open_writers[site].add(writer)
            self.max_concurrent = max(
                self.max_concurrent, sum(map(is_peer_connected, self._open_writers[site]))
            )
            try:
                await asyncio.sleep(self.delay_seconds)
                modes: dict[str, Callable[..., Awaitable[None]]] = {
                    "pass": self._pass, "pages": self._pages, "hang": self._hang,
                    "reset": self._reset, "500": self._status, "429": self._too_many,
                    "404": self._status, "gigabyte": self._gigabyte, "chunks": self._chunks,
                    "bomb": self._bomb, "bad": self._bad, "redirect": self._redirect,
                    "drip": self._drip, "empty": self._empty, "gzip": self._gzip,
                    "close": self._close, "chunked": self._chunked, "typed": self._typed,
                    "503": self._unavailable,
                }  # fmt: skip
                is_known = self.known_sites is None or site in self.known_sites
                mode = self.mode if is_known else self.unknown_mode
                work = asyncio.ensure_future(modes[mode](writer, head))
                # A disconnect of the client ends the request too.
                disconnect = asyncio.ensure_future(reader.read())
                await asyncio.wait({work, disconnect}, return_when=asyncio.FIRST_COMPLETED)
                await writer.drain()
            finally:
                self._open_writers[site].discard(writer)
                for task in (work, disconnect):
                    task.cancel()
                await asyncio.gather(work, disconnect, return_exceptions=True)

    async def _pass(self, writer: asyncio.StreamWriter, head: bytes) -> None:
        reader, upstream = await asyncio.open_connection("127.0.0.1", self.target_port)
        upstream.write(
            head.replace(b"Connection: ", b"X-Was: ")[:-2] + b"Connection: close\r\n\r\n"
        )
        try:
            while piece := await reader.read(65_536):
                writer.write(piece)
        finally:
            upstream.close()

    async def _pages(self, writer: asyncio.StreamWriter, _: bytes) -> None:
        write_response(writer, "200 OK", self.pages_json)

    async def _gzip(self, writer: asyncio.StreamWriter, _: bytes) -> None:
        write_response(
            writer, "200 OK", gzip.compress(self.pages_json), "Content-Encoding: GZip\r\n"
        )

    async def _close(self, writer: asyncio.StreamWriter, _: bytes) -> None:
        writer.write(b"HTTP/1.0 200 OK\r\n\r\n" + self.pages_json)
        await writer.drain()
        writer.write_eof()

    async def _chunked(self, writer: asyncio.StreamWriter, _: bytes) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for start in range(0, len(self.pages_json), 7):
            piece = self.pages_json[start : start + 7]
            writer.write(b"%X\r\n%b\r\n" % (len(piece), piece))
        writer.write(b"0\r\n\r\n")

    async def _typed(self, writer: asyncio.StreamWriter, _: bytes) -> None:
        write_response(
            writer, "200 Fine", self.pages_json, "Content-Type: text/html; charset=x\r\n"
        )

    async def _unavailable(self, writer: asyncio.StreamWriter, _: bytes) -> None:
        header = f"Retry-After: {self.retry_after}\r\n"
        write_response(writer, "503 Service Unavailable", b"", header)

    async def _hang(self, *_: object) -> None:
        await asyncio.Event().wait()

    async def _reset(self, writer: asyncio.StreamWriter, _: bytes) -> None:
        writer.transport.abort()

    async def _status(self, writer: asyncio.StreamWriter, _: bytes) -> None:
        status = self.mode if self.mode.isdigit() else self.unknown_mode
        write_response(writer, f"{status} Some Words", b"<html>oops")

    async def _too_many(self, writer: asyncio.StreamWriter, _: bytes) -> None:
        write_response(writer, "429 Too Many Requests", b"", f"Retry-After: {self.retry_after}\r\n")

    async def _gigabyte(self, writer: asyncio.StreamWriter, head: bytes) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")
        for _ in range(1_000_000_000 // len(BODY_BLOCK)):
            writer.write(BODY_BLOCK)
            await writer.drain()

    async def _chunks(self, writer: asyncio.StreamWriter, head: bytes) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(1_000_000_000 // len(BODY_BLOCK)):
            writer.write(b"%x\r\n%b\r\n" % (len(BODY_BLOCK), BODY_BLOCK))
            await writer.drain()

    async def _bomb(self, writer: asyncio.StreamWriter, _: bytes) -> None:
        write_response(writer, "200 OK", gzip_bomb(), "Content-Encoding: gzip\r\n")

    async def _bad(self, writer: asyncio.StreamWriter, _: bytes) -> None:
        write_response(writer, "200 OK", b'[{"path": "/", "visitors": ')

    async def _empty(self, writer: asyncio.StreamWriter, _: bytes) -> None:
        writer.write(b"HTTP/1.1 200")

    async def _redirect(self, writer: asyncio.StreamWriter, _: bytes) -> None:
        write_response(writer, "302 Found", b"", f"Location: {self.address}/inside\r\n")

    async def _drip(self, writer: asyncio.StreamWriter, head: bytes) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n")
        for _ in range(100):
            writer.write(b" ")
            await writer.drain()
            await asyncio.sleep(1)


def is_peer_connected(writer: asyncio.StreamWriter) -> bool:
    """Return whether the kernel knows of no close by the client.

    On a busy machine the loop may notice a close only after it has accepted the next connection.
    """
    if writer.transport.is_closing():
        return False
    poll = select.poll()
    poll.register(writer.get_extra_info("socket").fileno(), select.POLLRDHUP)
    return not poll.poll(0)


@cache
def gzip_bomb() -> bytes:
    """Return 100 MB of spaces, compressed."""
    return gzip.compress(b"[" + b" " * 100_000_000 + b"]", 9)


def write_response(
    writer: asyncio.StreamWriter, status: str, body: bytes, headers: str = ""
) -> None:
    head = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n{headers}\r\n"
    writer.write(head.encode() + body)
