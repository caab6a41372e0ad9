"""Request normalization for Tornado's own server, equal to that of `httpserver.Server`."""

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

from httpserver.error_responses import problem_response, with_retry_header
from httpserver.messages import Response
from httpserver.protocol.request_framing import parse_host, parse_target, require_uncompressed
from httpserver.protocol.request_id import REQUEST_ID_HEADER, parse_request_id
from httpserver.refusal import RequestRefusal


class RequestNormalizer(HTTPServerConnectionDelegate):
    """Wraps an application so that it receives the same requests as from `Server`.

    Absolute targets become paths, unreserved characters of a path are decoded, fields are changed
    by `normalize_headers`, and compressed bodies get `error_response`.
    """

    def __init__(
        self,
        application: HTTPServerConnectionDelegate,
        error_response: Callable[[int, str], Response] = problem_response,
    ) -> None:
        self._application = application
        self._error_response = error_response

    def start_request(
        self, server_conn: object, request_conn: HTTPConnection
    ) -> HTTPMessageDelegate:
        """Start a request whose head is normalized."""
        delegate = self._application.start_request(server_conn, request_conn)
        return _NormalizedRequest(delegate, request_conn, self._error_response)

    def on_close(self, server_conn: object) -> None:
        """Notify the application that the connection has closed."""
        self._application.on_close(server_conn)


class _NormalizedRequest(HTTPMessageDelegate):
    def __init__(
        self,
        delegate: HTTPMessageDelegate,
        connection: HTTPConnection,
        error_response: Callable[[int, str], Response],
    ) -> None:
        self._delegate: HTTPMessageDelegate | None = delegate
        self._connection = connection
        self._error_response = error_response

    def headers_received(
        self, start_line: RequestStartLine | ResponseStartLine, headers: HTTPHeaders
    ) -> Awaitable[None] | None:
        assert isinstance(start_line, RequestStartLine)
        assert self._delegate is not None
        try:
            target, authority = parse_target(start_line.method, start_line.path.encode("latin-1"))
            if authority is not None:
                headers["Host"] = parse_host(authority)
            if "Transfer-Encoding" in headers or headers.get("Content-Length", "0") != "0":
                codings = headers.get_list("Content-Encoding")
                require_uncompressed(each.encode("latin-1") for each in codings)
        except RequestRefusal as refusal:
            self._delegate = None
            response = with_retry_header(self._error_response(refusal.status, refusal.detail))
            send_response(self._connection, start_line.method, response, get_request_id(headers))
            return None
        normalize_headers(headers)
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


def normalize_headers(headers: HTTPHeaders) -> None:
    """Change fields that Tornado misinterprets.

    Tornado joins several Cookie fields by commas instead of semicolons (RFC 6265, section 5.4),
    and recognizes forms only by a lower-case media type (RFC 9110, section 8.3.1).
    """
    cookies = headers.get_list("Cookie")
    if len(cookies) > 1:
        headers["Cookie"] = "; ".join(cookies)
    media_type, semicolon, parameters = headers.get("Content-Type", "").partition(";")
    if media_type != media_type.lower():
        headers["Content-Type"] = media_type.lower() + semicolon + parameters


def get_request_id(headers: HTTPHeaders) -> str | None:
    """Return the value of X-Request-Id, if it is valid."""
    return parse_request_id(
        [each.encode("latin-1") for each in headers.get_list(REQUEST_ID_HEADER)]
    )


def send_response(
    connection: HTTPConnection, method: str, response: Response, request_id: str | None
) -> None:
    """Send `response` on a connection of Tornado's server, with the request's id if any."""
    headers = HTTPHeaders({"Date": format_timestamp(time.time())})
    for name, value in response.headers:
        headers.add(name, value)
    if request_id is not None:
        headers[REQUEST_ID_HEADER] = request_id
    if response.status not in (204, 304):
        headers["Content-Length"] = str(len(response.body))
    line = ResponseStartLine("", response.status, response.reason)
    connection.write_headers(line, headers, b"" if method == "HEAD" else response.body)
    connection.finish()
