"""What a head says about its request: where it goes, how long it is, what comes after it.

llhttp, strict, has judged the head's syntax before any of this looks at it. The rules here are
those that it leaves open (RFC 9112, sections 3 and 6), taken at their strictest, because a proxy
in front that reads a request otherwise than we do is a hole: no rule is bent to be helpful.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from httpserver.refusal import RequestRefusal

# The lines that framing depends on, and that of X-Request-Id, which costs nothing to find here;
# [^\r] is safe, as llhttp refuses a bare CR.
find_framing_lines = re.compile(
    rb"\r\n([hcteux](?:ost|onnection|ontent-(?:length|encoding)|ransfer-encoding|xpect|pgrade|"
    rb"-request-id):[^\r]*)",
    re.IGNORECASE,
).findall

# The methods that lanes and Tornado's handlers can implement.
HTTP_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")

# RFC 9110, section 5.6.2.
TOKEN_PATTERN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_REQUEST_LINE = re.compile(b"(" + TOKEN_PATTERN + rb") ([!-~]+) HTTP/([0-9])\.([0-9])")
# What may still become such a line when more of it arrives.
_REQUEST_LINE_PREFIX = re.compile(
    b"(?:"
    + TOKEN_PATTERN
    + rb"(?: (?:[!-~]+(?: (?:H(?:T(?:T(?:P(?:/(?:[0-9](?:\.(?:[0-9]\r?)?)?)?)?)?)?)?)?)?)?)?)?"
)
# A minor version that llhttp refuses, and a server must take for HTTP/1.1 (RFC 9110, section 2.5).
_NEWER_MINOR_VERSION = re.compile(rb"(?<= HTTP/1\.)[2-9](?=\r?\Z)")
# A transfer coding and its parameters (RFC 9112, section 7).
_TRANSFER_CODING = re.compile(
    b"[ \t]*("
    + TOKEN_PATTERN
    + rb")((?:[ \t]*;[ \t]*"
    + TOKEN_PATTERN
    + rb'[ \t]*=[ \t]*(?:"(?:[^"\\]|\\.)*"|'
    + TOKEN_PATTERN
    + rb"))*)[ \t]*"
)
# Neither blanks, controls and what is not ASCII, nor what no URI holds and a log or page may trip
# over. Other characters that RFC 3986 leaves out, such as |, are sent by browsers.
_TARGET_CHARACTERS = re.compile(rb"[!$-;=?-~]+")
_ABSOLUTE_TARGET = re.compile(rb"https?://([^/?]+)([/?].*)?", re.IGNORECASE)
_HOST_PATTERN = re.compile(
    rb"(?:\[[0-9A-Fa-f:.]+\]|(?:[A-Za-z0-9\-._~!$&'()*+;=]|%[0-9A-Fa-f]{2})+)(?::[0-9]*)?"
)
# Octets that mean the same when they are percent-encoded (RFC 3986, section 6.2.2.2).
_ENCODED_UNRESERVED = re.compile(
    rb"%(?:2[DdEe]|3[0-9]|4[1-9A-Fa-f]|5[0-9AaFf]|6[1-9A-Fa-f]|7[0-9AaEe])"
)
CHUNKED_LENGTH = -1


@dataclass(frozen=True, slots=True)
class RequestFraming:
    """How a request is framed.

    `length` is that of its body, `CHUNKED` if only its chunks tell. `plain` says that nothing
    but a head has come and that the connection stays: the way nearly all requests are.
    """

    host: str
    keep_alive: bool
    length: int
    expects: bool
    websocket: bool
    plain: bool


def find_head_end(seen: bytes, data: bytes, at: int) -> int:
    """Where in `data`, from `at` on, the head ends of which `seen` came before; 0 if nowhere."""
    if seen:
        seam = seen[-3:]
        found = (seam + data[at : at + 3]).find(b"\r\n\r\n")
        if found >= 0:
            return at + found + 4 - len(seam)
    found = data.find(b"\r\n\r\n", at)
    return found + 4 if found >= 0 else 0


def check_head_size(head: bytes, line: int, headers: int) -> None:
    """Raise `Refusal` if the head, or what there is of it, is larger than the limits."""
    end = head.find(b"\r\n")
    if (end if end >= 0 else len(head.removesuffix(b"\r"))) > line:
        raise RequestRefusal(414, f"The request line may have {line} bytes.")
    if end >= 0 and len(head) - end - 2 > headers:
        raise RequestRefusal(431, f"The header fields may have {headers} bytes.")


def parse_request_line(line: bytes) -> tuple[str, bytes, int]:
    """Method, target and minor version; raises `Refusal`."""
    match = _REQUEST_LINE.fullmatch(line)
    if match is None:
        raise RequestRefusal(400, _describe_malformed_line(line))
    method, target, major, minor = match.groups()
    if major != b"1":
        raise RequestRefusal(505, "This server supports HTTP/1.1 and HTTP/1.0.")
    if method == b"CONNECT":  # whose target is another server's
        raise RequestRefusal(501, "This server is not a proxy: it does not implement CONNECT.")
    if not _TARGET_CHARACTERS.fullmatch(target):
        raise RequestRefusal(
            400, "The request target holds characters that must be percent-encoded."
        )
    return method.decode(), target, min(int(minor), 1)


def require_known_method(method: str) -> None:
    """Raise `Refusal` (501) for a method that llhttp may have refused because it knows none such.

    Methods that it knows, such as PROPFIND, go to the application, which allows them or not.
    """
    if method not in HTTP_METHODS:
        known = ", ".join(HTTP_METHODS)
        # Not repeated: a client that garbles a request may have put anything in the method's place.
        raise RequestRefusal(
            501, f"This server does not implement the request's method: use {known}."
        )


def _describe_malformed_line(line: bytes) -> str:
    """Describe a request line that is not valid, with the cause where it is a common one."""
    if line[:6] == b"PROXY ":
        return (
            "This is a line of the PROXY protocol, which this server does not support: "
            "configure the proxy to send X-Forwarded-For instead."
        )
    if line[:2] == b"\x16\x03":
        return "This is a TLS handshake, but this port takes plain HTTP: use http://."
    return "The request line must be a method, a target and a version, with one space between each."


def partial_request_line(head: bytes) -> tuple[bytes, bool]:
    """Return the request line at the start of `head`, and whether it is complete."""
    line, end, _ = head.removeprefix(b"\r\n").partition(b"\r\n")
    return line, bool(end)


def may_become_valid(head: bytes) -> bool:
    """Whether `head` has no complete request line, but may get a valid one."""
    line, complete = partial_request_line(head)
    return not complete and _REQUEST_LINE_PREFIX.fullmatch(line) is not None


def as_http_1_1(head: bytes) -> bytes | None:
    """Return `head` as an HTTP/1.1 head if it is of a later minor version, else None."""
    line, _ = partial_request_line(head)
    changed = _NEWER_MINOR_VERSION.sub(b"1", line)
    return None if changed == line else head.replace(line, changed, 1)


def parse_target(method: str, target: bytes) -> tuple[bytes, bytes | None]:
    """The target as path and query, and the authority that an absolute one names.

    Unreserved characters of the path are decoded. Raises `Refusal` for what is neither a path nor
    an absolute URL; "*" is for OPTIONS alone.
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
        _ENCODED_UNRESERVED.sub(lambda found: bytes.fromhex(found[0][1:].decode()), path)
        + mark
        + query
    )


def parse_framing(lines: tuple[bytes, ...], minor: int) -> RequestFraming:
    """Take the head's special lines apart; raises `Refusal` for any doubt."""
    found: dict[bytes, list[bytes]] = {}
    for line in lines:
        name, _, value = line.partition(b":")
        found.setdefault(name.lower(), []).append(value.strip(b" \t"))
    host = _parse_host_field(found.get(b"host", []), minor)
    length = _body_length(found, minor)
    if length and b"content-encoding" in found:
        require_uncompressed(found[b"content-encoding"])
    tokens = {
        token.strip(b" \t").lower()
        for value in found.get(b"connection", [])
        for token in value.split(b",")
    }
    keep_alive = b"close" not in tokens and (minor == 1 or b"keep-alive" in tokens)
    expects = _expects_continue(found.get(b"expect", []), minor)
    upgrades = b",".join(found.get(b"upgrade", [])).lower() if b"upgrade" in tokens else b""
    websocket = b"websocket" in upgrades
    plain = keep_alive and minor == 1 and length == 0
    return RequestFraming(host, keep_alive, length, expects, websocket, plain)


def parse_host(value: bytes) -> str:
    """The Host (or authority) as text; raises `Refusal` if it is none."""
    if value and not _HOST_PATTERN.fullmatch(value):
        raise RequestRefusal(400, "Host is not a host's name.")
    return value.decode("ascii")


def require_uncompressed(codings: Iterable[bytes]) -> None:
    """Raise `Refusal` (415) if a body with these Content-Encoding fields is compressed."""
    for each in b",".join(codings).split(b","):
        name = each.strip(b" \t")
        if name and name.lower() != b"identity":
            coding = name[:40].decode("latin-1")
            raise RequestRefusal(
                415,
                f"The body is compressed (Content-Encoding: {coding}), and this server takes only "
                "uncompressed ones: send it as it is, without Content-Encoding.",
            )


def _parse_host_field(values: list[bytes], minor: int) -> str:
    if len(values) > 1:
        raise RequestRefusal(400, "There must be one Host, not several.")
    if not values:
        if minor == 0:
            return ""
        raise RequestRefusal(400, "A request must name its Host.")
    return parse_host(values[0])


def _body_length(found: dict[bytes, list[bytes]], minor: int) -> int:
    lengths = found.get(b"content-length", [])
    encodings = found.get(b"transfer-encoding", [])
    if encodings:
        if minor == 0:
            raise RequestRefusal(400, "HTTP/1.0 has no Transfer-Encoding.")
        if lengths:
            raise RequestRefusal(400, "Content-Length and Transfer-Encoding exclude each other.")
        _require_only_chunked(b",".join(encodings))
        return CHUNKED_LENGTH
    if not lengths:
        return 0
    if len(lengths) > 1 or not lengths[0].isdigit() or len(lengths[0]) > 18:
        raise RequestRefusal(400, "Content-Length must be one number.")
    return int(lengths[0])


def _require_only_chunked(value: bytes) -> None:
    """Raise `Refusal` unless the transfer codings are chunked alone (RFC 9112, section 6.1).

    501 if chunked ends the body and another coding is below it: the body's end is certain, its
    content is not. Everything else leaves the end in doubt, and is 400.
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
            400, "Transfer-Encoding must end with chunked, without parameters, once."
        )
    raise RequestRefusal(501, "The only transfer coding that this server implements is chunked.")


def _expects_continue(values: list[bytes], minor: int) -> bool:
    if not values or minor == 0:
        return False
    if len(values) > 1 or values[0].lower() != b"100-continue":
        raise RequestRefusal(417, "The only expectation met is 100-continue.")
    return True
