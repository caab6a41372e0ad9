"""No response to HEAD has a body, errors at any stage included (RFC 9110, section 9.3.2)."""

from collections.abc import Iterator

import pytest

from httpserver import FastRoute, Request, RequestRefusal, Response, ServerLimits
from tests.support.httpserver.echo_application import FAST_ROUTES, echo_application
from tests.support.httpserver.raw_client import build_get, parse_responses
from tests.support.httpserver.server_thread import RunningServer, ServerThread

LONG = "x" * 2_000


def failing(_: Request) -> Response:
    raise RuntimeError("a fault")


def refusing(_: Request) -> Response:
    raise RequestRefusal(400, "This is refused.")


MORE = [
    FastRoute("GET", r"/fast/fails", failing),
    FastRoute("GET", r"/fast/refuses", refusing),
    FastRoute("GET", r"/fast/missing", lambda _: Response(404, (), b"missing")),
]
LIMITS = ServerLimits(
    request_line_bytes=1_000,
    header_bytes=1_500,
    body_bytes=1_000,
    header_seconds=0.3,
    body_seconds=0.3,
)


@pytest.fixture(scope="module")
def served(stage: ServerThread) -> Iterator[RunningServer]:
    yield stage.serve(echo_application(), [*FAST_ROUTES, *MORE], limits=LIMITS)


def head(
    path: str = "/fast/hello", *lines: str, version: str = "HTTP/1.1", host: str = "a.example"
) -> bytes:
    return "\r\n".join([f"HEAD {path} {version}", f"Host: {host}", *lines, "", ""]).encode()


REFUSED = {
    "version": (head(version="HTTP/3.0"), 505),
    "request line": (head(version="HTTP/1.1 x"), 400),
    "target": (head("/a<b"), 400),
    "relative target": (head("fast/hello"), 400),
    "host": (head(host="a b"), 400),
    "no host": (b"HEAD /fast/hello HTTP/1.1\r\n\r\n", 400),
    "after an empty line": (b"\r\n" + head(version="HTTP/2.0"), 505),
    "header": (head("/fast/hello", "X A: b"), 400),
    "long target": (head(f"/{LONG}"), 414),
    "long header": (head("/fast/hello", f"X-A: {LONG}"), 431),
    "transfer coding": (head("/fast/hello", "Transfer-Encoding: gzip, chunked"), 501),
    "expectation": (head("/fast/hello", "Expect: wonders"), 417),
    "two lengths": (head("/fast/hello", "Content-Length: 1", "Content-Length: 2"), 400),
    "large body to a fast route": (head("/fast/hello", "Content-Length: 2000"), 413),
    "large body to the application": (head("/app/echo", "Content-Length: 2000"), 413),
    "chunk": (head("/fast/hello", "Transfer-Encoding: chunked") + b"x\r\n", 400),
    "header that never ends": (b"HEAD /fast/hello HTTP/1.1\r\nHost: a", 408),
    "body that never ends": (head("/fast/hello", "Content-Length: 5"), 408),
    "body to the application that never ends": (head("/app/echo", "Content-Length: 5"), 408),
    "fast route that refuses": (head("/fast/refuses"), 400),
    "fast route that fails": (head("/fast/fails"), 500),
    "fast route's own error": (head("/fast/missing"), 404),
    "nothing there": (head("/nothing"), 404),
    "method not allowed": (head("/app/echo"), 405),
}


@pytest.mark.parametrize(("raw", "status"), REFUSED.values(), ids=REFUSED)
@pytest.mark.parametrize("whole", [True, False])
def test_an_error_response_to_head_has_no_body(
    served: RunningServer, raw: bytes, status: int, whole: bool, caplog: pytest.LogCaptureFixture
) -> None:
    with served.connect() as peer:
        for part in [raw] if whole else [raw[:7], raw[7:]]:
            peer.send(part)
            served.ping()
        if status == 408:
            (answer,) = parse_responses(peer.read_to_end(), ["HEAD"])
        else:
            peer.send(build_get("/fast/hello", "Connection: close"))
            answer, *others = parse_responses(peer.read_to_end(), ["HEAD"])
            assert [each.body for each in others] == (
                [] if answer.closes_connection else [b"hello"]
            )
    assert answer.status == status
    assert answer.header("Content-Length") != "0"
    caplog.clear()


def test_an_error_response_to_get_has_a_body(served: RunningServer) -> None:
    """Also after a HEAD on the same connection."""
    with served.connect() as peer:
        assert peer.request(head()).status == 200
        (answer,) = (
            parse_responses(peer.read_to_end()) if peer.send(build_get("fast/hello")) else ()
        )
        assert answer.status == 400
        assert b"malformed" in answer.body
