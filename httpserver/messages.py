"""A request as a lane sees it, and an answer ready to be sent."""

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
# How a message ends, and when it was sent, are the wire's to say.
_SERVER_SET_HEADERS = frozenset({"connection", "content-length", "date", "transfer-encoding"})

# A body of more bytes than this is neither copied nor kept twice.
_LARGE_BODY_BYTES = 16_384


class Response:
    """An answer, made once and sent as often as you like; never changed after.

    Raises ValueError for a header that cannot be sent as it stands, for one that the wire sets
    itself (Connection, Content-Length, Date, Transfer-Encoding), and for a body with a status
    that has none (204, 304).
    """

    __slots__ = ("body", "head", "headers", "large", "sent", "sent_at", "status")

    def __init__(
        self, status: int = 200, headers: Sequence[tuple[str, str]] = (), body: bytes = b""
    ) -> None:
        self.status = status
        self.headers = tuple(headers)
        self.body = body
        if not 200 <= status <= 599:
            raise ValueError(f"{status} is not the status of an answer")
        lines = [f"HTTP/1.1 {status} {self.reason}"]
        lines += [_format_header(name, value) for name, value in self.headers]
        if status in (204, 304):
            if body:
                raise ValueError(f"an answer with status {status} has no body")
        else:
            lines.append(f"Content-Length: {len(body)}")
        lines.append("")
        # Everything but Connection, Date and the empty line, which are put in when it is sent.
        self.head = "\r\n".join(lines).encode("latin-1")
        # A small one is often sent many times in a second: with the Date line `sent_at`, as `sent`.
        self.large = len(body) > _LARGE_BODY_BYTES
        self.sent_at = self.sent = b""

    def __repr__(self) -> str:
        return f"<Response {self.status}, {len(self.body)} bytes>"

    @property
    def reason(self) -> str:
        """The status's own words; none for a status without."""
        try:
            return HTTPStatus(self.status).phrase
        except ValueError:
            return ""

    def extended(self, *headers: tuple[str, str]) -> "Response":
        """This answer with more headers; its own are known to be right, and are not made anew."""
        return self.told(
            headers, "".join(f"{_format_header(*each)}\r\n" for each in headers).encode("latin-1")
        )

    def told(self, headers: Sequence[tuple[str, str]], lines: bytes) -> "Response":
        """`extended` by headers that are known to be right, and that `lines` are when sent."""
        other = Response.__new__(Response)
        other.status, other.body, other.large = self.status, self.body, self.large
        other.headers = (*self.headers, *headers)
        head = self.head
        end = head.rfind(b"\r\nContent-Length: ")
        at = len(head) if end < 0 else end + 2
        other.head = b"%b%b%b" % (head[:at], lines, head[at:])
        other.sent_at = other.sent = b""
        return other

    def with_body(self, body: bytes) -> "Response":
        """This answer with another body; the head, which is known to be right, is not made anew."""
        other = Response.__new__(Response)
        other.status, other.headers, other.body = self.status, self.headers, body
        other.head = self.head
        if len(body) != len(self.body):
            stem = self.head[: self.head.rindex(b"Content-Length: ")]
            other.head = b"%bContent-Length: %d\r\n" % (stem, len(body))
        other.large = len(body) > _LARGE_BODY_BYTES
        other.sent_at = other.sent = b""
        return other


def _format_header(name: str, value: str) -> str:
    if not _HEADER_NAME.fullmatch(name) or _INVALID_HEADER_CHARACTERS.search(value):
        raise ValueError(f"a header that cannot be sent: {name!r}: {value!r}")
    if name.lower() in _SERVER_SET_HEADERS:
        raise ValueError(f"{name} is set by the server")
    return f"{name}: {value}"


class DelayedResponse(Response):
    """An answer that is held back for so many `seconds`, in which its connection is not served.

    For refusals of what is too much: told at once, they would be asked for again at once, and
    refusing would take the time that serving needs. Where thousands are held back, it is for up
    to five times as long; where connections run short, for no time. What the request held is let
    go of first. Only a lane's answers are held back, as only those come by the ten thousand.
    """

    __slots__ = ("seconds",)

    def __init__(self, answer: Response, seconds: float) -> None:
        super().__init__(answer.status, answer.headers, answer.body)
        self.seconds = seconds

    def told(self, headers: Sequence[tuple[str, str]], lines: bytes) -> Response:
        """This answer with more headers, held back likewise."""
        return DelayedResponse(super().told(headers, lines), self.seconds)


class Request:
    """A request whose head and body have come in whole.

    `target` is what stood in the request line (without scheme and authority), `path` and `query`
    its parts, none of them percent-decoded; `params` are the groups of the lane's pattern.
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
        """The request line and all fields, as they came."""
        return self._head

    @property
    def query(self) -> bytes:
        """What follows the question mark."""
        return self.target.partition(b"?")[2]

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        """All header fields, in order, names as they came."""
        return header_fields.pairs(self._head)

    @property
    def request_id(self) -> str | None:
        """The identifier that the client gave the request, if it is valid."""
        return parse_request_id(header_fields.values(self._head, REQUEST_ID_HEADER))

    @property
    def remote(self) -> str:
        """The client's address; a proxy's word for it is taken only if the proxy is named."""
        peer = self._peer
        return peer.address if peer.proxies is None else peer.proxies.client(peer, self._head)[0]

    @property
    def secure(self) -> bool:
        """Whether the client came over TLS; from a named proxy, whether it says so."""
        peer = self._peer
        return peer.secure if peer.proxies is None else peer.proxies.client(peer, self._head)[1]

    def header(self, name: str) -> str | None:
        """The field's value (Latin-1), several joined by commas; None if there is none.

        Not for Cookie, whose fields are joined otherwise: see `cookie`.
        """
        found = header_fields.values(self._head, name)
        return b", ".join(found).decode("latin-1") if found else None

    def cookie(self, name: str) -> str | None:
        """The first cookie of this name, without quotes around it; None if there is none."""
        head = self._head
        first, search = _cookie_finders(name)
        at = head.find(first)
        if at >= 0:
            # It is its line's first, as one of a longer path is, and plain: a matter of two finds.
            at += len(first)
            plain = head[at : head.find(13, at)]
            if plain.isalnum():
                return plain.decode()
        found = search(head)
        if found is None:
            return None
        return _unquote(found[1].decode("latin-1"))

    def cookies(self, name: str) -> list[str]:
        """All cookies of this name, in order: those of several paths may come together."""
        found = header_fields.values(self._head, "Cookie")
        return cookie_values(b";".join(found).decode("latin-1"), name)

    def argument(self, name: str) -> str | None:
        """The first query argument of this name, decoded; None if there is none.

        Raises `Refusal` (400) where its percent-encoding does not hold valid UTF-8.
        """
        for part in self.query.split(b"&"):
            key, _, value = part.partition(b"=")
            if part and _decode_argument(key) == name:
                return _decode_argument(value)
        return None


def cookie_values(field: str, name: str) -> list[str]:
    """Return the values of all cookies of this name in a Cookie field, without quotes."""
    pairs = (pair.partition("=") for pair in field.split(";"))
    return [_unquote(value) for key, _, value in pairs if key.strip(" \t") == name]


def _unquote(value: str) -> str:
    value = value.strip(" \t")
    quoted = len(value) > 1 and value[0] == '"' == value[-1]
    return value[1:-1] if quoted else value


@lru_cache(16_384)
def _cookie_finders(name: str) -> tuple[bytes, Callable[[bytes], re.Match[bytes] | None]]:
    """What stands before the cookie where it is its line's first, and what finds it anywhere."""
    key = name.encode("latin-1") + b"="
    pattern = rb"\r\n(?i:cookie):(?:[^\r]*?;)??[ \t]*" + re.escape(key) + rb"([^;\r]*)"
    return b"\r\nCookie: " + key, re.compile(pattern).search


def _decode_argument(raw: bytes) -> str:
    try:
        return unquote_to_bytes(raw.replace(b"+", b" ")).decode()
    except UnicodeDecodeError as error:
        raise RequestRefusal(400, "A query argument is not valid UTF-8.") from error
