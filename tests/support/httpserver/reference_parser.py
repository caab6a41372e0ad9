"""Reference parser of HTTP/1.1 requests, to compare the server with (RFC 9110, RFC 9112).

Written from the RFCs alone: it parses complete messages with regular expressions.
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
    """What a server must do at the end of a connection's bytes."""

    WAIT = "wait for another request, or for the rest of one"
    CLOSE = "close after the last response"
    REJECT = "respond with an error and close"
    UNSPECIFIED = "accept or reject, as the RFCs allow both"


@dataclass
class ParsedRequest:
    method: str
    target: bytes
    body: bytes


@dataclass
class ParsedStream:
    requests: list[ParsedRequest] = field(default_factory=list)
    end: StreamEnd = StreamEnd.WAIT


class StopParsing(Exception):
    """Ends parsing before the end of the bytes."""

    def __init__(self, end: StreamEnd) -> None:
        self.end = end


def parse_stream(data: bytes) -> ParsedStream:
    stream = ParsedStream()
    try:
        while data:
            data, is_last = parse_request(data, stream.requests)
            if is_last:
                stream.end = StreamEnd.CLOSE
                break
    except StopParsing as stop:
        stream.end = stop.end
    return stream


def parse_request(data: bytes, requests: list[ParsedRequest]) -> tuple[bytes, bool]:
    """Parse one request; return the rest of `data`, and whether the response closes."""
    if data.startswith(b"\r\n"):
        data = data[2:]
        if data.startswith((b"\r", b"\n")):
            raise StopParsing(StreamEnd.UNSPECIFIED)
        if not data:
            raise StopParsing(StreamEnd.WAIT)
    head, blank, rest = data.partition(b"\r\n\r\n")
    lines = head.split(b"\r\n")
    if not blank:
        raise StopParsing(classify_partial_head(lines))
    match = REQUEST_LINE.fullmatch(lines[0])
    if not match:
        raise StopParsing(
            StreamEnd.UNSPECIFIED if is_ambiguous_request_line(lines[0]) else StreamEnd.REJECT
        )
    method, target, minor = match.groups()
    fields: list[tuple[bytes, bytes]] = []
    for line in lines[1:]:
        pair = FIELD.fullmatch(line)
        if not pair:
            raise StopParsing(StreamEnd.REJECT)
        fields.append((pair[1].lower(), pair[2]))
        if pair[1].lower() == b"transfer-encoding" and line != line.rstrip(b" \t"):
            raise StopParsing(
                StreamEnd.UNSPECIFIED
            )  # llhttp treats the spaces as part of the coding
    if method not in KNOWN_METHODS or not target.startswith(b"/") or b"#" in target:
        raise StopParsing(StreamEnd.UNSPECIFIED)
    hosts = field_values(fields, b"host")
    if len(hosts) > 1 or (not hosts and minor != b"0"):
        raise StopParsing(StreamEnd.REJECT)
    if hosts and not HOST.fullmatch(hosts[0]):
        raise StopParsing(StreamEnd.UNSPECIFIED if not hosts[0] else StreamEnd.REJECT)
    if field_values(fields, b"upgrade") or field_values(fields, b"expect"):
        raise StopParsing(StreamEnd.UNSPECIFIED)
    body, rest = parse_body(fields, minor, rest)
    options = {
        option.strip().lower()
        for value in field_values(fields, b"connection")
        for option in value.split(b",")
    }
    requests.append(ParsedRequest(method.decode(), target, body))
    return rest, b"close" in options or (minor == b"0" and b"keep-alive" not in options)


def field_values(fields: list[tuple[bytes, bytes]], name: bytes) -> list[bytes]:
    return [value for key, value in fields if key == name]


def is_ambiguous_request_line(line: bytes) -> bool:
    """Return whether RFC 9112, section 3 lets a lenient server accept the request line."""
    return bool(re.fullmatch(rb"[^\r\n]*", line)) and line.split() != line.split(b" ")


def classify_partial_head(lines: list[bytes]) -> StreamEnd:
    """Return WAIT for the start of a valid head, and UNSPECIFIED otherwise."""
    match = REQUEST_LINE.fullmatch(lines[0])
    is_valid = (
        match and match[1] in KNOWN_METHODS and all(FIELD.fullmatch(line) for line in lines[1:-1])
    )
    is_ascii = not re.search(rb"[^\x21-\x7e ]", lines[-1])
    return StreamEnd.WAIT if is_valid and is_ascii else StreamEnd.UNSPECIFIED


def parse_body(fields: list[tuple[bytes, bytes]], minor: bytes, rest: bytes) -> tuple[bytes, bytes]:
    lengths, codings = (
        field_values(fields, b"content-length"),
        field_values(fields, b"transfer-encoding"),
    )
    if codings:
        if lengths or minor == b"0" or [each.lower() for each in codings] != [b"chunked"]:
            raise StopParsing(StreamEnd.REJECT)
        return parse_chunks(rest)
    if not lengths:
        return b"", rest
    if len(lengths) > 1 or not re.fullmatch(rb"[0-9]+", lengths[0]) or len(lengths[0]) > 18:
        raise StopParsing(StreamEnd.REJECT)
    length = int(lengths[0])
    if length > 100_000:
        raise StopParsing(StreamEnd.REJECT if length > 1 << 20 else StreamEnd.UNSPECIFIED)
    if len(rest) < length:
        raise StopParsing(StreamEnd.WAIT)
    return rest[:length], rest[length:]


def parse_chunks(rest: bytes) -> tuple[bytes, bytes]:
    body = b""
    while True:
        line, end, after = rest.partition(b"\r\n")
        if not end:
            raise StopParsing(StreamEnd.UNSPECIFIED if rest else StreamEnd.WAIT)
        match = CHUNK_LINE.fullmatch(line)
        if not match:
            # Extensions may hold spaces and quoted strings, which this parser does not parse.
            raise StopParsing(
                StreamEnd.UNSPECIFIED
                if re.match(rb"[0-9A-Fa-f]+[ \t]*;", line)
                else StreamEnd.REJECT
            )
        if len(match[1].lstrip(b"0")) > 5:
            raise StopParsing(StreamEnd.REJECT)
        if match[2] and not re.fullmatch(
            rb"([ \t]*;[ \t]*" + TOKEN + rb"([ \t]*=[ \t]*" + TOKEN + rb")?)+", match[2]
        ):
            raise StopParsing(StreamEnd.UNSPECIFIED)
        size = int(match[1], 16)
        if not size:
            return body, parse_trailers(after)
        if len(after) < size + 2:
            is_invalid = len(after) > size and not b"\r\n".startswith(after[size:])
            raise StopParsing(StreamEnd.REJECT if is_invalid else StreamEnd.WAIT)
        if after[size : size + 2] != b"\r\n":
            raise StopParsing(StreamEnd.REJECT)
        body, rest = body + after[:size], after[size + 2 :]


def parse_trailers(rest: bytes) -> bytes:
    while not rest.startswith(b"\r\n"):
        line, end, rest = rest.partition(b"\r\n")
        if not end:
            raise StopParsing(StreamEnd.UNSPECIFIED if line else StreamEnd.WAIT)
        pair = FIELD.fullmatch(line)
        if not pair or pair[1].lower() in (b"content-length", b"transfer-encoding"):
            raise StopParsing(StreamEnd.REJECT)
    return rest[2:]
