"""A request's identifier comes back with its answer, and never with another's."""

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
    """Answers to the same request twice, and then to one without an identifier."""
    with served.connect() as peer:
        answers = [peer.request(data), peer.request(data)]
        assert peer.request(build_get("/fast/hello")).header(NAME) is None
    return answers


@pytest.mark.parametrize("name", [NAME, "x-request-id", "X-REQUEST-ID", "X-Request-ID"])
@pytest.mark.parametrize(
    "path", ["/fast/hello", "/fast/large", "/fast/late/1", "/fast/none", "/fast/echo?a=b"]
)
def test_a_lane_sends_it_back(served: RunningServer, path: str, name: str) -> None:
    for value in RIGHT:
        for method in ("GET", "HEAD"):
            for answer in twice(served, build_request(method, path, f"{name}: {value}")):
                assert answer.status in (200, 304)
                assert answer.header_values(NAME) == [value]


def test_a_lane_with_a_body_sends_it_back(served: RunningServer) -> None:
    for data in (
        build_request("POST", "/fast/echo", f"{NAME}: one", body=b"a body"),
        build_request("POST", "/fast/echo", f"{NAME}: one", body=bytes(40_000)),
        build_request("POST", "/fast/echo", f"{NAME}: one", "Transfer-Encoding: chunked")
        + b"0\r\n\r\n",
    ):
        assert [each.header_values(NAME) for each in twice(served, data)] == [["one"], ["one"]]


def test_an_invalid_one_is_passed_over(served: RunningServer) -> None:
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


def test_a_lane_is_told_it(served: RunningServer) -> None:
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
def test_a_refusal_of_the_server_s_own_sends_it_back_if_the_head_is_well_formed(
    served: RunningServer, data: bytes, found: str | None
) -> None:
    with served.connect() as peer:
        answer = peer.request(data)
    assert answer.status >= 400
    assert answer.header(NAME) == found


def test_requests_in_one_piece_have_each_their_own(served: RunningServer) -> None:
    data = b"".join(
        build_get("/fast/hello", *([f"{NAME}: {n}"] if n % 3 else [])) for n in range(30)
    )
    with served.connect() as peer:
        peer.send(data)
        found = [peer.read_response().header(NAME) for _ in range(30)]
    assert found == [str(n) if n % 3 else None for n in range(30)]


def test_it_does_not_stay_after_a_request_to_the_application(served: RunningServer) -> None:
    with served.connect() as peer:
        assert peer.request(build_get("/app/echo", f"{NAME}: mine")).status == 200
        assert peer.request(build_get("/fast/hello")).header(NAME) is None
        # Cut off, and so read the long way.
        peer.send(build_get("/app/echo", f"{NAME}: mine")[:-2])
        served.ping()
        peer.send(b"\r\n")
        assert peer.read_response().status == 200
        assert peer.request(build_get("/fast/hello")).header(NAME) is None


def test_the_lines_of_framing_are_parted_from_it() -> None:
    lines = (b"Host: a", b"x-Request-Id: \t1 ", b"Content-Length: 1")
    assert split_request_id(lines) == ((lines[0], lines[2]), b"X-Request-Id: 1\r\n")
    assert split_request_id(lines[:1]) == (lines[:1], b"")
    assert parse_request_id([]) is None
    assert parse_request_id([b"a", b"a"]) is None
