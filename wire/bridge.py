"""A request and its answer between the wire and a Tornado application."""

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from tornado.httputil import (
    HTTPConnection,
    HTTPHeaders,
    HTTPMessageDelegate,
    HTTPOutputError,
    RequestStartLine,
    ResponseStartLine,
)
from tornado.iostream import StreamClosedError
from tornado.websocket import WebSocketHandler

from wire.framing import Framing
from wire.lanes import Way
from wire.peers import Peer
from wire.refusal import Refusal

if TYPE_CHECKING:
    from wire.connection import Connection

log = logging.getLogger("wire")

_LINE_END = re.compile(r"[\r\n\0]")
# Tornado's own word for the address of a peer that has none.
_NO_ADDRESS = "0.0.0.0"  # noqa: S104
_VERSIONS = ("HTTP/1.0", "HTTP/1.1")


class Context:
    """What Tornado's requests read of their connection: the client's address and protocol."""

    __slots__ = ("protocol", "remote_ip")

    def __init__(self, remote_ip: str, protocol: str) -> None:
        self.remote_ip = remote_ip
        self.protocol = protocol

    def __str__(self) -> str:
        return self.remote_ip


class Stream:
    """As much of an IOStream as Tornado's requests look at (`get_ssl_certificate`)."""

    __slots__ = ("socket",)

    def __init__(self, socket: Any) -> None:
        self.socket = socket


class Exchange(HTTPConnection):
    """One request to the application, and the `HTTPConnection` by which it answers.

    Everything that the application raises ends here: it is logged once, answered 500 if nothing
    has been sent yet, and the connection is closed, as nobody knows what the peer has seen.
    """

    __slots__ = (
        "_chunked",
        "_close_callback",
        "_delegate",
        "_due",
        "_keep_alive",
        "_link",
        "_minor",
        "_read",
        "_waiting",
        "answered",
        "bodiless",
        "context",
        "finished",
        "max_body",
    )

    def __init__(self, link: "Connection", way: Way, framing: Framing, limit: int) -> None:
        self._link = link
        self._minor = way.minor
        self._keep_alive = framing.keep_alive
        self._close_callback: Callable[[], None] | None = None
        self._delegate: HTTPMessageDelegate | None = None
        # Bytes that Content-Length still promises; None where none was given.
        self._due: int | None = None
        self._chunked = False
        # A request without a body has come in whole with its head.
        self._read = framing.length == 0
        self._waiting: list[asyncio.Future[None]] = []
        self.bodiless = way.method == "HEAD"
        self.answered = False
        self.finished = False
        self.max_body = limit

    # What the connection calls.

    def begin(self, way: Way, framing: Framing, head: bytes, peer: Peer) -> Awaitable[None] | None:
        """Give the application the head; what it returns must be awaited before the body."""
        if peer.proxies is None:
            address, secure = peer.address, peer.secure
        else:
            address, secure = peer.proxies.client(peer, head)
        if address == "unix":
            address = _NO_ADDRESS
        self.context = Context(address, "https" if secure else "http")
        headers = HTTPHeaders()
        for line in head.decode("latin-1").split("\r\n")[1:-2]:
            name, _, value = line.partition(":")
            if name in headers:
                headers.add(name, value.strip(" \t"))
            else:
                headers[name] = value.strip(" \t")
        start = RequestStartLine(way.method, way.target.decode("latin-1"), _VERSIONS[way.minor])
        if way.authority is not None:
            headers["Host"] = way.authority
        delegate = self._link.server.application.start_request(self._link, self)
        self._delegate = delegate
        wait = delegate.headers_received(start, headers)
        if framing.websocket and _is_websocket(delegate):
            raise Refusal(501, "This server does not speak WebSocket.")
        return wait

    def receive(self, data: bytes) -> Awaitable[None] | None:
        """Give the application some of the body."""
        assert self._delegate is not None
        return self._delegate.data_received(data)

    def complete(self) -> None:
        """The request has come in whole."""
        self._read = True
        if self._delegate is not None and not self.finished:
            delegate, self._delegate = self._delegate, None
            delegate.finish()

    def lost(self) -> None:
        """Nobody is there to be answered any more."""
        self.finished = True
        self.gone()
        for future in self._waiting:
            _break(future)
        self._waiting.clear()

    def gone(self) -> None:
        """Tell the application, once, that the peer will not hear the rest."""
        delegate, self._delegate = self._delegate, None
        callback, self._close_callback = self._close_callback, None
        try:
            if delegate is not None:
                delegate.on_connection_close()
            elif callback is not None:
                callback()
        except Exception:
            log.exception("on_connection_close raised")

    def drained(self) -> None:
        """The peer reads again."""
        for future in self._waiting:
            if not future.done():
                future.set_result(None)
        self._waiting.clear()

    # What the application calls.

    @property
    def stream(self) -> Stream:
        """The TLS socket's place, for `HTTPServerRequest.get_ssl_certificate`."""
        return Stream(self._link.ssl_object())

    def set_close_callback(self, callback: Callable[[], None] | None) -> None:
        """Have `callback` called if the peer leaves before the answer is complete."""
        self._close_callback = callback

    def set_max_body_size(self, size: int) -> None:
        """Take up to `size` bytes of body from this request."""
        self.max_body = size

    def set_body_timeout(self, seconds: float) -> None:
        """Let this request's body take so long, counted from now."""
        self._link.allow(seconds)

    def detach(self) -> Any:
        """Refuse: there is no IOStream to hand over (so no WebSocketHandler either)."""
        raise NotImplementedError(
            "a connection of this server cannot be detached, nor WebSocket be"
        )

    def close(self) -> None:
        """Cut the connection."""
        self._link.abort()

    def write_headers(
        self,
        start_line: RequestStartLine | ResponseStartLine,
        headers: HTTPHeaders,
        chunk: bytes | None = None,
    ) -> "asyncio.Future[None]":
        """Send the head, and `chunk` with it; the future is done when the peer has room."""
        assert isinstance(start_line, ResponseStartLine)
        code = start_line.code
        lines = [f"HTTP/1.1 {code} {start_line.reason}"]
        lines += [f"{name}: {value}" for name, value in headers.get_all()]
        if code >= 200:
            self._frame(code, headers, lines)
        text = "\r\n".join(lines)
        if len(_LINE_END.findall(text)) != 2 * (len(lines) - 1):
            raise ValueError("a header holds CR, LF or NUL")
        head = text.encode("latin-1")
        if code >= 200:
            self.answered = True
        end = b"\r\n\r\n" if "Date" in headers or code < 200 else b"\r\n" + self._link.server.date
        return self._send(b"".join((head, end, self._framed(chunk or b""))))

    def _frame(self, code: int, headers: HTTPHeaders, lines: list[str]) -> None:
        if code in (204, 304):
            self.bodiless = True
        length = headers.get("Content-Length")
        if self.bodiless:
            self._due = 0
        elif length is not None:
            self._due = int(length)
        elif self._minor == 1:
            self._chunked = True
            lines.append("Transfer-Encoding: chunked")
        else:
            self._keep_alive = False
        told = headers.get("Connection", "").lower()
        if "close" in told or not self._read or self._link.last():
            self._keep_alive = False
        if not self._keep_alive:
            if "close" not in told:
                lines.append("Connection: close")
        elif self._minor == 0 and "keep-alive" not in told:
            lines.append("Connection: keep-alive")

    def write(self, chunk: bytes) -> "asyncio.Future[None]":
        """Send more of the body; the future is done when the peer has room."""
        return self._send(self._framed(chunk))

    def finish(self) -> None:
        """The answer is complete."""
        if self.finished:
            return
        if self._due:
            self.close()
            raise HTTPOutputError(f"the body is {self._due} bytes shorter than its Content-Length")
        if self._chunked:
            self._link.write(b"0\r\n\r\n")
        self.finished = True
        self._close_callback = None
        self._link.exchange_finished(self._keep_alive and self._read)

    def _framed(self, chunk: bytes) -> bytes:
        if self._due is not None:
            self._due -= len(chunk)
            if self._due < 0:
                self.close()
                raise HTTPOutputError("the body is longer than its Content-Length")
        if self._chunked and chunk:
            return b"%x\r\n%b\r\n" % (len(chunk), chunk)
        return chunk

    def _send(self, data: bytes) -> "asyncio.Future[None]":
        link = self._link
        if link.closed:
            return _break(link.server.loop.create_future())
        link.write(data)
        if not link.paused:
            return link.server.done
        future = link.server.loop.create_future()
        self._waiting.append(future)
        return future


def _is_websocket(delegate: Any) -> bool:
    """Whether Tornado has routed the request to a handler that would need the bare connection."""
    handler = getattr(getattr(delegate, "delegate", None), "handler_class", None)
    return isinstance(handler, type) and issubclass(handler, WebSocketHandler)


def _break(future: "asyncio.Future[None]") -> "asyncio.Future[None]":
    if not future.done():
        future.set_exception(StreamClosedError())
        # Nobody has to await a flush; without this, asyncio would log that nobody did.
        future.exception()
    return future
