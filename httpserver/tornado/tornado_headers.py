"""Headers on every answer of an application that Tornado's own server serves."""

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
    """An application whose answers all have some more headers, as `wire.Server` gives them."""

    def __init__(
        self, application: HTTPServerConnectionDelegate, headers: Sequence[tuple[str, str]]
    ) -> None:
        self._application = application
        self._headers = headers

    def start_request(
        self, server_conn: object, request_conn: HTTPConnection
    ) -> HTTPMessageDelegate:
        """Take a request to the application, by a connection that puts the headers in."""
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
        """The connection has closed."""
        self._application.on_close(server_conn)
