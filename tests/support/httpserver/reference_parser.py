"""A second opinion: what a strict reader takes from a client's bytes (RFC 9110, 9112).

Written from the RFCs alone and in the plainest way: whole messages, regular expressions.
"""

import re
from dataclasses import dataclass, field
from enum import Enum

TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
LINE = re.compile(rb"(" + TOKEN + rb") ([\x21-\x7e]+) HTTP/1\.([0-9])")
FIELD = re.compile(rb"(" + TOKEN + rb"):[ \t]*((?:[\x21-\x7e\x80-\xff \t]*[\x21-\x7e\x80-\xff])?)"
                   rb"[ \t]*")  # fmt: skip
HOST = re.compile(
    rb"(?:\[[0-9A-Fa-f:.]+\]|(?:[A-Za-z0-9\-._~!$&'()*+;=]|%[0-9A-Fa-f]{2})+)(?::[0-9]*)?"
)
CHUNK = re.compile(rb"([0-9A-Fa-f]{1,15})((?:[ \t]*;[ \t]*[\x21-\x3a\x3c-\x7e]+(?:[ \t]*=[ \t]*"
                   rb"[\x21-\x3a\x3c-\x7e]+)?)*)")  # fmt: skip
SURE = {b"GET", b"POST", b"PUT", b"DELETE", b"OPTIONS", b"HEAD", b"PATCH"}


class End(Enum):
    """How the bytes of a connection end."""

    WAITING = "everything is answered, or a request is still coming"
    CLOSING = "the last answer closes"
    REFUSED = "malformed: an error is answered, and the connection closed"
    DOUBT = "what a server may take or refuse"


@dataclass
class Asked:
    method: str
    target: bytes
    body: bytes


@dataclass
class Reading:
    requests: list[Asked] = field(default_factory=list)
    end: End = End.WAITING


class Stop(Exception):
    def __init__(self, end: End) -> None:
        self.end = end


def read(data: bytes) -> Reading:
    reading = Reading()
    try:
        while data:
            data, last = one(data, reading.requests)
            if last:
                reading.end = End.CLOSING
                break
    except Stop as stop:
        reading.end = stop.end
    return reading


def one(data: bytes, requests: list[Asked]) -> tuple[bytes, bool]:
    """Take one request off `data`; true if its answer closes."""
    if data.startswith(b"\r\n"):
        data = data[2:]
        if data.startswith((b"\r", b"\n")):
            raise Stop(End.DOUBT)
        if not data:
            raise Stop(End.WAITING)
    head, blank, rest = data.partition(b"\r\n\r\n")
    lines = head.split(b"\r\n")
    if not blank:
        raise Stop(suspect(lines))
    match = LINE.fullmatch(lines[0])
    if not match:
        raise Stop(End.DOUBT if doubtful(lines[0]) else End.REFUSED)
    method, target, minor = match.groups()
    fields: list[tuple[bytes, bytes]] = []
    for line in lines[1:]:
        pair = FIELD.fullmatch(line)
        if not pair:
            raise Stop(End.REFUSED)
        fields.append((pair[1].lower(), pair[2]))
        if pair[1].lower() == b"transfer-encoding" and line != line.rstrip(b" \t"):
            raise Stop(End.DOUBT)  # llhttp takes the blanks as part of the coding
    if method not in SURE or not target.startswith(b"/") or b"#" in target:
        raise Stop(End.DOUBT)
    hosts = values(fields, b"host")
    if len(hosts) > 1 or (not hosts and minor != b"0"):
        raise Stop(End.REFUSED)
    if hosts and not HOST.fullmatch(hosts[0]):
        raise Stop(End.DOUBT if not hosts[0] else End.REFUSED)
    if values(fields, b"upgrade") or values(fields, b"expect"):
        raise Stop(End.DOUBT)
    body, rest = body_of(fields, minor, rest)
    words = {
        word.strip().lower()
        for value in values(fields, b"connection")
        for word in value.split(b",")
    }
    requests.append(Asked(method.decode(), target, body))
    return rest, b"close" in words or (minor == b"0" and b"keep-alive" not in words)


def values(fields: list[tuple[bytes, bytes]], name: bytes) -> list[bytes]:
    return [value for key, value in fields if key == name]


def doubtful(line: bytes) -> bool:
    """A request line that RFC 9112, 3 lets a lenient server read in its own way."""
    return bool(re.fullmatch(rb"[^\r\n]*", line)) and line.split() != line.split(b" ")


def suspect(lines: list[bytes]) -> End:
    """What to make of a head that has not ended: nothing is wrong, or something may be."""
    match = LINE.fullmatch(lines[0])
    whole = match and match[1] in SURE and all(FIELD.fullmatch(line) for line in lines[1:-1])
    plain = not re.search(rb"[^\x21-\x7e ]", lines[-1])
    return End.WAITING if whole and plain else End.DOUBT


def body_of(fields: list[tuple[bytes, bytes]], minor: bytes, rest: bytes) -> tuple[bytes, bytes]:
    lengths, codings = values(fields, b"content-length"), values(fields, b"transfer-encoding")
    if codings:
        if lengths or minor == b"0" or [each.lower() for each in codings] != [b"chunked"]:
            raise Stop(End.REFUSED)
        return dechunked(rest)
    if not lengths:
        return b"", rest
    if len(lengths) > 1 or not re.fullmatch(rb"[0-9]+", lengths[0]) or len(lengths[0]) > 18:
        raise Stop(End.REFUSED)
    length = int(lengths[0])
    if length > 100_000:
        raise Stop(End.REFUSED if length > 1 << 20 else End.DOUBT)
    if len(rest) < length:
        raise Stop(End.WAITING)
    return rest[:length], rest[length:]


def dechunked(rest: bytes) -> tuple[bytes, bytes]:
    body = b""
    while True:
        line, end, after = rest.partition(b"\r\n")
        if not end:
            raise Stop(End.DOUBT if rest else End.WAITING)
        match = CHUNK.fullmatch(line)
        if not match:
            # An extension may hold spaces and quoted strings; anything else is an error.
            raise Stop(End.DOUBT if re.match(rb"[0-9A-Fa-f]+[ \t]*;", line) else End.REFUSED)
        if len(match[1].lstrip(b"0")) > 5:
            raise Stop(End.REFUSED)
        if match[2] and not re.fullmatch(
            rb"([ \t]*;[ \t]*" + TOKEN + rb"([ \t]*=[ \t]*" + TOKEN + rb")?)+", match[2]
        ):
            raise Stop(End.DOUBT)
        size = int(match[1], 16)
        if not size:
            return body, trailers(after)
        if len(after) < size + 2:
            wrong = len(after) > size and not b"\r\n".startswith(after[size:])
            raise Stop(End.REFUSED if wrong else End.WAITING)
        if after[size : size + 2] != b"\r\n":
            raise Stop(End.REFUSED)
        body, rest = body + after[:size], after[size + 2 :]


def trailers(rest: bytes) -> bytes:
    while not rest.startswith(b"\r\n"):
        line, end, rest = rest.partition(b"\r\n")
        if not end:
            raise Stop(End.DOUBT if line else End.WAITING)
        pair = FIELD.fullmatch(line)
        if not pair or pair[1].lower() in (b"content-length", b"transfer-encoding"):
            raise Stop(End.REFUSED)
    return rest[2:]
