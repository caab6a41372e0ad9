"""Request target, body length and connection options from a request's head.

llhttp, in strict mode, has validated the syntax of the head. The checks here are those that it
leaves open (RFC 9112, sections 3 and 6), in their strictest form: if a proxy and this server
interpret a request differently, an attacker can smuggle one past the proxy.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from httpserver.refusal import RequestRefusal

# The fields that determine the framing, and X-Request-Id, which is free to find in the same pass.
# [^\r] is safe, because llhttp rejects a bare CR.
find_framing_lines = re.compile(
    rb"\r\n([hcteux](?:ost|onnection|ontent-(?:length|encoding)|ransfer-encoding|xpect|pgrade|"
    rb"-request-id):[^\r]*)",
    re.IGNORECASE,
).findall

# The methods that fast routes and Tornado handlers can implement.
HTTP_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")

# token (RFC 9110, section 5.6.2)
TOKEN_PATTERN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_REQUEST_LINE = re.compile(b"(" + TOKEN_PATTERN + rb") ([!-~]+) HTTP/([0-9])\.([0-9])")
# A prefix of a request line, of which more bytes may follow.
_REQUEST_LINE_PREFIX = re.compile(
    b"(?:"
    + TOKEN_PATTERN
    + rb"(?: (?:[!-~]+(?: (?:H(?:T(?:T(?:P(?:/(?:[0-9](?:\.(?:[0-9]\r?)?)?)?)?)?)?)?)?)?)?)?)?"
)
# Minor versions that llhttp rejects. A server treats them as HTTP/1.1 (RFC 9110, section 2.5).
_NEWER_MINOR_VERSION = re.compile(rb"(?<= HTTP/1\.)[2-9](?=\r?\Z)")
# A transfer coding with its parameters (RFC 9112, section 7).
_TRANSFER_CODING = re.compile(
    b"[ \t]*("
    + TOKEN_PATTERN
    + rb")((?:[ \t]*;[ \t]*"
    + TOKEN_PATTERN
    + rb'[ \t]*=[ \t]*(?:"(?:[^"\\]|\\.)*"|'
    + TOKEN_PATTERN
    + rb"))*)[ \t]*"
)
# Excludes whitespace, controls, non-ASCII characters, and those to escape in logs or pages.
# Others that RFC 3986 excludes, such as |, are allowed, because browsers send them.
_TARGET_CHARACTERS = re.compile(rb"[!$-;=?-~]+")
_ABSOLUTE_TARGET = re.compile(rb"https?://([^/?]+)([/?].*)?", re.IGNORECASE)
_HOST_PATTERN = re.compile(
    rb"(?:\[[0-9A-Fa-f:.]+\]|(?:[A-Za-z0-9\-._~!$&'()*+;=]|%[0-9A-Fa-f]{2})+)(?::[0-9]*)?"
)
# Percent-encoded unreserved characters, equivalent to the plain ones (RFC 3986, section 6.2.2.2).
_ENCODED_UNRESERVED = re.compile(
    rb"%(?:2[DdEe]|3[0-9]|4[1-9A-Fa-f]|5[0-9AaFf]|6[1-9A-Fa-f]|7[0-9AaEe])"
)
# `RequestFraming.length` of a chunked body, whose size is unknown in advance.
CHUNKED_LENGTH = -1


@dataclass(frozen=True, slots=True)
class RequestFraming:
    """The framing of a request.

    `length` is the size of the body in bytes, or `CHUNKED_LENGTH`. `is_simple` marks the most
    frequent kind: HTTP/1.1 without a body on a connection that stays open.
    """

    host: str
    keep_alive: bool
    length: int
    expects_continue: bool
    wants_websocket: bool
    is_simple: bool


def find_head_end(partial_head: bytes, data: bytes, at: int) -> int:
    """Return the end of the head in `data[at:]` that continues `partial_head`; 0 if incomplete."""
    if partial_head:
        seam = partial_head[-3:]
        start = (seam + data[at : at + 3]).find(b"\r\n\r\n")
        if start >= 0:
            return at + start + 4 - len(seam)
    start = data.find(b"\r\n\r\n", at)
    return start + 4 if start >= 0 else 0


def check_head_size(head: bytes, line_limit: int, header_limit: int) -> None:
    """Raise `RequestRefusal` if a complete or partial head exceeds the limits in bytes."""
    end = head.find(b"\r\n")
    if (end if end >= 0 else len(head.removesuffix(b"\r"))) > line_limit:
        raise RequestRefusal(414, f"The request line is longer than {line_limit} bytes.")
    if end >= 0 and len(head) - end - 2 > header_limit:
        raise RequestRefusal(431, f"The header fields are larger than {header_limit} bytes.")


def parse_request_line(line: bytes) -> tuple[str, bytes, int]:
    """Return method, target and minor version; raise `RequestRefusal` for an invalid line."""
    match = _REQUEST_LINE.fullmatch(line)
    if match is None:
        raise RequestRefusal(400, _describe_malformed_line(line))
    method, target, major, minor = match.groups()
    if major != b"1":
        raise RequestRefusal(505, "This server supports HTTP/1.1 and HTTP/1.0.")
    if method == b"CONNECT":
        raise RequestRefusal(501, "This server is not a proxy: it does not implement CONNECT.")
    if not _TARGET_CHARACTERS.fullmatch(target):
        raise RequestRefusal(
            400, "The request target contains characters that must be percent-encoded."
        )
    return method.decode(), target, min(int(minor), 1)


def require_known_method(method: str) -> None:
    """Raise `RequestRefusal` (501) for a method that llhttp may have rejected as unknown.

    Methods that llhttp knows, such as PROPFIND, reach the application, which returns 405.
    """
    if method not in HTTP_METHODS:
        known = ", ".join(HTTP_METHODS)
        # The method is not echoed: in a garbled request it may be anything, such as a password.
        raise RequestRefusal(
            501, f"This server does not implement the request's method: use {known}."
        )


def _describe_malformed_line(line: bytes) -> str:
    """Return an error message for an invalid request line that names the usual causes."""
    if line[:6] == b"PROXY ":
        return (
            "The request starts with a PROXY protocol line, which this server does not support: "
            "configure the proxy to send X-Forwarded-For instead."
        )
    if line[:2] == b"\x16\x03":
        return "This is a TLS handshake, but this port serves plain HTTP: use http://."
    return "The request line must be method, target and version, separated by single spaces."


def partial_request_line(head: bytes) -> tuple[bytes, bool]:
    """Return the request line at the start of `head`, and whether it is complete.

    A server ignores an empty line before it (RFC 9112, section 2.2).
    """
    line, end, _ = head.removeprefix(b"\r\n").partition(b"\r\n")
    return line, bool(end)


def may_become_valid(head: bytes) -> bool:
    """Return whether `head` is the start of a request line that can still become valid."""
    line, complete = partial_request_line(head)
    return not complete and _REQUEST_LINE_PREFIX.fullmatch(line) is not None


def as_http_1_1(head: bytes) -> bytes | None:
    """Return `head` with its version changed to HTTP/1.1 if it is a later 1.x, else None."""
    line, _ = partial_request_line(head)
    changed = _NEWER_MINOR_VERSION.sub(b"1", line)
    return None if changed == line else head.replace(line, changed, 1)


def parse_target(method: str, target: bytes) -> tuple[bytes, bytes | None]:
    """Return path and query of a target, and the authority of an absolute one.

    Unreserved characters of the path are decoded. Raise `RequestRefusal` unless the target is a
    path, an absolute http URL, or "*" with OPTIONS.
    """
    if target[:1] == b"/":
        return _decode_unreserved(target), None
    if target == b"*" and method == "OPTIONS":
        return target, None
    match = _ABSOLUTE_TARGET.fullmatch(target)
    if match is None:
        raise RequestRefusal(400, "The request target is neither a path nor an absolute http URL.")
    authority, rest = match[1], match[2] or b"/"
    return _decode_unreserved(rest if rest[:1] == b"/" else b"/" + rest), authority


def _decode_unreserved(target: bytes) -> bytes:
    if b"%" not in target:
        return target
    path, mark, query = target.partition(b"?")
    return (
        _ENCODED_UNRESERVED.sub(lambda match: bytes.fromhex(match[0][1:].decode()), path)
        + mark
        + query
    )


def parse_framing(lines: tuple[bytes, ...], http_minor: int) -> RequestFraming:
    """Parse the lines of `find_framing_lines`; raise `RequestRefusal` for ambiguous framing."""
    fields: dict[bytes, list[bytes]] = {}
    for line in lines:
        name, _, value = line.partition(b":")
        fields.setdefault(name.lower(), []).append(value.strip(b" \t"))
    host = _parse_host_field(fields.get(b"host", []), http_minor)
    length = _body_length(fields, http_minor)
    if length and b"content-encoding" in fields:
        require_uncompressed(fields[b"content-encoding"])
    tokens = {
        token.strip(b" \t").lower()
        for value in fields.get(b"connection", [])
        for token in value.split(b",")
    }
    keep_alive = b"close" not in tokens and (http_minor == 1 or b"keep-alive" in tokens)
    upgrades = b",".join(fields.get(b"upgrade", [])).lower() if b"upgrade" in tokens else b""
    return RequestFraming(
        host,
        keep_alive,
        length,
        expects_continue=_expects_continue(fields.get(b"expect", []), http_minor),
        wants_websocket=b"websocket" in upgrades,
        is_simple=keep_alive and http_minor == 1 and length == 0,
    )


def parse_host(value: bytes) -> str:
    """Return a Host or authority as text; raise `RequestRefusal` if it is invalid."""
    if value and not _HOST_PATTERN.fullmatch(value):
        raise RequestRefusal(400, "Host is not a valid host name.")
    return value.decode("ascii")


def require_uncompressed(codings: Iterable[bytes]) -> None:
    """Raise `RequestRefusal` (415) unless the Content-Encoding values are all "identity"."""
    for each in b",".join(codings).split(b","):
        name = each.strip(b" \t")
        if name and name.lower() != b"identity":
            coding = name[:40].decode("latin-1")
            raise RequestRefusal(
                415,
                f"The body is compressed (Content-Encoding: {coding}), which this server does not "
                "support: send it uncompressed, without Content-Encoding.",
            )


def _parse_host_field(values: list[bytes], http_minor: int) -> str:
    if len(values) > 1:
        raise RequestRefusal(400, "A request must have only one Host field.")
    if not values:
        if http_minor == 0:
            return ""
        raise RequestRefusal(400, "A request must have a Host field.")
    return parse_host(values[0])


def _body_length(fields: dict[bytes, list[bytes]], http_minor: int) -> int:
    lengths = fields.get(b"content-length", [])
    encodings = fields.get(b"transfer-encoding", [])
    if encodings:
        if http_minor == 0:
            raise RequestRefusal(400, "HTTP/1.0 does not support Transfer-Encoding.")
        if lengths:
            raise RequestRefusal(400, "Content-Length and Transfer-Encoding exclude each other.")
        _require_only_chunked(b",".join(encodings))
        return CHUNKED_LENGTH
    if not lengths:
        return 0
    if len(lengths) > 1 or not lengths[0].isdigit() or len(lengths[0]) > 18:
        raise RequestRefusal(400, "Content-Length must be a single number.")
    return int(lengths[0])


def _require_only_chunked(value: bytes) -> None:
    """Raise `RequestRefusal` unless chunked is the only transfer coding (RFC 9112, section 6.1).

    The status is 501 for another coding below a final chunked, because the body's end is known.
    Otherwise the end is ambiguous, and the status is 400.
    """
    if value.lower() == b"chunked":
        return
    codings: list[tuple[bytes, bytes]] = []
    at = 0
    while match := _TRANSFER_CODING.match(value, at):
        codings.append((match[1].lower(), match[2]))
        at = match.end() + 1
        if value[match.end() : at] != b",":
            break
    certain = at > len(value) and codings[-1:] == [(b"chunked", b"")]
    if not certain or sum(name == b"chunked" for name, _ in codings) > 1:
        raise RequestRefusal(
            400, "Transfer-Encoding must end with a single chunked, without parameters."
        )
    raise RequestRefusal(501, "The only transfer coding that this server implements is chunked.")


def _expects_continue(values: list[bytes], http_minor: int) -> bool:
    if not values or http_minor == 0:
        return False
    if len(values) > 1 or values[0].lower() != b"100-continue":
        raise RequestRefusal(417, "The only supported expectation is 100-continue.")
    return True
