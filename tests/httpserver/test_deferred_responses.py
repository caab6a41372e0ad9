"""Deferred responses, and requests whose heads are in the head cache."""

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
    """Respond as the path selects: at once, soon, or when a test resolves it."""
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


def test_a_deferred_response_may_be_resolved_early_or_late(either: RunningServer) -> None:
    for word in (b"now", b"soon"):
        asked = build_request("POST", f"/fast/come/{word.decode()}", body=b"x")
        assert ask(either, asked + LAST) == [(200, word + b" x"), (200, b"hello")]


def test_an_error_instead_of_a_deferred_response_is_logged_once(
    either: RunningServer, caplog: pytest.LogCaptureFixture
) -> None:
    (status, _), last = ask(either, build_get("/fast/come/raised") + LAST)
    assert (status, last) == (500, (200, b"hello"))
    assert len([each for each in caplog.records if each.levelname == "ERROR"]) == 1
    caplog.clear()


def test_deferred_responses_keep_the_order_of_requests(served: RunningServer) -> None:
    words = ["soon", "now", "now", "soon", "now"] * 20
    asked = b"".join(
        build_request("POST", f"/fast/come/{word}", body=b"%d" % number)
        for number, word in enumerate(words)
    )
    expected = [(200, f"{word} {number}".encode()) for number, word in enumerate(words)]
    assert ask(served, asked + LAST) == [*expected, (200, b"hello")]


def test_thousands_of_resolved_responses_do_not_recurse(served: RunningServer) -> None:
    assert len(ask(served, build_get("/fast/come/now") * 1_500 + LAST)) == 1_501


def test_a_deferred_response_to_a_closed_connection_is_dropped(served: RunningServer) -> None:
    with served.connect() as peer:
        peer.send(build_get("/fast/come/held"))
        wait(lambda: bool(WAITING))
        # This close resets the connection; it is not a half-close.
        peer.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    wait(lambda: served.server.open_connections == 0)  # type: ignore[union-attr]
    served.thread.run(come(WAITING.pop()))
    served.ping()


def test_a_deferred_response_reaches_a_half_closed_client(served: RunningServer) -> None:
    with served.connect() as peer:
        peer.send(build_get("/fast/come/held"))
        peer.half_close()
        wait(lambda: bool(WAITING))
        served.thread.run(come(WAITING.pop()))
        assert [each.body for each in parse_responses(peer.read_to_end())] == [b"held"]


async def come(answer: DeferredResponse) -> None:
    answer.resolve(Response(200, (), b"held"))


def test_awaiting_a_deferred_response_can_be_cancelled(stage: ServerThread) -> None:
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
    """Poll until the condition holds; the test's timeout ends it."""
    for _ in range(1_000):
        if until():
            return
        time.sleep(0.005)
    raise AssertionError("it never came")


# Cached heads: the second request with an equal head is not parsed again.

POST = "/fast/echo"


def echoed(*request_bodies: bytes) -> list[tuple[int, bytes]]:
    return [(200, echo_body("POST", POST, "a.example", body)) for body in request_bodies] + [
        (200, b"hello")
    ]


@pytest.mark.parametrize("cut", [1, 30, 62, 64, 71])
def test_a_cached_head_may_precede_a_fragmented_body(served: RunningServer, cut: int) -> None:
    with served.connect() as peer:
        for body in (b"body one", b"body two", b"\r\n\r\n\r\n\r\n"):
            asked = build_request("POST", POST, body=body)
            assert peer.request(asked).body == echo_body("POST", POST, "a.example", body)
        assert len(asked) == 72  # of which 64 are the head
        for part in split_at(build_request("POST", POST, body=b"body 333"), (cut,)):
            peer.send(part)
            served.ping()
        assert peer.read_response().body == echo_body("POST", POST, "a.example", b"body 333")


def test_a_cached_head_may_precede_a_body_and_further_requests(served: RunningServer) -> None:
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


def test_a_cached_head_with_an_incomplete_body_is_400(served: RunningServer) -> None:
    asked = build_request("POST", POST, body=b"whole")
    for _ in range(2):
        with served.connect() as peer:
            assert peer.request(asked).status == 200
            peer.send(asked[:-1])
            peer.half_close()
            assert [each.status for each in parse_responses(peer.read_to_end())] == [400]


def test_a_head_that_differs_from_a_cached_one_is_parsed(served: RunningServer) -> None:
    """A cached head matches only if every byte is equal."""
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
