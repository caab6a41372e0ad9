"""The `HTTPConnection` by which a Tornado application answers."""

import asyncio
import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from tornado.httputil import (
    HTTPConnection,
    HTTPHeaders,
    HTTPOutputError,
    RequestStartLine,
    ResponseStartLine,
)
from tornado.iostream import StreamClosedError

from httpserver.fast_routes import RouteMatch
from httpserver.protocol.request_framing import RequestFraming

if TYPE_CHECKING:
    from httpserver.connection.connection import Connection


DETACH_ERROR = "This server supports no upgrades or tunnels: a handler cannot detach a connection."
# RFC 9110, section 8.6.
_CONTENT_LENGTH_PATTERN = re.compile("[0-9]{1,18}")


class TornadoContext:
    """What Tornado's requests read of their connection: the client's address and protocol."""

    __slots__ = ("protocol", "remote_ip")

    def __init__(self, remote_ip: str, protocol: str) -> None:
        self.remote_ip = remote_ip
        self.protocol = protocol

    def __str__(self) -> str:
        return self.remote_ip


class TornadoStream:
    """As much of an IOStream as Tornado's requests look at (`get_ssl_certificate`)."""

    __slots__ = ("socket",)

    def __init__(self, socket: Any) -> None:
        self.socket = socket


class TornadoConnection(HTTPConnection):
    """The answer to one request, framed and sent as the application gives it.

    `answered` says that its head has been sent, `finished` that nothing more can be.
    """

    __slots__ = (
        "_bodiless",
        "_chunked",
        "_due",
        "_keep_alive",
        "_link",
        "_minor",
        "_waiting",
        "answered",
        "close_callback",
        "context",
        "finished",
        "read",
    )

    def __init__(self, link: "Connection", way: RouteMatch, framing: RequestFraming) -> None:
        self._link = link
        self._minor = way.minor
        self._keep_alive = framing.keep_alive
        self._bodiless = way.method == "HEAD"
        # Bytes that Content-Length still promises; None where none was given.
        self._due: int | None = None
        self._chunked = False
        self._waiting: list[asyncio.Future[None]] = []
        self.close_callback: Callable[[], None] | None = None
        # Whether the request has come in whole; one without a body has, with its head.
        self.read = framing.length == 0
        self.answered = False
        self.finished = False
        self.context: TornadoContext

    @property
    def stream(self) -> TornadoStream:
        """The TLS socket's place, for `HTTPServerRequest.get_ssl_certificate`."""
        return TornadoStream(self._link.ssl_object())

    def set_close_callback(self, callback: Callable[[], None] | None) -> None:
        """Have `callback` called if the peer leaves before the answer is complete."""
        self.close_callback = callback

    def set_body_timeout(self, seconds: float) -> None:
        """Let this request's body take so long, counted from now."""
        self._link.allow(seconds)

    def detach(self) -> Any:
        """Answer 501, close, and raise NotImplementedError: there is no IOStream to hand over.

        Tornado takes a handler that calls this for finished, whatever comes of it, so that nothing
        else would ever answer the client.
        """
        if self.finished:
            self._link.end()
        else:
            self._link.refuse(501, DETACH_ERROR)
        raise NotImplementedError(DETACH_ERROR)

    def close(self) -> None:
        """Cut the connection."""
        self._link.abort()

    def write_headers(
        self,
        start_line: RequestStartLine | ResponseStartLine,
        headers: HTTPHeaders,
        chunk: bytes | None = None,
    ) -> "asyncio.Future[None]":
        """Send the head, and `chunk` with it; the future is done when the peer has room.

        Raises ValueError for a header that holds CR, LF or NUL, HTTPOutputError for one that would
        frame the answer otherwise than the server does, and NotImplementedError for status 101.
        The client is then answered by the server, as Tornado takes the head for sent.
        """
        assert isinstance(start_line, ResponseStartLine)
        try:
            head = self._head(start_line.code, start_line.reason, headers)
        except NotImplementedError:
            self._link.refuse(501, DETACH_ERROR)
            raise
        except Exception:
            self._link.refuse(500, "The server could not answer this request.")
            raise
        code, server = start_line.code, self._link.server
        if code < 200:
            end = b"\r\n\r\n"
        elif "Date" in headers:
            end = b"\r\n%b\r\n" % server.always
        else:
            end = b"\r\n" + server.date
        data = b"".join((head, end, self._framed(chunk or b"")))
        self.answered = self.answered or code >= 200
        return self._send(data)

    def _head(self, code: int, reason: str, headers: HTTPHeaders) -> bytes:
        """The head up to the server's own headers, once it is known how the answer is framed."""
        if code == 101:
            raise NotImplementedError(DETACH_ERROR)
        length = _content_length(code, headers)
        lines = [f"HTTP/1.1 {code} {reason}"]
        lines += [
            f"{name}: {value}"
            for name, value in headers.get_all()
            if length is not None or name != "Content-Length"
        ]
        if code >= 200:
            self._frame(code, headers, length, lines)
        return _encode_head(lines)

    def _frame(self, code: int, headers: HTTPHeaders, length: int | None, lines: list[str]) -> None:
        """Decide how the peer will know where the answer ends, and what follows it."""
        self._bodiless = self._bodiless or code in (204, 304)
        if self._bodiless:
            self._due = 0
        elif length is not None:
            self._due = length
        elif self._minor:
            self._chunked = True
            lines.append("Transfer-Encoding: chunked")
        else:
            self._keep_alive = False
        told = headers["Connection"].lower() if "Connection" in headers else ""
        if "close" in told or not self.read or self._link.last():
            self._keep_alive = False
        if not self._keep_alive:
            if "close" not in told:
                lines.append("Connection: close")
        elif not self._minor and "keep-alive" not in told:
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
        self.close_callback = None
        self._link.exchanged(self._keep_alive and self.read)

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
        if link.closed or self.finished:
            return _fail_stream_closed(link.server.loop.create_future())
        link.write(data)
        if not link.paused:
            return link.server.done
        if not link.hold_unsent(self.context.remote_ip):
            # More waits for its address than may, and nobody else has been slow for long.
            link.server.stats.slow_readers += 1
            link.abort()
            return _fail_stream_closed(link.server.loop.create_future())
        future = link.server.loop.create_future()
        self._waiting.append(future)
        return future

    def drained(self) -> None:
        """The peer reads again."""
        for future in self._waiting:
            if not future.done():
                future.set_result(None)
        self._waiting.clear()

    def broken(self) -> None:
        """The peer will read no more."""
        for future in self._waiting:
            _fail_stream_closed(future)
        self._waiting.clear()


def _content_length(code: int, headers: HTTPHeaders) -> int | None:
    """The Content-Length to send of an application's answer; None for none.

    An answer without a body by its status has none (RFC 9110, section 8.6). Raises HTTPOutputError
    for an invalid one, for several, and for Transfer-Encoding, which is the server's to apply.
    """
    if "Transfer-Encoding" in headers:
        raise HTTPOutputError("the server sets Transfer-Encoding itself: leave it out")
    values = headers.get_list("Content-Length")
    if not values or code < 200 or code == 204:
        return None
    if len(values) > 1 or not _CONTENT_LENGTH_PATTERN.fullmatch(values[0]):
        raise HTTPOutputError(f"invalid Content-Length {', '.join(values)!r}: must be one number")
    return int(values[0])


def _encode_head(lines: Sequence[str]) -> bytes:
    text = "\r\n".join(lines)
    ends = len(lines) - 1
    if text.count("\n") != ends or text.count("\r") != ends or "\0" in text:
        raise ValueError("a header holds CR, LF or NUL")
    return text.encode("latin-1")


def _fail_stream_closed(future: "asyncio.Future[None]") -> "asyncio.Future[None]":
    if not future.done():
        future.set_exception(StreamClosedError())
        # Nobody has to await a flush; without this, asyncio would log that nobody did.
        future.exception()
    return future
