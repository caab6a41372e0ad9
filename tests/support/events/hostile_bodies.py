"""Invalid and malicious bodies of event requests."""

import base64
import gzip
import json
from collections.abc import Iterator
from urllib.parse import quote

VALID_EVENT = {
    "session_id": "e2085be5-9137-4e4e-80b5-f1ffddc25423",
    "category": "page interaction",
    "name": "cta click",
    "data": {"host": "www.consumeraffairs.com", "path": "/", "element": "chat bubble"},
    "timestamp": "2021-01-01 09:15:27.243860",
}

# The body limit of fast routes is 262,144 bytes.
MAX_BODY_BYTES = 262_000


def event_body(**members: object) -> bytes:
    return json.dumps({**VALID_EVENT, **members}).encode()


def hostile_bodies() -> Iterator[bytes]:
    """Yield bodies with one error each, and bodies that are costly to parse."""
    yield from (
        b"",
        b" ",
        b"\0",
        b"{",
        b"}",
        b"[",
        b"]",
        b'"',
        b",",
        b":",
        b"{}",
        b"[[]]",
        b"nul",
        b"NaN",
    )
    yield from (b"{}" + bytes([byte]) for byte in range(256) if byte not in b" \t\r\n")
    yield from (bytes([byte]) * 3 for byte in range(128, 256))
    valid = event_body()
    yield from (valid[:length] for length in range(1, len(valid)))
    yield from (valid.replace(b"chat", b"ch%cat" % byte) for byte in range(32))
    yield from (valid[:offset] + b"\xff" + valid[offset:] for offset in range(len(valid)))
    for number in (
        b"NaN",
        b"1e999",
        b"9" * 30,
        b"-" + b"9" * 19,
        b'"\\ud800"',
        b'"\\u0000"',
        b"\x00",
        b"01",
        b"+1",
    ):
        yield event_body(data={"host": "h", "path": "/", "element": 0}).replace(
            b": 0}", b": " + number + b"}"
        )
    for levels in (31, 32, 33, 100, 900, 5_000, 100_000):
        yield event_body(name="x").replace(b'"www', b"[" * levels + b"]" * levels + b',"x":"www')
        yield b"[" * levels
        yield b'{"data":' * min(levels, 30_000)
    yield valid[:-1] + b',"name":"x"}'
    yield valid[:-1] + b',"\\u006eame":"x"}'
    yield b"\xef\xbb\xbf" + valid
    yield valid.decode().encode("utf-16")
    yield gzip.compress(valid, mtime=0)
    yield base64.b64encode(valid)
    yield b"'" + valid + b"'"
    yield b"data=" + quote(valid).encode()
    for name in VALID_EVENT:
        for value in (None, 1, 1.5, True, [], {}, "", "x" * 300, ["x"], {"a": 1}, "\x7f" * 201):
            if not (name == "data" and value == {"a": 1}):
                yield event_body(**{name: value})
    for timestamp in (
        "now",
        "2021",
        "2021-01-01",
        "0000-01-01 00:00:00",
        "9999-12-31 23:59:59",
        "2100-01-01 00:00:00",
    ):
        yield event_body(timestamp=timestamp)
    for length in (1_000, 100_000, 250_000):
        yield b'"' + b"\\" * length + b'"'
        yield b"[" + b"[]," * (length // 3) + b"[]]"
        yield b'{"' + b"a" * length + b'":1}'
        yield b"{" + b",".join(b'"%x":0' % n for n in range(length // 12)) + b"}"
        yield b"9" * length
        yield b"-0." + b"9" * length
        yield b" " * length
    # As many errors as fit in a body.
    unknown = b"{" + b",".join(b'"%x":0' % n for n in range(16)) + b"}"
    invalid = event_body(
        data={"host": 1, "path": [], "more": ["\\é"] * 20}, timestamp="never", session_id=0
    )
    for item in (unknown, invalid, valid[:-1] + b',"sender_id":5}', b'{"data":' * 20 + b"}"):
        for separator in (b",", b"\n"):
            items = separator.join([item] * (MAX_BODY_BYTES // (len(item) + 1)))
            yield b"[" + items + b"]" if separator == b"," else items
    for element in (
        b'"\\u00e9\\ud83d\\ude00"',
        b'{"a":{"a":{"a":[]}}}',
        b"1e5",
        b"[[[[[[[]]]]]]]",
        b'"\\u0000"',
    ):
        data = b'{"host":"h","path":"/","element":[' + b",".join(
            [element] * (240_000 // (len(element) + 1))
        )
        yield event_body(data=0)[:-1].replace(b'"data": 0', b'"data":' + data + b"]}") + b"}"
    yield b"{" + b",".join([b'"a":1'] * 40_000) + b"}"
