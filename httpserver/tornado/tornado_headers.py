"""Common response headers for an application on Tornado's own server."""

from collections.abc import Sequence
from typing import Any

from tornado.httputil import (
    HTTPConnection,
    HTTPHeaders,
    HTTPMessageDelegate,
    HTTPServerConnectionDelegate,
    ResponseStartLine,
)


class ResponseHeadersWrapper(HTTPServerConnectionDelegate):
    """Adds headers to all responses of an application, as `Server` does with `headers`."""

    def __init__(
        self, application: HTTPServerConnectionDelegate, headers: Sequence[tuple[str, str]]
    ) -> None:
        self._application = application
        self._headers = headers

    def start_request(
        self, server_conn: object, request_conn: HTTPConnection
    ) -> HTTPMessageDelegate:
        """Start a request on a connection that adds the headers."""
        write = request_conn.write_headers

        def write_headers(
            start_line: ResponseStartLine, headers: HTTPHeaders, chunk: bytes | None = None
        ) -> Any:
            if start_line.code >= 200:
                for name, value in self._headers:
                    headers[name] = value
            return write(start_line, headers, chunk)

        request_conn.write_headers = write_headers  # type: ignore[assignment]
        return self._application.start_request(server_conn, request_conn)

    def on_close(self, server_conn: object) -> None:
        """Notify the application that the connection has closed."""
        self._application.on_close(server_conn)
