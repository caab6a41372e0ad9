"""Every framing rule of HTTP/1.1 with inputs that it accepts and rejects (RFC 9110, 9112).

Each request is followed on the same connection by a second one. After an accepted request the
second is answered too; after a refused one it never is. Each is also sent in two parts, cut at
every byte, and byte by byte, and has to be answered in the same way.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.support.httpserver.echo_application import (
    FAST_ROUTES,
    SMUGGLED_PATHS,
    echo_application,
    echo_body,
)
from tests.support.httpserver.raw_client import (
    RawClient,
    RawResponse,
    build_get,
    parse_responses,
    split_at,
)
from tests.support.httpserver.server_thread import RunningServer, ServerThread

AFTER = build_get("/fast/echo?after", "Connection: close")
AFTER_BODY = echo_body("GET", "/fast/echo?after", "a.example", b"")
SMUGGLE = b"GET /smuggled HTTP/1.1\r\nHost: a.example\r\n\r\n"
BAD = frozenset({400})
VERSION = frozenset({505})
METHOD = frozenset({501})


@dataclass(frozen=True)
class Rule:
    """`raw` has `{}` in place of the path; `echo` is the content of the response."""

    name: str
    raw: bytes
    echo: tuple[str, str, str, bytes] | None = None
    refused: frozenset[int] = frozenset()
    last: bool = False  # accepted, then the connection closes

    @property
    def method(self) -> str:
        return self.raw.strip().split(b" ", 1)[0].decode("latin-1")


def ok(
    name: str,
    raw: bytes,
    *,
    method: str = "GET",
    uri: str = "{}",
    host: str = "a.example",
    body: bytes = b"",
    last: bool = False,
) -> Rule:
    return Rule(name, raw, (method, uri, host, body), last=last)


def no(name: str, raw: bytes, statuses: frozenset[int] = BAD) -> Rule:
    return Rule(name, raw, refused=statuses)


def head(*lines: bytes, method: bytes = b"GET", version: bytes = b"HTTP/1.1") -> bytes:
    first = method + b" {} " + version
    return b"\r\n".join([first, b"Host: a.example", *lines, b"", b""])


def post(*lines: bytes, body: bytes = b"", version: bytes = b"HTTP/1.1") -> bytes:
    return head(*lines, method=b"POST", version=version) + body


def coded(framed: bytes) -> bytes:
    return post(b"Transfer-Encoding: chunked", body=framed)


REQUEST_LINE = [
    ok("plain", head()),
    ok("query", b"GET {}?a=1&b=%20 HTTP/1.1\r\nHost: a.example\r\n\r\n", uri="{}?a=1&b=%20"),
    ok("question mark in query", b"GET {}?a? HTTP/1.1\r\nHost: a.example\r\n\r\n", uri="{}?a?"),
    ok("an empty line before", b"\r\n" + head()),
    ok("absolute-form", b"GET http://b.example{}?x HTTP/1.1\r\nHost: a.example\r\n\r\n",
       uri="{}?x", host="b.example"),
    ok("absolute-form with a port", b"GET http://b.example:8080{} HTTP/1.1\r\nHost: x\r\n\r\n",
       host="b.example:8080"),
    ok("absolute-form, scheme in capitals", b"GET HTTP://b.example{} HTTP/1.1\r\nHost: x\r\n\r\n",
       host="b.example"),
    no("no version (HTTP/0.9)", b"GET {}\r\n"),
    no("no version, with headers", b"GET {}\r\nHost: a.example\r\n\r\n"),
    no("no version, bare LF", b"GET {}\nHost: a.example\r\n\r\n"),
    no("HTTP/0.9 by name", head(version=b"HTTP/0.9"), VERSION),
    no("HTTP/2.0", head(version=b"HTTP/2.0"), VERSION),
    no("HTTP/3.1", head(version=b"HTTP/3.1"), VERSION),
    no("HTTP/3.0", head(version=b"HTTP/3.0"), VERSION),
    no("HTTP/2 preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", VERSION),
    ok("HTTP/1.2 is read as HTTP/1.1", head(version=b"HTTP/1.2")),
    ok("HTTP/1.9", head(version=b"HTTP/1.9")),
    ok("HTTP/1.2 after an empty line", b"\r\n" + head(version=b"HTTP/1.2")),
    ok("HTTP/1.2 with a body", post(b"Content-Length: 2", body=b"ab", version=b"HTTP/1.2"),
       method="POST", body=b"ab"),
    ok("HTTP/1.2 with chunks", post(b"Transfer-Encoding: chunked", body=b"1\r\nx\r\n0\r\n\r\n",
       version=b"HTTP/1.2"), method="POST", body=b"x"),
    no("HTTP/1.2 with a bare LF", b"GET {} HTTP/1.2\nHost: a.example\r\n\r\n"),
    no("HTTP/1.2 without Host", b"GET {} HTTP/1.2\r\n\r\n"),
    no("HTTP/1.10", head(version=b"HTTP/1.10")),
    no("HTTP/1.20", head(version=b"HTTP/1.20")),
    no("HTTP/01.1", head(version=b"HTTP/01.1")),
    no("HTTP/1", head(version=b"HTTP/1")),
    no("HTTP/1.", head(version=b"HTTP/1.")),
    no("HTTP/20.0", head(version=b"HTTP/20.0")),
    no("lower-case protocol", head(version=b"http/1.1")),
    no("another protocol", head(version=b"RTSP/1.0")),
    no("another protocol with a version of ours", head(version=b"RTSP/1.1")),
    no("a streaming protocol", head(method=b"SOURCE", version=b"ICE/1.0")),
    no("space after the version", head(version=b"HTTP/1.1 ")),
    no("tab after the method", b"GET\t{} HTTP/1.1\r\nHost: a.example\r\n\r\n"),
    no("tab before the version", b"GET {}\tHTTP/1.1\r\nHost: a.example\r\n\r\n"),
    no("no target", b"GET HTTP/1.1\r\nHost: a.example\r\n\r\n"),
    no("space in the target", b"GET {} x HTTP/1.1\r\nHost: a.example\r\n\r\n"),
    no("relative target", b"GET fast/echo HTTP/1.1\r\nHost: a.example\r\n\r\n"),
    no("asterisk for GET", b"GET * HTTP/1.1\r\nHost: a.example\r\n\r\n"),
    no("asterisk and more", b"OPTIONS *{} HTTP/1.1\r\nHost: a.example\r\n\r\n"),
    no("authority-form for GET", b"GET a.example:80 HTTP/1.1\r\nHost: a.example\r\n\r\n"),
    no("CONNECT", b"CONNECT a.example:80 HTTP/1.1\r\nHost: a.example:80\r\n\r\n", METHOD),
    no("CONNECT to a path", b"CONNECT {} HTTP/1.1\r\nHost: a.example\r\n\r\n", METHOD),
    no("lower-case method", head(method=b"get"), METHOD),
    no("unknown method", head(method=b"BREW"), METHOD),
    no("a method that llhttp does not know", head(method=b"GETX"), METHOD),
    no("a method of RTSP", head(method=b"DESCRIBE"), METHOD),
    no("a method with a digit", head(method=b"X2"), METHOD),
    no("an unknown method and HTTP/2.0", head(method=b"BREW", version=b"HTTP/2.0"), VERSION),
    no("an unknown method and no version", b"BREW {}\r\nHost: a.example\r\n\r\n"),
    no("an unknown method alone", b"BREW\r\n"),
    no("no method", b" {} HTTP/1.1\r\nHost: a.example\r\n\r\n"),
    no("method with a separator", head(method=b"GE(T")),
    no("unknown method with a separator", head(method=b"BR(EW")),
    no("bare LF at its end", b"GET {} HTTP/1.1\nHost: a.example\r\n\r\n"),
    no("bare CR at its end", b"GET {} HTTP/1.1\rHost: a.example\r\n\r\n"),
    no("bare LF before it", b"\n" + head()),
    no("bare LFs before it", b"\n\n" + head()),
    no("bare CRs before it", b"\r\r" + head()),
    no("garbage before it", b"\x00\x01\x02" + head()),
    no("space before it", b" " + head()),
    no("a TLS hello", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(64) + b"\r\n\r\n"),
    no("a proxy protocol line", b"PROXY TCP4 10.0.0.1 10.0.0.2 1 2\r\n" + head()),
    no("a binary proxy protocol head",
       b"\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c" + bytes(12) + head()),
    *(
        no(f"{byte!r} in the target", b"GET {}" + byte + b"x HTTP/1.1\r\nHost: a.example\r\n\r\n")
        for byte in (b"\x00", b"\x01", b"\x0b", b"\x0c", b"\x1f", b"\x7f", b"\x80", b"\xff", b"\r")
    ),
]  # fmt: skip

HEADERS = [
    ok("none but Host", head()),
    ok("no space after the colon", head(b"X-A:b")),
    ok("spaces and tabs around the value", head(b"X-A: \t b \t ")),
    ok("a tab in the value", head(b"X-A: b\tc")),
    ok("empty value", head(b"X-A:", b"X-B: ")),
    ok("bytes over 127 in the value", head(b"X-A: \x80\xe9\xff")),
    ok("every character of a token", head(b"!#$%&'*+-.^_`|~09azAZ: x")),
    ok("colons in the value", head(b"X-A: b: c: d")),
    ok("the same name twice", head(b"X-A: b", b"X-A: c")),
    ok("a hundred of them", head(*(b"X-%d: y" % number for number in range(100)))),
    no("folded with a space", head(b"X-A: b\r\n c")),
    no("folded with a tab", head(b"X-A: b\r\n\tc")),
    no("folded into nothing", head(b"X-A: b\r\n ")),
    no("first line folded", b"GET {} HTTP/1.1\r\n Host: a.example\r\n\r\n"),
    no("bare LF after one", b"GET {} HTTP/1.1\r\nHost: a.example\nX-A: b\r\n\r\n"),
    no("bare LF after the last", b"GET {} HTTP/1.1\r\nHost: a.example\n\r\n"),
    no("bare LF for the empty line", b"GET {} HTTP/1.1\r\nHost: a.example\r\n\n"),
    no("two bare LFs", b"GET {} HTTP/1.1\r\nHost: a.example\n\n"),
    no("bare CR for the empty line", b"GET {} HTTP/1.1\r\nHost: a.example\r\n\rX-A: b\r\n\r\n"),
    no("bare CR that hides another", head(b"X-A: \rTransfer-Encoding: chunked")),
    no("a smuggled request after a bare LF", head(b"X-A: b\n\n" + SMUGGLE.rstrip())),
    *(
        no(f"{byte!r} in a value", head(b"X-A: b" + byte + b"c"))
        for byte in (b"\x00", b"\x01", b"\x08", b"\x0b", b"\x0c", b"\r", b"\n", b"\x1f", b"\x7f")
    ),
    *(
        no(f"{byte!r} in a name", head(b"X" + byte + b"A: b"))
        for byte in (b"\x00", b"\x01", b"\t", b" ", b"\r", b"\n", b"(", b"/", b'"', b"@", b"\x7f",
                     b"\x80", b"\xff")
    ),
    no("space before the colon", head(b"X-A : b")),
    no("tab before the colon", head(b"X-A\t: b")),
    no("no name", head(b": b")),
    no("no colon", head(b"X-A")),
    no("space before the name", head(b" X-A: b")),
]  # fmt: skip

HOST = [
    ok("with a port", b"GET {} HTTP/1.1\r\nHost: a.example:8080\r\n\r\n", host="a.example:8080"),
    ok("address", b"GET {} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", host="127.0.0.1"),
    ok("IPv6 address", b"GET {} HTTP/1.1\r\nHost: [::1]:80\r\n\r\n", host="[::1]:80"),
    ok("any case, any place", b"GET {} HTTP/1.1\r\nX-A: b\r\nhOsT: a.example\r\n\r\n"),
    no("none in HTTP/1.1", b"GET {} HTTP/1.1\r\n\r\n"),
    no("none beside absolute-form", b"GET http://a.example{} HTTP/1.1\r\n\r\n"),
    no("the same twice", head(b"Host: a.example")),
    no("two", head(b"host: b.example")),
    no("two in HTTP/1.0", head(b"host: b.example", version=b"HTTP/1.0")),
    *(
        no(f"{value!r}", b"GET {} HTTP/1.1\r\nHost: " + value + b"\r\n\r\n")
        for value in (b"a b", b"a/b", b"a?b", b"a#b", b"u@a", b"a,b", b"a, a", b"a\\b", b'"a"',
                      b"<a>", b"a\tb", b"\xe4.example", b"http://a.example", b"a.example:x")
    ),
]  # fmt: skip

CONTENT_LENGTH = [
    ok("5", post(b"Content-Length: 5", body=b"12345"), method="POST", body=b"12345"),
    ok("0", post(b"Content-Length: 0"), method="POST"),
    ok("none is 0", post(), method="POST"),
    ok("leading zeros", post(b"Content-Length: 0005", body=b"12345"), method="POST", body=b"12345"),
    ok("spaces around", post(b"Content-Length:  \t5 \t", body=b"12345"), method="POST",
       body=b"12345"),
    ok("a request for a body", post(b"Content-Length: %d" % len(SMUGGLE), body=SMUGGLE),
       method="POST", body=SMUGGLE),
    ok("GET with a body", head(b"Content-Length: %d" % len(SMUGGLE)) + SMUGGLE, body=SMUGGLE),
    no("the same twice", post(b"Content-Length: 5", b"Content-Length: 5", body=b"12345")),
    no("two", post(b"Content-Length: 5", b"Content-Length: 6", body=b"12345")),
    no("two, and one is 0", post(b"Content-Length: 0", b"content-length: %d" % len(SMUGGLE),
       body=SMUGGLE)),
    *(
        no(f"{value!r}", post(b"Content-Length: " + value, body=b"12345"))
        for value in (b"5, 5", b"5,5", b"5, 6", b"+5", b"-5", b"-0", b"0x5", b"5.0", b"5e0", b"5 5",
                      b"5;", b"", b"a", b"5a", b"1_0", b'"5"', b"\xd9\xa5", b"18446744073709551616",
                      b"18446744073709551621", b"1" * 400)
    ),
]  # fmt: skip

TRANSFER_ENCODING = [
    ok("chunked", coded(b"5\r\n12345\r\n0\r\n\r\n"), method="POST", body=b"12345"),
    ok("any case", post(b"tRANSFER-eNCODING: cHunKed", body=b"5\r\n12345\r\n0\r\n\r\n"),
       method="POST", body=b"12345"),
    ok("GET with chunks", head(b"Transfer-Encoding: chunked") + b"1\r\nx\r\n0\r\n\r\n", body=b"x"),
    no("before Content-Length", post(b"Transfer-Encoding: chunked", b"Content-Length: 5",
       body=b"0\r\n\r\n")),
    no("after Content-Length", post(b"Content-Length: 5", b"Transfer-Encoding: chunked",
       body=b"0\r\n\r\n")),
    no("beside Content-Length, in other words", post(b"Content-Length: 6",
       b"Transfer-Encoding: identity", body=b"0\r\n\r\nX")),
    no("chunked twice over", post(b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked",
       body=b"0\r\n\r\n")),
    no("chunked and then identity", post(b"Transfer-Encoding: chunked",
       b"Transfer-Encoding: identity", body=b"0\r\n\r\n")),
    no("identity and then chunked", post(b"Transfer-Encoding: identity",
       b"Transfer-Encoding: chunked", body=b"0\r\n\r\n"), METHOD),
    no("gzip and then chunked", post(b"Transfer-Encoding: gzip",
       b"Transfer-Encoding: chunked", body=b"0\r\n\r\n"), METHOD),
    no("in HTTP/1.0", post(b"Transfer-Encoding: chunked", body=b"0\r\n\r\n", version=b"HTTP/1.0")),
    no("in HTTP/1.0 kept alive", post(b"Transfer-Encoding: chunked", b"Connection: keep-alive",
       body=b"0\r\n\r\n", version=b"HTTP/1.0")),
    no("space before the colon", post(b"Transfer-Encoding : chunked", body=b"0\r\n\r\n")),
    *(
        no(f"{value!r}", post(b"Transfer-Encoding: " + value, body=b"0\r\n\r\n"), METHOD)
        for value in (b"gzip, chunked", b"GZIP , Chunked", b"gzip,deflate,chunked",
                      b'x;a="b, c" , chunked')
    ),
    no("gzip beside Content-Length", post(b"Content-Length: 5",
       b"Transfer-Encoding: gzip, chunked", body=b"0\r\n\r\n")),
    no("gzip in HTTP/1.0", post(b"Transfer-Encoding: gzip, chunked", body=b"0\r\n\r\n",
       version=b"HTTP/1.0")),
    *(
        no(f"{value!r}", post(b"Transfer-Encoding: " + value, body=b"0\r\n\r\n"))
        for value in (b"chunked, gzip", b"chunked, chunked", b"identity", b"gzip",
                      b"xchunked", b"chunkedx", b"chunked;q=1", b",chunked", b"chunked,",
                      b'"chunked"', b"chunked chunked", b"\x0bchunked", b"chunked\x00", b"",
                      b"gzip, chunked, chunked", b"chunked, gzip, chunked", b"gzip chunked",
                      b"gzip;, chunked", b"gzip, chunked;q=1", b"gzip,, chunked")
    ),
    no("a coding for GET", head(b"Transfer-Encoding: gzip")),
]  # fmt: skip

CHUNKS = [
    ok("several", coded(b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"), method="POST", body=b"abcde"),
    ok("none", coded(b"0\r\n\r\n"), method="POST"),
    ok("capitals", coded(b"A\r\n0123456789\r\n0\r\n\r\n"), method="POST", body=b"0123456789"),
    ok("small letters", coded(b"a\r\n0123456789\r\n0\r\n\r\n"), method="POST", body=b"0123456789"),
    ok("leading zeros", coded(b"0005\r\n12345\r\n000\r\n\r\n"), method="POST", body=b"12345"),
    ok("extension", coded(b"5;a=b\r\n12345\r\n0;c\r\n\r\n"), method="POST", body=b"12345"),
    ok("quoted extension", coded(b'5;a="b c";d\r\n12345\r\n0\r\n\r\n'), method="POST",
       body=b"12345"),
    *(
        ok(f"extension {each!r}", coded(b"5" + each + b"\r\n12345\r\n0" + each + b"\r\n\r\n"),
           method="POST", body=b"12345")
        for each in (b" ;a", b"; a", b" ; a", b"\t;\ta", b";a =b", b";a= b", b" ; a = b ; c",
                     b';a = "b"', b';a="\\";\\\\"; b', b';a="\xe4"', b';a=""')
    ),
    *(
        no(f"extension {each!r}", coded(b"5" + each + b"\r\n12345\r\n0\r\n\r\n"))
        for each in (b";", b" ;", b";a ", b"; ", b";a b", b";a=", b";=b", b";a;;b", b' "a"',
                     b';a="b', b';a="b"c', b";a=b\x7f", b" a", b";a=b,c", b';a="\\\x01"',
                     b"; a" + b" " * 1_100 + b"= b")
    ),
    ok("trailer", coded(b"5\r\n12345\r\n0\r\nX-A: b\r\nX-B: c\r\n\r\n"), method="POST",
       body=b"12345"),
    ok("line ends in the data", coded(b"7\r\n\r\n0\r\n\r\n\r\n0\r\n\r\n"), method="POST",
       body=b"\r\n0\r\n\r\n"),
    ok("a request for data", coded(b"%x\r\n%s\r\n0\r\n\r\n" % (len(SMUGGLE), SMUGGLE)),
       method="POST", body=SMUGGLE),
    *(
        no(f"size {size!r}", coded(size + b"\r\n12345\r\n0\r\n\r\n"))
        for size in (b"", b" 5", b"5 ", b"+5", b"-5", b"0x5", b"5x", b"g", b"5,5", b"5\t", b"5 5",
                     b"5_0", b"\xb5", b"\x005", b"5\x00", b"5\r", b"fffffffffffffffff",
                     b"10000000000000005")
    ),
    no("data too long", coded(b"5\r\n123456\r\n0\r\n\r\n")),
    no("data too short", coded(b"5\r\n1234\r\n0\r\n\r\n")),
    no("no CRLF after the data", coded(b"5\r\n123450\r\n\r\n")),
    no("bare LF after the size", coded(b"5\n12345\r\n0\r\n\r\n")),
    no("bare CR after the size", coded(b"5\r12345\r\n0\r\n\r\n")),
    no("bare LF after the data", coded(b"5\r\n12345\n0\r\n\r\n")),
    no("bare LF after the last size", coded(b"0\n\r\n")),
    no("bare LF at the end", coded(b"0\r\n\n")),
    no("bare LF in an extension", coded(b"5;a\nb\r\n12345\r\n0\r\n\r\n")),
    no("bare CR in an extension", coded(b"5;a\rb\r\n12345\r\n0\r\n\r\n")),
    no("bare LF in a quoted extension", coded(b'5;a="\n"\r\n12345\r\n0\r\n\r\n')),
    no("NUL in an extension", coded(b"5;a\x00\r\n12345\r\n0\r\n\r\n")),
    no("control byte in an extension", coded(b"5;a=\x01\r\n12345\r\n0\r\n\r\n")),
    no("Content-Length in the trailer", coded(b"0\r\nContent-Length: 5\r\n\r\n")),
    no("Transfer-Encoding in the trailer", coded(b"0\r\nTransfer-Encoding: chunked\r\n\r\n")),
    no("a trailer that is no header", coded(b"0\r\nX A: b\r\n\r\n")),
    no("a folded trailer", coded(b"0\r\nX-A: b\r\n c\r\n\r\n")),
    no("bare LF after a trailer", coded(b"0\r\nX-A: b\n\r\n")),
    no("NUL in a trailer", coded(b"0\r\nX-A: \x00\r\n\r\n")),
]  # fmt: skip

CONNECTION = [
    ok("keep-alive is nothing new", head(b"Connection: keep-alive")),
    ok("other words", head(b"Connection: x-a, te", b"X-A: b", b"TE: trailers")),
    ok("close", head(b"Connection: close"), last=True),
    ok("close in capitals", head(b"Connection: CLOSE"), last=True),
    ok("close among others", head(b"Connection: x-a, close"), last=True),
    ok("close in a second line", head(b"Connection: keep-alive", b"Connection: close"), last=True),
    ok("HTTP/1.0", head(version=b"HTTP/1.0"), last=True),
    ok("HTTP/1.0 with a body", post(b"Content-Length: 2", body=b"ab", version=b"HTTP/1.0"),
       method="POST", body=b"ab", last=True),
    ok("HTTP/1.0 kept alive", head(b"Connection: keep-alive", version=b"HTTP/1.0")),
    ok("HTTP/1.0 kept alive, in capitals", head(b"Connection: Keep-Alive", version=b"HTTP/1.0")),
    ok("HTTP/1.0 with both words", head(b"Connection: keep-alive, close", version=b"HTTP/1.0"),
       last=True),
    ok("an upgrade to HTTP/2 is passed over", head(b"Connection: Upgrade, HTTP2-Settings",
       b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABkAAQAAP__")),
    ok("an upgrade with a body", post(b"Connection: Upgrade", b"Upgrade: h2c", b"Content-Length: 5",
       body=b"12345"), method="POST", body=b"12345"),
    ok("an upgrade with chunks", post(b"Connection: Upgrade", b"Upgrade: h2c",
       b"Transfer-Encoding: chunked", body=b"5\r\n12345\r\n0\r\n\r\n"), method="POST",
       body=b"12345"),
    ok("an upgrade to WebSocket where there is none", head(b"Connection: Upgrade",
       b"Upgrade: websocket", b"Sec-WebSocket-Version: 13",
       b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==")),
]  # fmt: skip

RULES = {
    "request line": REQUEST_LINE,
    "headers": HEADERS,
    "Host": HOST,
    "Content-Length": CONTENT_LENGTH,
    "Transfer-Encoding": TRANSFER_ENCODING,
    "chunks": CHUNKS,
    "connection": CONNECTION,
}
ALL = [
    pytest.param(rule, path, id=f"{part}: {rule.name} ({path[1:4]})")
    for path in ("/fast/echo", "/app/echo")
    for part, rules in RULES.items()
    for rule in rules
]


@pytest.fixture(scope="module")
def served(stage: ServerThread) -> RunningServer:
    return stage.serve(echo_application(), FAST_ROUTES)


@pytest.fixture(autouse=True)
def nothing_is_smuggled() -> Iterator[None]:
    yield
    assert not SMUGGLED_PATHS


def check(rule: Rule, path: str, data: bytes) -> tuple[int, ...]:
    """Check a connection's responses against the rule; return their statuses."""
    answers = parse_responses(data, [rule.method])
    if rule.refused:
        assert len(answers) == 1
        refuse(answers[0], rule.refused)
        return (answers[0].status,)
    assert rule.echo
    method, uri, host, body = rule.echo
    first, *others = answers
    assert first.status == 200, first
    assert first.body == echo_body(method, uri.replace("{}", path), host, body)
    assert first.closes_connection == rule.last
    if b"HTTP/1.0" in rule.raw and not rule.last:
        assert (first.header("Connection") or "").lower() == "keep-alive"
    assert [each.body for each in others] == ([] if rule.last else [AFTER_BODY])
    return tuple(each.status for each in answers)


def refuse(answer: RawResponse, statuses: frozenset[int]) -> None:
    assert answer.status in statuses
    assert answer.closes_connection
    assert answer.header("Content-Type") == "application/problem+json"


def sent(rule: Rule, path: str) -> bytes:
    return rule.raw.replace(b"{}", path.encode()) + AFTER


@pytest.fixture(scope="module")
def one_loop(fast_stage: ServerThread) -> RunningServer:
    return fast_stage.serve(echo_application(), FAST_ROUTES)


@pytest.mark.parametrize(("rule", "path"), ALL)
def test_a_framing_rule_accepts_and_rejects(one_loop: RunningServer, rule: Rule, path: str) -> None:
    with one_loop.connect() as peer:
        peer.send(sent(rule, path))
        check(rule, path, peer.read_to_end())


def in_step(served: RunningServer, sendings: list[list[bytes]]) -> list[bytes]:
    """Send on many connections at once, a part at a time; return what each received.

    After each round the server answers one more client: by then it has read what came before.
    """
    peers = [served.connect() for _ in sendings]
    for part in range(max(map(len, sendings))):
        for peer, parts in zip(peers, sendings, strict=True):
            if part < len(parts):
                peer.send(parts[part])
        served.ping()
    answers = [peer.read_to_end() for peer in peers]
    for peer in peers:
        peer.close()
    return answers


@pytest.mark.parametrize("path", ["/fast/echo", "/app/echo"])
@pytest.mark.parametrize("part", RULES)
def test_a_framing_rule_holds_for_single_bytes(served: RunningServer, part: str, path: str) -> None:
    rules = [rule for rule in RULES[part] if len(rule.raw) < 1000]
    data = [sent(rule, path) for rule in rules]
    for sendings in (
        [[each] for each in data],
        [split_at(each, range(len(each))) for each in data],
    ):
        for rule, answered in zip(rules, in_step(served, sendings), strict=True):
            assert check(rule, path, answered), rule


@pytest.mark.parametrize("part", RULES)
def test_a_framing_rule_holds_for_every_split(one_loop: RunningServer, part: str) -> None:
    for rule in RULES[part]:
        for path in ("/fast/echo",) if rule.refused else ("/fast/echo", "/app/echo"):
            data = sent(rule, path)
            cuts = range(1, min(len(rule.raw) + 1, 200))
            for answered in in_step(one_loop, [split_at(data, [cut]) for cut in cuts]):
                check(rule, path, answered)


@pytest.mark.parametrize("query", ["", "?a"])
def test_a_pipeline_is_answered_the_same_for_every_split(
    one_loop: RunningServer, query: str
) -> None:
    """No byte is lost where a part ends between two requests or within the second."""
    data, expected = b"", []
    for path in ("/fast/echo", "/fast/echo", "/app/echo", "/fast/echo"):
        for method, body, lines in (
            ("GET", b"", [b"X-A: b", b"Host: a.example", b"X-B: c"]),
            ("GET", b"", [b"Host: a.example"]),
            ("GET", b"", [b"X-A: b", b"Host: a.example"]),
            ("POST", b"abc", [b"X-A: b", b"Content-Length: 3", b"Host: a.example"]),
        ):
            data += f"{method} {path}{query} HTTP/1.1\r\n".encode()
            data += b"\r\n".join([*lines, b"", b""]) + body
            expected.append(echo_body(method, path + query, "a.example", body))
    expected.append(AFTER_BODY)
    data += AFTER
    for answered in in_step(one_loop, [split_at(data, [cut]) for cut in range(len(data))]):
        assert [each.body for each in parse_responses(answered)] == expected


def test_options_asterisk_is_about_the_server(served: RunningServer) -> None:
    with served.connect() as peer:
        answer = peer.request(b"OPTIONS * HTTP/1.1\r\nHost: a.example\r\n\r\n")
        assert answer.status in (200, 204)
        assert peer.request(build_get("/fast/hello")).body == b"hello"


def test_an_absolute_target_without_a_path_is_the_root(served: RunningServer) -> None:
    with served.connect() as peer:
        answer = peer.request(b"GET http://a.example HTTP/1.1\r\nHost: a.example\r\n\r\n")
        assert answer.status == 404
        assert peer.request(build_get("/fast/hello")).body == b"hello"


@pytest.mark.parametrize(
    "raw",
    [
        b"GET  /fast/echo HTTP/1.1\r\nHost: a.example\r\n\r\n",
        b"GET /fast/echo  HTTP/1.1\r\nHost: a.example\r\n\r\n",
        b"\r\n\r\n\r\n\r\nGET /fast/echo HTTP/1.1\r\nHost: a.example\r\n\r\n",
        b"GET /fast/echo#part HTTP/1.1\r\nHost: a.example\r\n\r\n",
        b"GET http://u:p@a.example/fast/echo HTTP/1.1\r\nHost: a.example\r\n\r\n",
        b"GET /fast/echo HTTP/1.1\r\nHost:\r\n\r\n",
        b"GET /fast/echo HTTP/1.1\r\nHost: a.example\r\nExpect: 200-maybe\r\n\r\n",
        post(b"Transfer-Encoding: chunked ", body=b"0\r\n\r\n").replace(b"{}", b"/fast/echo"),
    ],
)
def test_optional_syntax_does_not_affect_the_next_request(
    served: RunningServer, raw: bytes
) -> None:
    with served.connect() as peer:
        peer.send(raw + AFTER)
        first, *others = parse_responses(peer.read_to_end())
    if first.status == 200 or not first.closes_connection:
        assert [each.body for each in others] == [AFTER_BODY]
    else:
        assert first.status in (400, 417)
        assert not others


@pytest.mark.parametrize("path", ["/fast/echo", "/app/echo"])
class TestExpect:
    def head(self, path: str, *lines: str, version: str = "1.1") -> bytes:
        lines = (f"POST {path} HTTP/{version}", "Host: a.example", *lines, "", "")
        return "\r\n".join(lines).encode()

    def test_continue_is_sent_before_the_body_arrives(
        self, served: RunningServer, path: str
    ) -> None:
        with served.connect() as peer:
            peer.send(self.head(path, "Content-Length: 5", "Expect: 100-continue"))
            interim = self.interim(peer)
            peer.send(b"12345" + AFTER)
            assert parse_responses(peer.read_to_end())[0].body.endswith(b"\n12345")
        assert interim == b"HTTP/1.1 100 Continue\r\n\r\n"

    def test_continue_is_sent_before_chunks(self, served: RunningServer, path: str) -> None:
        with served.connect() as peer:
            peer.send(self.head(path, "Transfer-Encoding: chunked", "Expect: 100-CONTINUE"))
            assert self.interim(peer).startswith(b"HTTP/1.1 100 ")
            peer.send(b"5\r\n12345\r\n0\r\n\r\n" + AFTER)
            first, second = parse_responses(peer.read_to_end())
        assert first.body.endswith(b"\n12345")
        assert second.body == AFTER_BODY

    def test_continue_is_not_sent_for_a_refused_request(
        self, served: RunningServer, path: str
    ) -> None:
        """RFC 9110, 10.1.1: an immediate final response saves the client its body."""
        with served.connect() as peer:
            peer.send(self.head(path, "Content-Length: 999999999", "Expect: 100-continue"))
            (answer,) = parse_responses(peer.read_to_end())
        assert (answer.status, answer.interim_statuses) == (413, [])
        assert answer.closes_connection

    def test_continue_is_not_sent_to_http_1_0(self, served: RunningServer, path: str) -> None:
        with served.connect() as peer:
            peer.send(self.head(path, "Content-Length: 5", "Expect: 100-continue", version="1.0"))
            assert peer.is_quiet_for(0.1)
            peer.send(b"12345")
            (answer,) = parse_responses(peer.read_to_end())
        assert (answer.status, answer.interim_statuses) == (200, [])

    def test_continue_is_not_needed_for_a_body_sent_with_its_head(
        self, served: RunningServer, path: str
    ) -> None:
        with served.connect() as peer:
            expecting = self.head(path, "Content-Length: 5", "Expect: 100-continue")
            peer.send(expecting + b"12345" + AFTER)
            first, second = parse_responses(peer.read_to_end())
        assert first.body.endswith(b"\n12345")
        assert second.body == AFTER_BODY

    def test_continue_is_sent_after_earlier_responses(
        self, served: RunningServer, path: str
    ) -> None:
        """An interim response must not precede an earlier request's response."""
        with served.connect() as peer:
            peer.send(build_get("/fast/late/100"))
            peer.send(self.head(path, "Content-Length: 5", "Expect: 100-continue"))
            assert peer.read_response().interim_statuses == []
            assert self.interim(peer).startswith(b"HTTP/1.1 100 ")
            peer.send(b"12345")
            assert peer.read_response().body.endswith(b"\n12345")

    @staticmethod
    def interim(peer: RawClient) -> bytes:
        while b"\r\n\r\n" not in peer.buffer:
            assert peer.receive()
        received, peer.buffer = peer.buffer, b""
        return received


@pytest.mark.parametrize("method", ["TRACE", "PROPFIND", "QUERY", "M-SEARCH"])
def test_a_registered_method_reaches_the_application(served: RunningServer, method: str) -> None:
    with served.connect() as peer:
        asked = build_get("/app/echo").replace(b"GET", method.encode())
        assert peer.request(asked, method).status == 405
        assert peer.request(build_get("/fast/hello")).body == b"hello"


def test_a_proxy_protocol_line_gets_an_explanatory_error(served: RunningServer) -> None:
    with served.connect() as peer:
        answer = peer.request(
            b"PROXY TCP4 10.0.0.1 10.0.0.2 1 2\r\n" + build_get("/fast/hello"), "GET"
        )
    assert answer.status == 400
    assert b"PROXY protocol" in answer.body
