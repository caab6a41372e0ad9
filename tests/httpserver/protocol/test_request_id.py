"""A request's identifier comes back with its answer, and never with another's."""

import pytest

from httpserver import FastRoute, Request, Response
from httpserver.protocol.request_id import parse_request_id, split_request_id
from tests.support.httpserver.echo_application import LANES, application
from tests.support.httpserver.raw_client import Answer, get, request
from tests.support.httpserver.server_thread import Served, Stage

NAME = "X-Request-Id"
LARGE = Response(200, (), b"x" * 40_000)
MORE = [
    FastRoute("GET", r"/lane/large", lambda _: LARGE),
    FastRoute("GET", r"/lane/id", lambda asked: Response(200, (), identifier(asked))),
    FastRoute("GET", r"/lane/none", lambda _: Response(304)),
]
RIGHT = ["a", "7b3f-11", "c9a5ac0e4f4e11efa7d20242ac120002", "Root=1-67891233-abc", "a" * 128]
WRONG = ["", "a b", "a" * 129, "<a>", '"a"', "a,b", "a;b", "\xe4", "a\tb", "(a)"]


def identifier(request: Request) -> bytes:
    return (request.request_id or "none").encode()


@pytest.fixture(scope="module")
def served(stage: Stage) -> Served:
    return stage.serve(application(), [*LANES, *MORE])


def twice(served: Served, data: bytes) -> list[Answer]:
    """Answers to the same request twice, and then to one without an identifier."""
    with served.peer() as peer:
        answers = [peer.ask(data), peer.ask(data)]
        assert peer.ask(get("/lane/hello")).header(NAME) is None
    return answers


@pytest.mark.parametrize("name", [NAME, "x-request-id", "X-REQUEST-ID", "X-Request-ID"])
@pytest.mark.parametrize(
    "path", ["/lane/hello", "/lane/large", "/lane/late/1", "/lane/none", "/lane/echo?a=b"]
)
def test_a_lane_sends_it_back(served: Served, path: str, name: str) -> None:
    for value in RIGHT:
        for method in ("GET", "HEAD"):
            for answer in twice(served, request(method, path, f"{name}: {value}")):
                assert answer.status in (200, 304)
                assert answer.all(NAME) == [value]


def test_a_lane_with_a_body_sends_it_back(served: Served) -> None:
    for data in (
        request("POST", "/lane/echo", f"{NAME}: one", body=b"a body"),
        request("POST", "/lane/echo", f"{NAME}: one", body=bytes(40_000)),
        request("POST", "/lane/echo", f"{NAME}: one", "Transfer-Encoding: chunked") + b"0\r\n\r\n",
    ):
        assert [each.all(NAME) for each in twice(served, data)] == [["one"], ["one"]]


def test_an_invalid_one_is_passed_over(served: Served) -> None:
    for value in WRONG:
        for data in (get("/lane/hello", f"{NAME}: {value}"), get("/lane/id", f"{NAME}: {value}")):
            for answer in twice(served, data):
                assert answer.header(NAME) is None
                assert answer.body in (b"hello", b"none")
    for answer in twice(served, get("/lane/hello", f"{NAME}: a", f"{NAME}: b")):
        assert answer.header(NAME) is None


def test_a_lane_is_told_it(served: Served) -> None:
    for answer in twice(served, get("/lane/id", f"{NAME}: mine")):
        assert answer.body == b"mine"


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (get("/lane/hello", f"{NAME}: mine", "Host: b"), "mine"),
        (get("/a<b", f"{NAME}: mine"), "mine"),
        (get("/app/echo", f"{NAME}: mine", "Content-Length: 99999999"), "mine"),
        (get("/lane/hello", f"{NAME}: mine", "Content-Length: x"), None),
    ],
)
def test_a_refusal_of_the_server_s_own_sends_it_back_if_the_head_is_well_formed(
    served: Served, data: bytes, found: str | None
) -> None:
    with served.peer() as peer:
        answer = peer.ask(data)
    assert answer.status >= 400
    assert answer.header(NAME) == found


def test_requests_in_one_piece_have_each_their_own(served: Served) -> None:
    data = b"".join(get("/lane/hello", *([f"{NAME}: {n}"] if n % 3 else [])) for n in range(30))
    with served.peer() as peer:
        peer.send(data)
        found = [peer.answer().header(NAME) for _ in range(30)]
    assert found == [str(n) if n % 3 else None for n in range(30)]


def test_it_does_not_stay_after_a_request_to_the_application(served: Served) -> None:
    with served.peer() as peer:
        assert peer.ask(get("/app/echo", f"{NAME}: mine")).status == 200
        assert peer.ask(get("/lane/hello")).header(NAME) is None
        # Cut off, and so read the long way.
        peer.send(get("/app/echo", f"{NAME}: mine")[:-2])
        served.ping()
        peer.send(b"\r\n")
        assert peer.answer().status == 200
        assert peer.ask(get("/lane/hello")).header(NAME) is None


def test_the_lines_of_framing_are_parted_from_it() -> None:
    lines = (b"Host: a", b"x-Request-Id: \t1 ", b"Content-Length: 1")
    assert split_request_id(lines) == ((lines[0], lines[2]), b"X-Request-Id: 1\r\n")
    assert split_request_id(lines[:1]) == (lines[:1], b"")
    assert parse_request_id([]) is None
    assert parse_request_id([b"a", b"a"]) is None
