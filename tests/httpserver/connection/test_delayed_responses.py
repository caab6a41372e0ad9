"""Delayed responses: on time, in order, without blocking others or holding memory."""

import asyncio
import time
from collections.abc import Callable

import pytest

from httpserver import DelayedResponse, FastRoute, Request, Response, ServerLimits
from tests.support.httpserver.echo_application import FAST_ROUTES, echo_application
from tests.support.httpserver.raw_client import build_get, build_request, parse_responses
from tests.support.httpserver.server_thread import RunningServer, ServerThread

PAUSE = 0.5
ANSWER = Response(503, [("Retry-After", "1")], b"too much")
REFUSED = DelayedResponse(ANSWER, PAUSE)
# Longer than any test.
LONG = DelayedResponse(ANSWER, 600)


def refuse(asked: Request) -> Response:
    return REFUSED


def refuse_body(asked: Request, size: int, fits: bool) -> Response:
    return REFUSED


async def refuse_later(asked: Request) -> Response:
    await asyncio.sleep(0)
    return REFUSED


def refuse_long(asked: Request) -> Response:
    return LONG


async def refuse_long_later(asked: Request) -> Response:
    await asyncio.sleep(0)
    return LONG


SLOW = [
    FastRoute("GET", r"/fast/long-later", refuse_long_later),
    FastRoute("GET", r"/fast/long", refuse_long),
    FastRoute("GET", r"/fast/refused-later", refuse_later),
    FastRoute("GET", r"/fast/refused", refuse),
    FastRoute("POST", r"/fast/refused", refuse),
    FastRoute("POST", r"/fast/unwanted", refuse, check_admission=refuse_body),
]


@pytest.fixture(scope="module")
def served(stage: ServerThread) -> RunningServer:
    return stage.serve(echo_application(), [*FAST_ROUTES, *SLOW])


ASKED = {
    "a GET": build_get("/fast/refused"),
    "a GET, late": build_get("/fast/refused-later"),
    "a body": build_request("POST", "/fast/refused", body=b"x" * 100),
    "a body by its head": build_request("POST", "/fast/unwanted", body=b"x" * 100_000),
}


EXPECTING = build_request(
    "POST", "/fast/unwanted", "Content-Length: 200000", "Expect: 100-continue"
)


@pytest.mark.parametrize("asked", ASKED.values(), ids=ASKED)
def test_a_delayed_response_is_sent_when_due_and_the_connection_stays(
    served: RunningServer, asked: bytes
) -> None:
    with served.connect() as peer:
        began = time.monotonic()
        answer = peer.request(asked)
        assert (answer.status, answer.body) == (503, b"too much")
        assert time.monotonic() - began >= PAUSE * 0.9
        assert peer.request(build_get("/fast/hello")).status == 200


def test_a_delayed_response_delays_no_other_client(stage: ServerThread) -> None:
    served = stage.serve(echo_application(), [*FAST_ROUTES, *SLOW])
    with served.connect() as peer:
        peer.send(build_get("/fast/long"))
        for _ in range(3):
            served.ping()
        assert served.server.context.delayed_responses == 1


def test_requests_after_a_delayed_response_are_answered_after_it(served: RunningServer) -> None:
    with served.connect() as peer:
        peer.send(build_get("/fast/refused") + build_get("/fast/hello", "Connection: close"))
        assert [each.status for each in parse_responses(peer.read_to_end())] == [503, 200]


def test_a_delayed_response_holds_no_memory(served: RunningServer) -> None:
    room = served.server.context.memory_budget
    with served.connect() as peer:
        peer.send(build_request("POST", "/fast/refused", body=b"x" * 50_000))
        served.ping()
        end = time.monotonic() + PAUSE
        while room.reserved and time.monotonic() < end:
            time.sleep(0.01)
        assert room.reserved == 0
        assert peer.request(b"").status == 503


@pytest.mark.parametrize("first", [0, 1, 40_000])
def test_the_body_of_a_delayed_request_is_not_read(served: RunningServer, first: int) -> None:
    room = served.server.context.memory_budget
    with served.connect() as peer:
        began = time.monotonic()
        peer.send(EXPECTING + b"x" * first)
        served.ping()
        peer.send(b"x" * (200_000 - first))
        while time.monotonic() < began + PAUSE * 0.8:
            served.ping()
            assert room.reserved == 0
        (answer,) = parse_responses(peer.read_to_end())
        assert (answer.status, answer.closes_connection, answer.interim_statuses) == (503, True, [])
        assert time.monotonic() - began >= PAUSE * 0.9


@pytest.mark.parametrize("path", ["/fast/refused", "/fast/refused-later"])
def test_responses_are_not_delayed_when_connections_are_scarce(
    stage: ServerThread, path: str
) -> None:
    served = stage.serve(
        echo_application(), [*FAST_ROUTES, *SLOW], limits=ServerLimits(max_connections=4)
    )
    with served.connect() as peer:
        began = time.monotonic()
        assert peer.request(build_get(path)).status == 503
        assert time.monotonic() - began >= PAUSE * 0.9
        with served.connect() as second, served.connect() as third:
            for each in (second, third):
                each.request(build_get("/fast/hello"))
            assert peer.request(build_get(path.replace("refused", "long"))).status == 503


@pytest.mark.parametrize("asked", [*ASKED.values(), EXPECTING], ids=[*ASKED, "a body it expects"])
def test_a_disconnect_discards_the_delayed_response(served: RunningServer, asked: bytes) -> None:
    with served.connect() as peer:
        peer.send(asked)
        served.ping()
    time.sleep(PAUSE * 1.5)
    until(lambda: not served.server.context.delayed_responses)
    served.ping()  # the stage then checks that nothing was raised


def test_a_drain_sends_delayed_responses(stage: ServerThread) -> None:
    served = stage.serve(echo_application(), SLOW, limits=ServerLimits())
    with served.connect() as peer:
        peer.send(build_get("/fast/refused"))
        time.sleep(0.05)
        stage.run(served.server.drain(5))
        (answer,) = parse_responses(peer.read_to_end())
        assert answer.status == 503


@pytest.mark.parametrize(("waiting", "times"), [(0, 1), (2_000, 3), (100_000, 5)])
def test_delays_grow_within_bounds_when_many_wait(
    served: RunningServer, waiting: int, times: int
) -> None:
    server = served.server
    server.context.delayed_responses += waiting
    try:
        with served.connect() as peer:
            began = time.monotonic()
            assert peer.request(build_get("/fast/refused")).status == 503
            assert times * 0.9 <= (time.monotonic() - began) / PAUSE < times + 20
    finally:
        server.context.delayed_responses -= waiting
    assert server.context.delayed_responses == 0


def until(true: Callable[[], object], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)
