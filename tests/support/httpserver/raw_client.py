"""HTTP/1.1 client on a raw socket, with a strict parser of responses (RFC 9112).

The parser shares no code with the server; a malformed response raises `MalformedResponse`.
"""

import itertools
import re
import socket
import ssl
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
STATUS_LINE = re.compile(rb"HTTP/1\.1 ([1-5][0-9][0-9]) ([\t \x21-\x7e\x80-\xff]*)")
FIELD = re.compile(rb"(" + TOKEN + rb"):[ \t]*([\x21-\x7e\x80-\xff\t ]*)")
CHUNK_SIZE = re.compile(rb"[0-9A-Fa-f]{1,16}")
TIMEOUT_SECONDS = 60.0  # long enough for a busy machine


class MalformedResponse(Exception):
    """The bytes are not a valid response."""


class IncompleteResponse(Exception):
    """The bytes end before the response does."""


@dataclass
class RawResponse:
    """A final response and the statuses of the 1xx responses before it."""

    status: int
    reason: str
    headers: list[tuple[str, str]]
    body: bytes
    interim_statuses: list[int] = field(default_factory=list)
    is_delimited_by_close: bool = False
    chunks: int = 0

    def header(self, name: str) -> str | None:
        values = [value for key, value in self.headers if key.lower() == name.lower()]
        if len(values) > 1 and name.lower() != "set-cookie":
            raise MalformedResponse(f"{name} is repeated: {values}")
        return values[0] if values else None

    def header_values(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key.lower() == name.lower()]

    @property
    def closes_connection(self) -> bool:
        return "close" in (self.header("Connection") or "").lower()

    def comparable(self) -> tuple[int, str, list[tuple[str, str]], bytes]:
        """Return what is equal on every server: all but Date, Server and the times in cookies."""
        headers = sorted(
            (name.title(), self._without_times(name.lower(), value))
            for name, value in self.headers
            if name.lower() not in ("date", "server")
        )
        return self.status, self.reason, headers, self.body

    @staticmethod
    def _without_times(name: str, value: str) -> str:
        # Tornado expires a deleted cookie one year ago and a versioned file in ten years, by the
        # current second.
        if name == "expires":
            return "…"
        if name == "set-cookie":
            return re.sub(r"(?<=expires=)[^;]+ GMT", "…", value)
        return value.lower() if name == "connection" else value


def parse_head(data: bytes) -> tuple[int, str, list[tuple[str, str]], bytes]:
    """Return status, reason and headers of the first head in `data`, and the rest of `data`."""
    head, blank, rest = data.partition(b"\r\n\r\n")
    if not blank:
        if data and not b"HTTP/1.1 ".startswith(data[:9]):
            raise MalformedResponse(f"invalid status line: {data[:80]!r}")
        raise IncompleteResponse
    first, *lines = head.split(b"\r\n")
    match = STATUS_LINE.fullmatch(first)
    if not match:
        raise MalformedResponse(f"invalid status line: {first!r}")
    headers = []
    for line in lines:
        pair = FIELD.fullmatch(line)
        if not pair:
            raise MalformedResponse(f"invalid header line: {line!r}")
        headers.append((pair[1].decode(), pair[2].decode("latin-1").rstrip(" \t")))
    return int(match[1]), match[2].decode("latin-1"), headers, rest


def parse_response(
    data: bytes, method: str = "GET", is_closed: bool = False
) -> tuple[RawResponse, bytes]:
    """Return the response to a request of `method` at the start of `data`, and the rest of `data`.

    `is_closed`: the server has closed the connection, which ends a body without a length.
    """
    interim: list[int] = []
    while True:
        status, reason, headers, data = parse_head(data)
        response = RawResponse(status, reason, headers, b"", interim)
        length, coding = response.header("Content-Length"), response.header("Transfer-Encoding")
        if length is not None and (coding is not None or not re.fullmatch(r"[0-9]+", length)):
            raise MalformedResponse(f"invalid framing: {headers}")
        if coding not in (None, "chunked"):
            raise MalformedResponse(f"unknown Transfer-Encoding {coding!r}")
        if status >= 200:
            break
        if length is not None or coding is not None:
            raise MalformedResponse(f"{status} with {headers}")
        interim.append(status)
    if response.header("Date") is None:
        raise MalformedResponse("no Date header")
    if status == 204 and (length is not None or coding is not None):
        raise MalformedResponse(f"204 with {headers}")
    if method == "HEAD" or status in (204, 304):
        return response, data
    if coding:
        response.body, response.chunks, data = decode_chunks(data)
    elif length is not None:
        if len(data) < int(length):
            raise IncompleteResponse
        response.body, data = data[: int(length)], data[int(length) :]
    else:
        response.is_delimited_by_close = True
        if not is_closed:
            raise IncompleteResponse
        response.body, data = data, b""
    return response, data


def decode_chunks(data: bytes) -> tuple[bytes, int, bytes]:
    """Return the body, the number of chunks, and the rest of `data`."""
    parts: list[bytes] = []
    at = 0
    while True:
        end = data.find(b"\r\n", at)
        if end < 0:
            raise IncompleteResponse
        if not CHUNK_SIZE.fullmatch(data[at:end]):
            raise MalformedResponse(f"invalid chunk size {data[at:end]!r}")
        begin, size = end + 2, int(data[at:end], 16)
        at = begin + size + 2
        if len(data) < at:
            raise IncompleteResponse
        if data[at - 2 : at] != b"\r\n":
            raise MalformedResponse("chunk without CRLF at its end")
        if not size:
            return b"".join(parts), len(parts), data[at:]
        parts.append(data[begin : at - 2])


def parse_responses(data: bytes, methods: Iterable[str] = ()) -> list[RawResponse]:
    """Return all responses in the bytes of a closed connection."""
    remaining_methods = iter(methods)
    responses = []
    while data:
        try:
            response, data = parse_response(data, next(remaining_methods, "GET"), is_closed=True)
        except IncompleteResponse:
            raise MalformedResponse(f"incomplete response: {data[:200]!r}") from None
        responses.append(response)
    return responses


class RawClient:
    """A connection that sends arbitrary bytes."""

    def __init__(
        self,
        address: tuple[str, int] | str,
        *,
        seconds: float = TIMEOUT_SECONDS,
        tls: ssl.SSLContext | None = None,
        receive_buffer: int = 0,
        source: str = "",
    ) -> None:
        family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
        self.socket = socket.socket(family)
        self.socket.settimeout(seconds)
        if receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        try:
            if source:
                self.socket.bind((source, 0))
            self.socket.connect(address)
            if family == socket.AF_INET:
                self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if tls is not None:
                self.socket = tls.wrap_socket(self.socket, server_hostname="localhost")
        except BaseException:
            self.socket.close()
            raise
        self.buffer = b""
        self.is_at_end = False

    def __enter__(self) -> "RawClient":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.socket.close()

    def send(self, data: bytes) -> bool:
        """Send all bytes; return False if the server has closed the connection."""
        try:
            self.socket.sendall(data)
        except (ConnectionError, ssl.SSLError):
            return False
        return True

    def half_close(self) -> None:
        try:
            self.socket.shutdown(socket.SHUT_WR)
        except OSError:
            self.is_at_end = True

    def receive(self) -> bool:
        """Wait for more bytes; return False if the server has closed the connection."""
        try:
            received = self.socket.recv(65536)
        except (ConnectionError, ssl.SSLError):
            received = b""
        self.buffer += received
        self.is_at_end = not received
        return bool(received)

    def read_response(self, method: str = "GET") -> RawResponse:
        """Return the next response; raise EOFError if the server closes the connection before."""
        while True:
            try:
                response, self.buffer = parse_response(self.buffer, method, self.is_at_end)
            except IncompleteResponse:
                if self.is_at_end:
                    raise EOFError(f"closed after {self.buffer[:200]!r}") from None
                self.receive()
            else:
                return response

    def request(self, data: bytes, method: str | None = None) -> RawResponse:
        self.send(data)
        return self.read_response(method or data.split(b" ", 1)[0].decode("latin-1"))

    def read_to_end(self) -> bytes:
        """Return all bytes until the server closes; raise TimeoutError if it does not."""
        while self.receive():
            pass
        received, self.buffer = self.buffer, b""
        return received

    def is_closed_silently(self) -> bool:
        """Wait until the server closes; return whether it sent nothing before."""
        return not self.read_to_end()

    def is_quiet_for(self, seconds: float) -> bool:
        """Return whether the server neither sends nor closes for that long."""
        timeout = self.socket.gettimeout()
        self.socket.settimeout(seconds)
        try:
            self.receive()
        except TimeoutError:
            return True
        finally:
            self.socket.settimeout(timeout)
        return False


def build_get(path: str = "/fast/hello", *headers: str, version: str = "1.1") -> bytes:
    return build_request("GET", path, *headers, version=version)


def build_request(
    method: str, path: str, *headers: str, body: bytes = b"", version: str = "1.1"
) -> bytes:
    lines = [f"{method} {path} HTTP/{version}", "Host: a.example", *headers]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


def encode_chunks(*parts: bytes) -> bytes:
    return b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in [*parts, b""])


def split_at(data: bytes, offsets: Sequence[int]) -> list[bytes]:
    """Return `data` split at offsets, without empty pieces."""
    edges = [0, *sorted({offset for offset in offsets if 0 < offset < len(data)}), len(data)]
    return [data[start:end] for start, end in itertools.pairwise(edges) if end > start]
