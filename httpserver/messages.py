"""The request that a fast route receives, and the encoded response that it returns."""

import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from http import HTTPStatus
from urllib.parse import unquote_to_bytes

from httpserver.protocol import header_fields
from httpserver.protocol.peers import Peer
from httpserver.protocol.request_id import REQUEST_ID_HEADER, parse_request_id
from httpserver.refusal import RequestRefusal

_HEADER_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_INVALID_HEADER_CHARACTERS = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
# The server sets the fields that frame a message, and its date.
_SERVER_SET_HEADERS = frozenset({"connection", "content-length", "date", "transfer-encoding"})

# Larger bodies are sent without copying them behind the head.
_LARGE_BODY_BYTES = 16_384


class Response:
    """An immutable response, encoded once and sent any number of times.

    Raise ValueError for an invalid header, for one that the server sets itself (Connection,
    Content-Length, Date, Transfer-Encoding), and for a body with status 204 or 304.
    """

    __slots__ = ("body", "encoded", "encoded_tail", "has_large_body", "head", "headers", "status")

    def __init__(
        self, status: int = 200, headers: Sequence[tuple[str, str]] = (), body: bytes = b""
    ) -> None:
        self.status = status
        self.headers = tuple(headers)
        self.body = body
        if not 200 <= status <= 599:
            raise ValueError(f"invalid response status {status}: must be 200-599")
        lines = [f"HTTP/1.1 {status} {self.reason}"]
        lines += [_format_header(name, value) for name, value in self.headers]
        if status in (204, 304):
            if body:
                raise ValueError(f"a response with status {status} must not have a body")
        else:
            lines.append(f"Content-Length: {len(body)}")
        lines.append("")
        # Without Connection, Date and the final empty line, which are added when it is sent.
        self.head = "\r\n".join(lines).encode("latin-1")
        # A small response is often sent many times a second: `encoded` is the complete message
        # that ends its head with `encoded_tail`, the Date line of the current second.
        self.has_large_body = len(body) > _LARGE_BODY_BYTES
        self.encoded_tail = self.encoded = b""

    def __repr__(self) -> str:
        return f"<Response {self.status}, {len(self.body)} bytes>"

    @property
    def reason(self) -> str:
        """The standard reason phrase; empty for an unregistered status."""
        try:
            return HTTPStatus(self.status).phrase
        except ValueError:
            return ""

    def with_headers(self, *headers: tuple[str, str]) -> "Response":
        """Return a copy with more headers."""
        lines = "".join(f"{_format_header(*each)}\r\n" for each in headers)
        return self.with_encoded_headers(headers, lines.encode("latin-1"))

    def with_encoded_headers(self, headers: Sequence[tuple[str, str]], lines: bytes) -> "Response":
        """Return a copy with more headers, already validated and encoded as `lines`."""
        head = self.head
        end = head.rfind(b"\r\nContent-Length: ")
        at = len(head) if end < 0 else end + 2
        return self._copy(
            b"%b%b%b" % (head[:at], lines, head[at:]), (*self.headers, *headers), self.body
        )

    def with_body(self, body: bytes) -> "Response":
        """Return a copy with another body, without validating the headers again."""
        head = self.head
        if len(body) != len(self.body):
            stem = head[: head.rindex(b"Content-Length: ")]
            head = b"%bContent-Length: %d\r\n" % (stem, len(body))
        return self._copy(head, self.headers, body)

    def _copy(self, head: bytes, headers: tuple[tuple[str, str], ...], body: bytes) -> "Response":
        copy = Response.__new__(Response)
        copy.status, copy.headers, copy.head, copy.body = self.status, headers, head, body
        copy.has_large_body = len(body) > _LARGE_BODY_BYTES
        copy.encoded_tail = copy.encoded = b""
        return copy


def _format_header(name: str, value: str) -> str:
    if not _HEADER_NAME.fullmatch(name) or _INVALID_HEADER_CHARACTERS.search(value):
        raise ValueError(f"invalid header {name!r}: {value!r}")
    if name.lower() in _SERVER_SET_HEADERS:
        raise ValueError(f"invalid header {name!r}: the server sets it itself")
    return f"{name}: {value}"


class DelayedResponse(Response):
    """A response that is sent after `delay_seconds`, during which its connection is not served.

    For rejections under overload: clients that retry at once would consume the time needed to
    serve others. The delay grows up to fivefold when thousands of responses are delayed, and is
    skipped when connections run short. The request's memory is released before it.
    """

    __slots__ = ("delay_seconds",)

    def __init__(self, response: Response, delay_seconds: float) -> None:
        super().__init__(response.status, response.headers, response.body)
        self.delay_seconds = delay_seconds

    def with_encoded_headers(self, headers: Sequence[tuple[str, str]], lines: bytes) -> Response:
        """Return a copy with more headers and the same delay."""
        return DelayedResponse(super().with_encoded_headers(headers, lines), self.delay_seconds)


class Request:
    """A complete request.

    `target` is the request target without scheme and authority, `path` and `query` its parts,
    none of them percent-decoded. `params` are the groups of the route's pattern.
    """

    __slots__ = ("_head", "_peer", "body", "host", "method", "params", "path", "target")

    def __init__(
        self,
        method: str,
        target: bytes,
        path: str,
        params: tuple[str, ...],
        host: str,
        head: bytes,
        body: bytes,
        peer: Peer,
    ) -> None:
        self.method = method
        self.target = target
        self.path = path
        self.params = params
        self.host = host
        self.body = body
        self._head = head
        self._peer = peer

    def __repr__(self) -> str:
        return f"<Request {self.method} {self.path}>"

    @property
    def head(self) -> bytes:
        """The request line and all fields, as received."""
        return self._head

    @property
    def query(self) -> bytes:
        """The part of the target after the question mark."""
        return self.target.partition(b"?")[2]

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        """All header fields in order; names keep their case."""
        return header_fields.pairs(self._head)

    @property
    def request_id(self) -> str | None:
        """The value of X-Request-Id, if it is valid."""
        return parse_request_id(header_fields.values(self._head, REQUEST_ID_HEADER))

    @property
    def client_address(self) -> str:
        """The client's address, as reported by the proxy if the peer is a trusted one."""
        peer = self._peer
        if peer.proxies is None:
            return peer.address
        return peer.proxies.resolve_client(peer, self._head)[0]

    @property
    def secure(self) -> bool:
        """Whether the client uses TLS, as reported by the proxy if the peer is a trusted one."""
        peer = self._peer
        if peer.proxies is None:
            return peer.secure
        return peer.proxies.resolve_client(peer, self._head)[1]

    def header(self, name: str) -> str | None:
        """Return a field's value (Latin-1), several joined by commas; None if absent.

        Use `cookie` for Cookie, whose fields are not joined by commas.
        """
        values = header_fields.values(self._head, name)
        return b", ".join(values).decode("latin-1") if values else None

    def cookie(self, name: str) -> str | None:
        """Return the first cookie called `name`, without surrounding quotes; None if absent."""
        head = self._head
        line_prefix, search = _cookie_finders(name)
        at = head.find(line_prefix)
        if at >= 0:
            # The only cookie of its line: two calls of `find` are faster than the pattern.
            at += len(line_prefix)
            value = head[at : head.find(13, at)]
            if value.isalnum():
                return value.decode()
        match = search(head)
        return None if match is None else _unquote(match[1].decode("latin-1"))

    def cookies(self, name: str) -> list[str]:
        """Return all cookies called `name`: a browser may send one for each matching path."""
        fields = header_fields.values(self._head, "Cookie")
        return cookie_values(b";".join(fields).decode("latin-1"), name)

    def query_argument(self, name: str) -> str | None:
        """Return the first query argument called `name`, decoded; None if absent.

        Raise `RequestRefusal` (400) if it is not valid UTF-8.
        """
        for part in self.query.split(b"&"):
            key, _, value = part.partition(b"=")
            if part and _decode_argument(key) == name:
                return _decode_argument(value)
        return None


def cookie_values(field: str, name: str) -> list[str]:
    """Return the values of all cookies called `name` in a Cookie field, without quotes."""
    pairs = (pair.partition("=") for pair in field.split(";"))
    return [_unquote(value) for key, _, value in pairs if key.strip(" \t") == name]


def _unquote(value: str) -> str:
    value = value.strip(" \t")
    quoted = len(value) > 1 and value[0] == '"' == value[-1]
    return value[1:-1] if quoted else value


@lru_cache(16_384)
def _cookie_finders(name: str) -> tuple[bytes, Callable[[bytes], re.Match[bytes] | None]]:
    """Return the start of a line that begins with the cookie, and a search for any position."""
    key = name.encode("latin-1") + b"="
    pattern = rb"\r\n(?i:cookie):(?:[^\r]*?;)??[ \t]*" + re.escape(key) + rb"([^;\r]*)"
    return b"\r\nCookie: " + key, re.compile(pattern).search


def _decode_argument(raw: bytes) -> str:
    try:
        return unquote_to_bytes(raw.replace(b"+", b" ")).decode()
    except UnicodeDecodeError as error:
        raise RequestRefusal(400, "A query argument is not valid UTF-8.") from error
