"""A response has the X-Request-Id of its own request only."""

import pytest

from httpserver import FastRoute, Request, Response
from httpserver.protocol.request_id import parse_request_id, split_request_id
from tests.support.httpserver.echo_application import FAST_ROUTES, echo_application
from tests.support.httpserver.raw_client import RawResponse, build_get, build_request
from tests.support.httpserver.server_thread import RunningServer, ServerThread

NAME = "X-Request-Id"
LARGE = Response(200, (), b"x" * 40_000)
MORE = [
    FastRoute("GET", r"/fast/large", lambda _: LARGE),
    FastRoute("GET", r"/fast/id", lambda asked: Response(200, (), identifier(asked))),
    FastRoute("GET", r"/fast/none", lambda _: Response(304)),
]
RIGHT = ["a", "7b3f-11", "c9a5ac0e4f4e11efa7d20242ac120002", "Root=1-67891233-abc", "a" * 128]
WRONG = ["", "a b", "a" * 129, "<a>", '"a"', "a,b", "a;b", "\xe4", "a\tb", "(a)"]


def identifier(request: Request) -> bytes:
    return (request.request_id or "none").encode()


@pytest.fixture(scope="module")
def served(stage: ServerThread) -> RunningServer:
    return stage.serve(echo_application(), [*FAST_ROUTES, *MORE])


def twice(served: RunningServer, data: bytes) -> list[RawResponse]:
    """Send a request twice, then one without an id; return the responses."""
    with served.connect() as peer:
        answers = [peer.request(data), peer.request(data)]
        assert peer.request(build_get("/fast/hello")).header(NAME) is None
    return answers


@pytest.mark.parametrize("name", [NAME, "x-request-id", "X-REQUEST-ID", "X-Request-ID"])
@pytest.mark.parametrize(
    "path", ["/fast/hello", "/fast/large", "/fast/late/1", "/fast/none", "/fast/echo?a=b"]
)
def test_a_fast_route_returns_the_request_id(served: RunningServer, path: str, name: str) -> None:
    for value in RIGHT:
        for method in ("GET", "HEAD"):
            for answer in twice(served, build_request(method, path, f"{name}: {value}")):
                assert answer.status in (200, 304)
                assert answer.header_values(NAME) == [value]


def test_a_fast_route_with_a_body_returns_the_request_id(served: RunningServer) -> None:
    for data in (
        build_request("POST", "/fast/echo", f"{NAME}: one", body=b"a body"),
        build_request("POST", "/fast/echo", f"{NAME}: one", body=bytes(40_000)),
        build_request("POST", "/fast/echo", f"{NAME}: one", "Transfer-Encoding: chunked")
        + b"0\r\n\r\n",
    ):
        assert [each.header_values(NAME) for each in twice(served, data)] == [["one"], ["one"]]


def test_an_invalid_request_id_is_ignored(served: RunningServer) -> None:
    for value in WRONG:
        for data in (
            build_get("/fast/hello", f"{NAME}: {value}"),
            build_get("/fast/id", f"{NAME}: {value}"),
        ):
            for answer in twice(served, data):
                assert answer.header(NAME) is None
                assert answer.body in (b"hello", b"none")
    for answer in twice(served, build_get("/fast/hello", f"{NAME}: a", f"{NAME}: b")):
        assert answer.header(NAME) is None


def test_a_fast_route_can_read_the_request_id(served: RunningServer) -> None:
    for answer in twice(served, build_get("/fast/id", f"{NAME}: mine")):
        assert answer.body == b"mine"


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (build_get("/fast/hello", f"{NAME}: mine", "Host: b"), "mine"),
        (build_get("/a<b", f"{NAME}: mine"), "mine"),
        (build_get("/app/echo", f"{NAME}: mine", "Content-Length: 99999999"), "mine"),
        (build_get("/fast/hello", f"{NAME}: mine", "Content-Length: x"), None),
    ],
)
def test_an_error_of_the_server_returns_the_request_id_of_a_valid_head(
    served: RunningServer, data: bytes, found: str | None
) -> None:
    with served.connect() as peer:
        answer = peer.request(data)
    assert answer.status >= 400
    assert answer.header(NAME) == found


def test_pipelined_requests_have_their_own_request_ids(served: RunningServer) -> None:
    data = b"".join(
        build_get("/fast/hello", *([f"{NAME}: {n}"] if n % 3 else [])) for n in range(30)
    )
    with served.connect() as peer:
        peer.send(data)
        found = [peer.read_response().header(NAME) for _ in range(30)]
    assert found == [str(n) if n % 3 else None for n in range(30)]


def test_a_request_id_is_not_reused_after_an_application_request(served: RunningServer) -> None:
    with served.connect() as peer:
        assert peer.request(build_get("/app/echo", f"{NAME}: mine")).status == 200
        assert peer.request(build_get("/fast/hello")).header(NAME) is None
        # Split, so that it takes the general path of the parser.
        peer.send(build_get("/app/echo", f"{NAME}: mine")[:-2])
        served.ping()
        peer.send(b"\r\n")
        assert peer.read_response().status == 200
        assert peer.request(build_get("/fast/hello")).header(NAME) is None


def test_framing_fields_are_separate_from_the_request_id() -> None:
    lines = (b"Host: a", b"x-Request-Id: \t1 ", b"Content-Length: 1")
    assert split_request_id(lines) == ((lines[0], lines[2]), b"X-Request-Id: 1\r\n")
    assert split_request_id(lines[:1]) == (lines[:1], b"")
    assert parse_request_id([]) is None
    assert parse_request_id([b"a", b"a"]) is None
