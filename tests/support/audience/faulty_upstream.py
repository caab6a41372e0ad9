"""An upstream that goes wrong in every way, or hands on what another server answers."""

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
    """Listens on a free port in a thread of its own; `mode` says what it does with a request."""

    def __init__(self, behind: int | None = None) -> None:
        """In mode "pass", requests go to the port `behind` of this machine."""
        self.target_port = behind
        self.mode = "pass"
        self.pages_json = b"[]"
        self.retry_after = "2"
        self.delay_seconds = 0.0  # before an answer
        self.known_sites: set[tuple[str, str]] | None = None  # (key, host); None: all are
        self.unknown_mode = "404"  # the mode for all others
        self.requests: deque[tuple[float, str, str]] = deque()  # when, key, host
        self.redirected_requests = 0  # requests that followed a redirect
        self.max_concurrent = 0  # of one key and host
        self._here: defaultdict[tuple[str, str], set[asyncio.StreamWriter]] = defaultdict(set)
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
        # Whoever ends this one's loop cancels it, and the streams of 3.11 would log that.
        with contextlib.suppress(asyncio.CancelledError):
            await self._take(reader, writer)
        writer.close()

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        work = left = asyncio.get_running_loop().create_future()
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            head = await reader.readuntil(b"\r\n\r\n")
            target = urlsplit(head.split()[1].decode())
            if target.path == "/inside":
                self.redirected_requests += 1
            asked = parse_qs(target.query)
            fields = dict(
                line.lower().split(": ", 1) for line in head.decode().split("\r\n")[1:] if line
            )
            key = asked.get("apikey", [fields.get("x-cb-ak", "")])[0]
            name = key, asked.get("host", [""])[0]
            self.requests.append((time.monotonic(), *name))
            self._here[name].add(writer)
            self.max_concurrent = max(
                self.max_concurrent, sum(map(is_peer_connected, self._here[name]))
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
                known = self.known_sites is None or name in self.known_sites
                mode = self.mode if known else self.unknown_mode
                work = asyncio.ensure_future(modes[mode](writer, head))
                # It is over when the other side has had enough, too.
                left = asyncio.ensure_future(reader.read())
                await asyncio.wait({work, left}, return_when=asyncio.FIRST_COMPLETED)
                await writer.drain()
            finally:
                self._here[name].discard(writer)
                for each in (work, left):
                    each.cancel()
                await asyncio.gather(work, left, return_exceptions=True)

    async def _pass(self, writer: asyncio.StreamWriter, head: bytes) -> None:
        theirs, ours = await asyncio.open_connection("127.0.0.1", self.target_port)
        ours.write(head.replace(b"Connection: ", b"X-Was: ")[:-2] + b"Connection: close\r\n\r\n")
        try:
            while piece := await theirs.read(65_536):
                writer.write(piece)
        finally:
            ours.close()

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
        for place in range(0, len(self.pages_json), 7):
            piece = self.pages_json[place : place + 7]
            writer.write(b"%X\r\n%b\r\n" % (len(piece), piece))
        writer.write(b"0\r\n\r\n")

    async def _typed(self, writer: asyncio.StreamWriter, _: bytes) -> None:
        write_response(
            writer, "200 Fine", self.pages_json, "Content-Type: text/html; charset=x\r\n"
        )

    async def _unavailable(self, writer: asyncio.StreamWriter, _: bytes) -> None:
        later = f"Retry-After: {self.retry_after}\r\n"
        write_response(writer, "503 Service Unavailable", b"", later)

    async def _hang(self, *_: object) -> None:
        await asyncio.Event().wait()

    async def _reset(self, writer: asyncio.StreamWriter, _: bytes) -> None:
        writer.transport.abort()

    async def _status(self, writer: asyncio.StreamWriter, _: bytes) -> None:
        status = self.mode if self.mode.isdigit() else self.unknown_mode
        write_response(writer, f"{status} Some Words", b"<html>oops")

    async def _too_many(self, writer: asyncio.StreamWriter, _: bytes) -> None:
        write_response(writer, "429 Too Many Requests", b"", f"Retry-After: {self.retry_after}\r\n")

    async def _gigabyte(self, writer: asyncio.StreamWriter, _: bytes) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")
        for _ in range(1_000_000_000 // len(BODY_BLOCK)):
            writer.write(BODY_BLOCK)
            await writer.drain()

    async def _chunks(self, writer: asyncio.StreamWriter, _: bytes) -> None:
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

    async def _drip(self, writer: asyncio.StreamWriter, _: bytes) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n")
        for _ in range(100):
            writer.write(b" ")
            await writer.drain()
            await asyncio.sleep(1)


def is_peer_connected(writer: asyncio.StreamWriter) -> bool:
    """Whether the other side has not closed its connection, as the kernel knows it.

    On a busy machine this side's loop may learn that later than it accepts the next connection.
    """
    if writer.transport.is_closing():
        return False
    watch = select.poll()
    watch.register(writer.get_extra_info("socket").fileno(), select.POLLRDHUP)
    return not watch.poll(0)


@cache
def gzip_bomb() -> bytes:
    """A hundred megabytes of nothing, packed."""
    return gzip.compress(b"[" + b" " * 100_000_000 + b"]", 9)


def write_response(writer: asyncio.StreamWriter, status: str, body: bytes, more: str = "") -> None:
    head = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n{more}\r\n"
    writer.write(head.encode() + body)
