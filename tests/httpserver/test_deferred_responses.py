"""Answers that come later without a future, and requests whose heads are known from before."""

import asyncio
import socket
import struct
import time
from collections.abc import Callable

import pytest
from tornado.web import Application, RequestHandler

from httpserver import DeferredResponse, FastRoute, Request, Response, tornado_rules
from tests.support.httpserver.echo_application import (
    FAST_ROUTES,
    echo_application,
    echo_body,
    no_access_log,
)
from tests.support.httpserver.raw_client import build_get, build_request, parse_responses, split_at
from tests.support.httpserver.server_thread import RunningServer, ServerThread

LAST = build_get("/fast/hello", "Connection: close")
WAITING: list[DeferredResponse] = []


def late(asked: Request) -> DeferredResponse:
    """Answer as the path says: at once, in a moment, or when a test does."""
    answer = DeferredResponse()
    response = Response(200, (), b"%s %s" % (asked.params[0].encode(), asked.body))
    match asked.params[0]:
        case "now":
            answer.resolve(response)
        case "soon":
            asyncio.get_running_loop().call_later(0.02, answer.resolve, response)
        case "raised":
            answer.resolve(RuntimeError("no answer"))
        case "held":
            WAITING.append(answer)
    return answer


LATE = [FastRoute(method, r"/fast/come/(\w+)", late) for method in ("GET", "POST")]


@pytest.fixture(scope="module")
def served(stage: ServerThread) -> RunningServer:
    return stage.serve(echo_application(), [*FAST_ROUTES, *LATE])


@pytest.fixture(params=["wire", "tornado"])
def either(stage: ServerThread, request: pytest.FixtureRequest) -> RunningServer:
    if request.param == "wire":
        return stage.serve(echo_application(), [*FAST_ROUTES, *LATE])
    return stage.serve_tornado(
        Application(
            tornado_rules([*FAST_ROUTES, *LATE], [], RequestHandler), log_function=no_access_log
        )
    )


def ask(served: RunningServer, data: bytes, cuts: tuple[int, ...] = ()) -> list[tuple[int, bytes]]:
    with served.connect() as peer:
        for part in split_at(data, cuts):
            peer.send(part)
        return [(each.status, each.body) for each in parse_responses(peer.read_to_end())]


def test_an_answer_may_have_come_or_be_about_to(either: RunningServer) -> None:
    for word in (b"now", b"soon"):
        asked = build_request("POST", f"/fast/come/{word.decode()}", body=b"x")
        assert ask(either, asked + LAST) == [(200, word + b" x"), (200, b"hello")]


def test_what_is_raised_instead_of_an_answer_is_told_once(
    either: RunningServer, caplog: pytest.LogCaptureFixture
) -> None:
    (status, _), last = ask(either, build_get("/fast/come/raised") + LAST)
    assert (status, last) == (500, (200, b"hello"))
    assert len([each for each in caplog.records if each.levelname == "ERROR"]) == 1
    caplog.clear()


def test_answers_that_come_later_keep_their_order(served: RunningServer) -> None:
    words = ["soon", "now", "now", "soon", "now"] * 20
    asked = b"".join(
        build_request("POST", f"/fast/come/{word}", body=b"%d" % number)
        for number, word in enumerate(words)
    )
    expected = [(200, f"{word} {number}".encode()) for number, word in enumerate(words)]
    assert ask(served, asked + LAST) == [*expected, (200, b"hello")]


def test_thousands_that_have_come_cost_no_recursion(served: RunningServer) -> None:
    assert len(ask(served, build_get("/fast/come/now") * 1_500 + LAST)) == 1_501


def test_an_answer_for_who_has_left_goes_nowhere(served: RunningServer) -> None:
    with served.connect() as peer:
        peer.send(build_get("/fast/come/held"))
        wait(lambda: bool(WAITING))
        # Closing resets, so that it is no end behind which the peer may still read.
        peer.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    wait(lambda: served.server.open_connections == 0)  # type: ignore[union-attr]
    served.thread.run(come(WAITING.pop()))
    served.ping()


def test_an_answer_reaches_who_only_reads_any_more(served: RunningServer) -> None:
    with served.connect() as peer:
        peer.send(build_get("/fast/come/held"))
        peer.half_close()
        wait(lambda: bool(WAITING))
        served.thread.run(come(WAITING.pop()))
        assert [each.body for each in parse_responses(peer.read_to_end())] == [b"held"]


async def come(answer: DeferredResponse) -> None:
    answer.resolve(Response(200, (), b"held"))


def test_who_awaits_an_answer_may_leave_before_it_comes(stage: ServerThread) -> None:
    async def leave() -> Response:
        held, soon = DeferredResponse(), DeferredResponse()
        task = asyncio.ensure_future(held)
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.sleep(0)
        held.resolve(Response(200))
        asyncio.get_running_loop().call_soon(soon.resolve, Response(201))
        return await soon

    assert stage.run(leave()).status == 201


def wait(until: Callable[[], bool]) -> None:
    """Look often; the test's own time limit ends it."""
    for _ in range(1_000):
        if until():
            return
        time.sleep(0.005)
    raise AssertionError("it never came")


# Heads that are known: the second request with the same one is not parsed again.

POST = "/fast/echo"


def echoed(*said: bytes) -> list[tuple[int, bytes]]:
    return [(200, echo_body("POST", POST, "a.example", body)) for body in said] + [(200, b"hello")]


@pytest.mark.parametrize("cut", [1, 30, 62, 64, 71])
def test_a_known_head_before_a_body_that_comes_in_pieces(served: RunningServer, cut: int) -> None:
    with served.connect() as peer:
        for body in (b"body one", b"body two", b"\r\n\r\n\r\n\r\n"):
            asked = build_request("POST", POST, body=body)
            assert peer.request(asked).body == echo_body("POST", POST, "a.example", body)
        assert len(asked) == 72  # its head 64
        for part in split_at(build_request("POST", POST, body=b"body 333"), (cut,)):
            peer.send(part)
            served.ping()
        assert peer.read_response().body == echo_body("POST", POST, "a.example", b"body 333")


def test_a_known_head_before_more_than_its_body(served: RunningServer) -> None:
    one, two = (build_request("POST", POST, body=body) for body in (b"one", b"two"))
    ask(served, one + LAST)
    assert ask(served, one + two + LAST) == echoed(b"one", b"two")
    with served.connect() as peer:
        peer.send(one)
        served.ping()
        peer.send(two + one + LAST)
        assert [(it.status, it.body) for it in parse_responses(peer.read_to_end())] == echoed(
            b"one", b"two", b"one"
        )


def test_a_known_head_whose_body_never_comes_whole(served: RunningServer) -> None:
    asked = build_request("POST", POST, body=b"whole")
    for _ in range(2):
        with served.connect() as peer:
            assert peer.request(asked).status == 200
            peer.send(asked[:-1])
            peer.half_close()
            assert [each.status for each in parse_responses(peer.read_to_end())] == [400]


def test_what_looks_like_a_known_head_is_judged_anew(served: RunningServer) -> None:
    """No byte of a head may differ from what was found right."""
    right = build_request("POST", POST, body=b"four")
    assert b"Content-Length: 4\r\n" in right
    wrong = [
        right.replace(b"Content-Length: 4", b"Content-Length : 4"),
        right.replace(b"Content-Length: 4", b"Content-Length: 4\r\nContent-Length: 4"),
        right.replace(b"Content-Length: 4", b"Content-Length: 4\r\nTransfer-Encoding: chunked"),
        right.replace(b"Content-Length: 4", b"Content-Length: 4\n"),
        right.replace(b"Content-Length: 4", b"Content-Length: +4"),
        right.replace(b"HTTP/1.1", b"HTTP/3.0"),
    ]
    for each in wrong:
        for _ in range(2):
            with served.connect() as peer:
                assert peer.request(right).status == 200
                peer.send(each)
                assert parse_responses(peer.read_to_end())[0].status in (400, 505)
