"""Normalise the requests of Tornado's own server to the form that `wire.Server` passes on."""

import time
from collections.abc import Awaitable, Callable

from tornado.httputil import (
    HTTPConnection,
    HTTPHeaders,
    HTTPMessageDelegate,
    HTTPServerConnectionDelegate,
    RequestStartLine,
    ResponseStartLine,
    format_timestamp,
)

from wire.framing import host_name, origin, plain_body
from wire.messages import Response
from wire.problems import problem, with_hint
from wire.refusal import Refusal
from wire.request_id import NAME, valid_id


class Normalized(HTTPServerConnectionDelegate):
    """Wraps an application so that Tornado's server passes it the requests of `wire.Server`.

    Absolute targets become paths, unreserved characters of a path are decoded, fields are as
    `normalize` has them, and a compressed body is refused by `error`.
    """

    def __init__(
        self,
        application: HTTPServerConnectionDelegate,
        error: Callable[[int, str], Response] = problem,
    ) -> None:
        self._application = application
        self._error = error

    def start_request(
        self, server_conn: object, request_conn: HTTPConnection
    ) -> HTTPMessageDelegate:
        """Take a request to the application once its head has been read."""
        delegate = self._application.start_request(server_conn, request_conn)
        return _Message(delegate, request_conn, self._error)

    def on_close(self, server_conn: object) -> None:
        """The connection has closed."""
        self._application.on_close(server_conn)


class _Message(HTTPMessageDelegate):
    """One request."""

    def __init__(
        self,
        delegate: HTTPMessageDelegate,
        connection: HTTPConnection,
        error: Callable[[int, str], Response],
    ) -> None:
        self._delegate: HTTPMessageDelegate | None = delegate
        self._connection = connection
        self._error = error

    def headers_received(
        self, start_line: RequestStartLine | ResponseStartLine, headers: HTTPHeaders
    ) -> Awaitable[None] | None:
        assert isinstance(start_line, RequestStartLine)
        assert self._delegate is not None
        try:
            target, authority = origin(start_line.method, start_line.path.encode("latin-1"))
            if authority is not None:
                headers["Host"] = host_name(authority)
            if "Transfer-Encoding" in headers or headers.get("Content-Length", "0") != "0":
                codings = headers.get_list("Content-Encoding")
                plain_body(each.encode("latin-1") for each in codings)
        except Refusal as refusal:
            self._delegate = None
            answer = with_hint(self._error(refusal.status, refusal.detail))
            send(self._connection, start_line.method, answer, header_id(headers))
            return None
        normalize(headers)
        line = start_line._replace(path=target.decode("latin-1"))
        return self._delegate.headers_received(line, headers)

    def data_received(self, chunk: bytes) -> Awaitable[None] | None:
        return None if self._delegate is None else self._delegate.data_received(chunk)

    def finish(self) -> None:
        if self._delegate is not None:
            self._delegate.finish()

    def on_connection_close(self) -> None:
        if self._delegate is not None:
            self._delegate.on_connection_close()


def normalize(headers: HTTPHeaders) -> None:
    """Change fields that Tornado would misread.

    It joins several Cookie fields by commas (RFC 6265, section 5.4), and finds forms only by a
    media type in lower case (RFC 9110, section 8.3.1).
    """
    cookies = headers.get_list("Cookie")
    if len(cookies) > 1:
        headers["Cookie"] = "; ".join(cookies)
    kind, semicolon, parameters = headers.get("Content-Type", "").partition(";")
    if kind != kind.lower():
        headers["Content-Type"] = kind.lower() + semicolon + parameters


def header_id(headers: HTTPHeaders) -> str | None:
    """Return a request's identifier, if the client gave it a valid one."""
    return valid_id([each.encode("latin-1") for each in headers.get_list(NAME)])


def send(
    connection: HTTPConnection, method: str, response: Response, request_id: str | None
) -> None:
    """Send an answer by a connection of Tornado's server, with its request's identifier."""
    headers = HTTPHeaders({"Date": format_timestamp(time.time())})
    for name, value in response.headers:
        headers.add(name, value)
    if request_id is not None:
        headers[NAME] = request_id
    if response.status not in (204, 304):
        headers["Content-Length"] = str(len(response.body))
    line = ResponseStartLine("", response.status, response.reason)
    connection.write_headers(line, headers, b"" if method == "HEAD" else response.body)
    connection.finish()
