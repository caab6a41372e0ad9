"""The `HTTPConnection` through which a Tornado application sends its response."""

import asyncio
import re
from collections.abc import Callable, Sequence
from typing import Any

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
from httpserver.tornado.client_connection import ClientConnection

DETACH_ERROR = "This server does not support upgrades or tunnels: do not call detach()."
# RFC 9110, section 8.6
_CONTENT_LENGTH_PATTERN = re.compile("[0-9]{1,18}")


class TornadoContext:
    """The client's address and protocol, which Tornado reads from the connection's context."""

    __slots__ = ("protocol", "remote_ip")

    def __init__(self, remote_ip: str, protocol: str) -> None:
        self.remote_ip = remote_ip
        self.protocol = protocol

    def __str__(self) -> str:
        return self.remote_ip


class TornadoStream:
    """The part of an IOStream that `HTTPServerRequest.get_ssl_certificate` reads."""

    __slots__ = ("socket",)

    def __init__(self, socket: Any) -> None:
        self.socket = socket


class TornadoConnection(HTTPConnection):
    """Frames and sends the response to one request.

    `headers_sent` is set with the head of the final response, `finished` when nothing more can be
    sent. `request_complete` is set when the application has received the whole request.
    """

    __slots__ = (
        "_bytes_remaining",
        "_chunked",
        "_client",
        "_flush_futures",
        "_http_minor",
        "_keep_alive",
        "_omits_body",
        "close_callback",
        "context",
        "finished",
        "headers_sent",
        "request_complete",
    )

    def __init__(
        self, client: ClientConnection, match: RouteMatch, framing: RequestFraming
    ) -> None:
        self._client = client
        self._http_minor = match.http_minor
        self._keep_alive = framing.keep_alive
        self._omits_body = match.method == "HEAD"
        # Body bytes that Content-Length still announces; None without it.
        self._bytes_remaining: int | None = None
        self._chunked = False
        self._flush_futures: list[asyncio.Future[None]] = []
        self.close_callback: Callable[[], None] | None = None
        self.request_complete = framing.length == 0
        self.headers_sent = False
        self.finished = False
        self.context: TornadoContext

    @property
    def stream(self) -> TornadoStream:
        """The TLS socket, for `HTTPServerRequest.get_ssl_certificate`."""
        return TornadoStream(self._client.stream.ssl_object())

    def set_close_callback(self, callback: Callable[[], None] | None) -> None:
        """Call `callback` if the client disconnects before the response is complete."""
        self.close_callback = callback

    def set_body_timeout(self, seconds: float) -> None:
        """Let this request's body take `seconds` from now."""
        self._client.set_body_timeout(seconds)

    def detach(self) -> Any:
        """Respond with 501, close, and raise NotImplementedError: there is no IOStream.

        Tornado considers a handler finished that calls this, even if it raises, so the response
        must be sent here.
        """
        if self.finished:
            self._client.close_gracefully()
        else:
            self._client.send_error(501, DETACH_ERROR)
        raise NotImplementedError(DETACH_ERROR)

    def close(self) -> None:
        """Close the connection at once."""
        self._client.stream.abort()

    def write_headers(
        self,
        start_line: RequestStartLine | ResponseStartLine,
        headers: HTTPHeaders,
        chunk: bytes | None = None,
    ) -> "asyncio.Future[None]":
        """Send the head and `chunk`; the future is done when more can be written.

        Raise ValueError for a header with CR, LF or NUL, HTTPOutputError for one that conflicts
        with the framing, and NotImplementedError for status 101. The server then sends an error
        response, because Tornado assumes that the head has been sent.
        """
        assert isinstance(start_line, ResponseStartLine)
        try:
            head = self._build_head(start_line.code, start_line.reason, headers)
        except NotImplementedError:
            self._client.send_error(501, DETACH_ERROR)
            raise
        except Exception:
            self._client.send_error(500, "The server could not process this request.")
            raise
        code, context = start_line.code, self._client.context
        if code < 200:
            end = b"\r\n\r\n"
        elif "Date" in headers:
            end = b"\r\n%b\r\n" % context.common_headers
        else:
            end = b"\r\n" + context.head_tail
        data = b"".join((head, end, self._frame(chunk or b"")))
        self.headers_sent = self.headers_sent or code >= 200
        return self._send(data)

    def _build_head(self, code: int, reason: str, headers: HTTPHeaders) -> bytes:
        """Return the head without the server's own headers."""
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
            self._choose_framing(code, headers, length, lines)
        return _encode_head(lines)

    def _choose_framing(
        self, code: int, headers: HTTPHeaders, length: int | None, lines: list[str]
    ) -> None:
        """Decide how the response ends (RFC 9112, section 6.3) and whether the connection stays.

        Append the fields for it to `lines`.
        """
        self._omits_body = self._omits_body or code in (204, 304)
        if self._omits_body:
            self._bytes_remaining = 0
        elif length is not None:
            self._bytes_remaining = length
        elif self._http_minor:
            self._chunked = True
            lines.append("Transfer-Encoding: chunked")
        else:
            self._keep_alive = False
        options = headers["Connection"].lower() if "Connection" in headers else ""
        if "close" in options or not self.request_complete or self._client.count_response():
            self._keep_alive = False
        if not self._keep_alive:
            if "close" not in options:
                lines.append("Connection: close")
        elif not self._http_minor and "keep-alive" not in options:
            lines.append("Connection: keep-alive")

    def write(self, chunk: bytes) -> "asyncio.Future[None]":
        """Send more of the body; the future is done when more can be written."""
        return self._send(self._frame(chunk))

    def finish(self) -> None:
        """Complete the response."""
        if self.finished:
            return
        if self._bytes_remaining:
            self.close()
            raise HTTPOutputError(
                f"the body is {self._bytes_remaining} bytes shorter than its Content-Length"
            )
        if self._chunked:
            self._client.stream.write(b"0\r\n\r\n")
        self.finished = True
        self.close_callback = None
        self._client.application_finished(self._keep_alive and self.request_complete)

    def _frame(self, chunk: bytes) -> bytes:
        if self._bytes_remaining is not None:
            self._bytes_remaining -= len(chunk)
            if self._bytes_remaining < 0:
                self.close()
                raise HTTPOutputError("the body is longer than its Content-Length")
        if self._chunked and chunk:
            return b"%x\r\n%b\r\n" % (len(chunk), chunk)
        return chunk

    def _send(self, data: bytes) -> "asyncio.Future[None]":
        client, stream, context = self._client, self._client.stream, self._client.context
        if stream.is_closing or self.finished:
            return _fail_stream_closed(context.loop.create_future())
        stream.write(data)
        if not stream.write_paused:
            return context.completed_future
        future = context.loop.create_future()
        if not client.reserve_unsent(self.context.remote_ip):
            stream.abort()
            return _fail_stream_closed(future)
        self._flush_futures.append(future)
        return future

    def complete_flushes(self) -> None:
        """Complete the futures of earlier writes: the client reads again."""
        for future in self._flush_futures:
            if not future.done():
                future.set_result(None)
        self._flush_futures.clear()

    def fail_flushes(self) -> None:
        """Fail the futures of earlier writes: the connection is closed."""
        for future in self._flush_futures:
            _fail_stream_closed(future)
        self._flush_futures.clear()


def _content_length(code: int, headers: HTTPHeaders) -> int | None:
    """Return the application's Content-Length; None if absent, or if the status has no body.

    RFC 9110, section 8.6, forbids it for 1xx and 204. Raise HTTPOutputError for an invalid value,
    for several, and for Transfer-Encoding.
    """
    if "Transfer-Encoding" in headers:
        raise HTTPOutputError("invalid header Transfer-Encoding: the server sets it itself")
    values = headers.get_list("Content-Length")
    if not values or code < 200 or code == 204:
        return None
    if len(values) > 1 or not _CONTENT_LENGTH_PATTERN.fullmatch(values[0]):
        raise HTTPOutputError(f"invalid Content-Length {', '.join(values)!r}: must be one number")
    return int(values[0])


def _encode_head(lines: Sequence[str]) -> bytes:
    text = "\r\n".join(lines)
    line_ends = len(lines) - 1
    if text.count("\n") != line_ends or text.count("\r") != line_ends or "\0" in text:
        raise ValueError("invalid header: contains CR, LF or NUL")
    return text.encode("latin-1")


def _fail_stream_closed(future: "asyncio.Future[None]") -> "asyncio.Future[None]":
    if not future.done():
        future.set_exception(StreamClosedError())
        # Retrieve the exception: handlers need not await a flush, and asyncio would log that.
        future.exception()
    return future
