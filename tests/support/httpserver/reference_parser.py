"""A second opinion: what a strict reader takes from a client's bytes (RFC 9110, 9112).

Written from the RFCs alone and in the plainest way: whole messages, regular expressions.
"""

import re
from dataclasses import dataclass, field
from enum import Enum

TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
REQUEST_LINE = re.compile(rb"(" + TOKEN + rb") ([\x21-\x7e]+) HTTP/1\.([0-9])")
FIELD = re.compile(rb"(" + TOKEN + rb"):[ \t]*((?:[\x21-\x7e\x80-\xff \t]*[\x21-\x7e\x80-\xff])?)"
                   rb"[ \t]*")  # fmt: skip
HOST = re.compile(
    rb"(?:\[[0-9A-Fa-f:.]+\]|(?:[A-Za-z0-9\-._~!$&'()*+;=]|%[0-9A-Fa-f]{2})+)(?::[0-9]*)?"
)
CHUNK_LINE = re.compile(rb"([0-9A-Fa-f]{1,15})((?:[ \t]*;[ \t]*[\x21-\x3a\x3c-\x7e]+(?:[ \t]*="
                        rb"[ \t]*[\x21-\x3a\x3c-\x7e]+)?)*)")  # fmt: skip
KNOWN_METHODS = {b"GET", b"POST", b"PUT", b"DELETE", b"OPTIONS", b"HEAD", b"PATCH"}


class StreamEnd(Enum):
    """How the bytes of a connection end."""

    WAITING = "everything is answered, or a request is still coming"
    CLOSING = "the last answer closes"
    REFUSED = "malformed: an error is answered, and the connection closed"
    DOUBT = "what a server may take or refuse"


@dataclass
class ParsedRequest:
    method: str
    target: bytes
    body: bytes


@dataclass
class ParsedStream:
    requests: list[ParsedRequest] = field(default_factory=list)
    end: StreamEnd = StreamEnd.WAITING


class StopParsing(Exception):
    def __init__(self, end: StreamEnd) -> None:
        self.end = end


def parse_stream(data: bytes) -> ParsedStream:
    reading = ParsedStream()
    try:
        while data:
            data, last = parse_request(data, reading.requests)
            if last:
                reading.end = StreamEnd.CLOSING
                break
    except StopParsing as stop:
        reading.end = stop.end
    return reading


def parse_request(data: bytes, requests: list[ParsedRequest]) -> tuple[bytes, bool]:
    """Take one request off `data`; true if its answer closes."""
    if data.startswith(b"\r\n"):
        data = data[2:]
        if data.startswith((b"\r", b"\n")):
            raise StopParsing(StreamEnd.DOUBT)
        if not data:
            raise StopParsing(StreamEnd.WAITING)
    head, blank, rest = data.partition(b"\r\n\r\n")
    lines = head.split(b"\r\n")
    if not blank:
        raise StopParsing(classify_partial_head(lines))
    match = REQUEST_LINE.fullmatch(lines[0])
    if not match:
        raise StopParsing(
            StreamEnd.DOUBT if is_ambiguous_request_line(lines[0]) else StreamEnd.REFUSED
        )
    method, target, minor = match.groups()
    fields: list[tuple[bytes, bytes]] = []
    for line in lines[1:]:
        pair = FIELD.fullmatch(line)
        if not pair:
            raise StopParsing(StreamEnd.REFUSED)
        fields.append((pair[1].lower(), pair[2]))
        if pair[1].lower() == b"transfer-encoding" and line != line.rstrip(b" \t"):
            raise StopParsing(StreamEnd.DOUBT)  # llhttp takes the blanks as part of the coding
    if method not in KNOWN_METHODS or not target.startswith(b"/") or b"#" in target:
        raise StopParsing(StreamEnd.DOUBT)
    hosts = field_values(fields, b"host")
    if len(hosts) > 1 or (not hosts and minor != b"0"):
        raise StopParsing(StreamEnd.REFUSED)
    if hosts and not HOST.fullmatch(hosts[0]):
        raise StopParsing(StreamEnd.DOUBT if not hosts[0] else StreamEnd.REFUSED)
    if field_values(fields, b"upgrade") or field_values(fields, b"expect"):
        raise StopParsing(StreamEnd.DOUBT)
    body, rest = parse_body(fields, minor, rest)
    words = {
        word.strip().lower()
        for value in field_values(fields, b"connection")
        for word in value.split(b",")
    }
    requests.append(ParsedRequest(method.decode(), target, body))
    return rest, b"close" in words or (minor == b"0" and b"keep-alive" not in words)


def field_values(fields: list[tuple[bytes, bytes]], name: bytes) -> list[bytes]:
    return [value for key, value in fields if key == name]


def is_ambiguous_request_line(line: bytes) -> bool:
    """A request line that RFC 9112, 3 lets a lenient server read in its own way."""
    return bool(re.fullmatch(rb"[^\r\n]*", line)) and line.split() != line.split(b" ")


def classify_partial_head(lines: list[bytes]) -> StreamEnd:
    """What to make of a head that has not ended: nothing is wrong, or something may be."""
    match = REQUEST_LINE.fullmatch(lines[0])
    whole = (
        match and match[1] in KNOWN_METHODS and all(FIELD.fullmatch(line) for line in lines[1:-1])
    )
    plain = not re.search(rb"[^\x21-\x7e ]", lines[-1])
    return StreamEnd.WAITING if whole and plain else StreamEnd.DOUBT


def parse_body(fields: list[tuple[bytes, bytes]], minor: bytes, rest: bytes) -> tuple[bytes, bytes]:
    lengths, codings = (
        field_values(fields, b"content-length"),
        field_values(fields, b"transfer-encoding"),
    )
    if codings:
        if lengths or minor == b"0" or [each.lower() for each in codings] != [b"chunked"]:
            raise StopParsing(StreamEnd.REFUSED)
        return parse_chunks(rest)
    if not lengths:
        return b"", rest
    if len(lengths) > 1 or not re.fullmatch(rb"[0-9]+", lengths[0]) or len(lengths[0]) > 18:
        raise StopParsing(StreamEnd.REFUSED)
    length = int(lengths[0])
    if length > 100_000:
        raise StopParsing(StreamEnd.REFUSED if length > 1 << 20 else StreamEnd.DOUBT)
    if len(rest) < length:
        raise StopParsing(StreamEnd.WAITING)
    return rest[:length], rest[length:]


def parse_chunks(rest: bytes) -> tuple[bytes, bytes]:
    body = b""
    while True:
        line, end, after = rest.partition(b"\r\n")
        if not end:
            raise StopParsing(StreamEnd.DOUBT if rest else StreamEnd.WAITING)
        match = CHUNK_LINE.fullmatch(line)
        if not match:
            # An extension may hold spaces and quoted strings; anything else is an error.
            raise StopParsing(
                StreamEnd.DOUBT if re.match(rb"[0-9A-Fa-f]+[ \t]*;", line) else StreamEnd.REFUSED
            )
        if len(match[1].lstrip(b"0")) > 5:
            raise StopParsing(StreamEnd.REFUSED)
        if match[2] and not re.fullmatch(
            rb"([ \t]*;[ \t]*" + TOKEN + rb"([ \t]*=[ \t]*" + TOKEN + rb")?)+", match[2]
        ):
            raise StopParsing(StreamEnd.DOUBT)
        size = int(match[1], 16)
        if not size:
            return body, parse_trailers(after)
        if len(after) < size + 2:
            wrong = len(after) > size and not b"\r\n".startswith(after[size:])
            raise StopParsing(StreamEnd.REFUSED if wrong else StreamEnd.WAITING)
        if after[size : size + 2] != b"\r\n":
            raise StopParsing(StreamEnd.REFUSED)
        body, rest = body + after[:size], after[size + 2 :]


def parse_trailers(rest: bytes) -> bytes:
    while not rest.startswith(b"\r\n"):
        line, end, rest = rest.partition(b"\r\n")
        if not end:
            raise StopParsing(StreamEnd.DOUBT if line else StreamEnd.WAITING)
        pair = FIELD.fullmatch(line)
        if not pair or pair[1].lower() in (b"content-length", b"transfer-encoding"):
            raise StopParsing(StreamEnd.REFUSED)
    return rest[2:]
