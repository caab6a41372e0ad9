"""Answers that are held back: late, in order, alone, and of nothing that their request held."""

import asyncio
import time
from collections.abc import Callable

import pytest

from httpserver import DelayedResponse, FastRoute, Request, Response, ServerLimits
from tests.support.httpserver.echo_application import LANES, application
from tests.support.httpserver.raw_client import answers_of, get, request
from tests.support.httpserver.server_thread import Served, Stage

PAUSE = 0.5
ANSWER = Response(503, [("Retry-After", "1")], b"too much")
REFUSED = DelayedResponse(ANSWER, PAUSE)
# So long that no test waits for it.
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
    FastRoute("GET", r"/lane/long-later", refuse_long_later),
    FastRoute("GET", r"/lane/long", refuse_long),
    FastRoute("GET", r"/lane/refused-later", refuse_later),
    FastRoute("GET", r"/lane/refused", refuse),
    FastRoute("POST", r"/lane/refused", refuse),
    FastRoute("POST", r"/lane/unwanted", refuse, check_admission=refuse_body),
]


@pytest.fixture(scope="module")
def served(stage: Stage) -> Served:
    return stage.serve(application(), [*LANES, *SLOW])


ASKED = {
    "a GET": get("/lane/refused"),
    "a GET, late": get("/lane/refused-later"),
    "a body": request("POST", "/lane/refused", body=b"x" * 100),
    "a body by its head": request("POST", "/lane/unwanted", body=b"x" * 100_000),
}


EXPECTING = request("POST", "/lane/unwanted", "Content-Length: 200000", "Expect: 100-continue")


@pytest.mark.parametrize("asked", ASKED.values(), ids=ASKED)
def test_it_comes_when_it_is_due_and_the_connection_stays(served: Served, asked: bytes) -> None:
    with served.peer() as peer:
        began = time.monotonic()
        answer = peer.ask(asked)
        assert (answer.status, answer.body) == (503, b"too much")
        assert time.monotonic() - began >= PAUSE * 0.9
        assert peer.ask(get("/lane/hello")).status == 200


def test_nobody_else_waits_for_it(stage: Stage) -> None:
    served = stage.serve(application(), [*LANES, *SLOW])
    with served.peer() as peer:
        peer.send(get("/lane/long"))
        for _ in range(3):
            served.ping()
        assert served.server.context.delayed_responses == 1


def test_what_is_asked_behind_it_is_answered_behind_it(served: Served) -> None:
    with served.peer() as peer:
        peer.send(get("/lane/refused") + get("/lane/hello", "Connection: close"))
        assert [each.status for each in answers_of(peer.rest())] == [503, 200]


def test_nothing_is_held_for_it_meanwhile(served: Served) -> None:
    room = served.server.context.memory_budget
    with served.peer() as peer:
        peer.send(request("POST", "/lane/refused", body=b"x" * 50_000))
        served.ping()
        end = time.monotonic() + PAUSE
        while room.reserved and time.monotonic() < end:
            time.sleep(0.01)
        assert room.reserved == 0
        assert peer.ask(b"").status == 503


@pytest.mark.parametrize("first", [0, 1, 40_000])
def test_a_body_that_is_sent_all_the_same_is_not_read(served: Served, first: int) -> None:
    room = served.server.context.memory_budget
    with served.peer() as peer:
        began = time.monotonic()
        peer.send(EXPECTING + b"x" * first)
        served.ping()
        peer.send(b"x" * (200_000 - first))
        while time.monotonic() < began + PAUSE * 0.8:
            served.ping()
            assert room.reserved == 0
        (answer,) = answers_of(peer.rest())
        assert (answer.status, answer.closes, answer.interim) == (503, True, [])
        assert time.monotonic() - began >= PAUSE * 0.9


@pytest.mark.parametrize("path", ["/lane/refused", "/lane/refused-later"])
def test_none_is_held_back_where_connections_may_soon_be_wanted(stage: Stage, path: str) -> None:
    served = stage.serve(application(), [*LANES, *SLOW], limits=ServerLimits(max_connections=4))
    with served.peer() as peer:
        began = time.monotonic()
        assert peer.ask(get(path)).status == 503
        assert time.monotonic() - began >= PAUSE * 0.9
        with served.peer() as second, served.peer() as third:
            for each in (second, third):
                each.ask(get("/lane/hello"))
            assert peer.ask(get(path.replace("refused", "long"))).status == 503


@pytest.mark.parametrize("asked", [*ASKED.values(), EXPECTING], ids=[*ASKED, "a body it expects"])
def test_whoever_leaves_meanwhile_is_forgotten(served: Served, asked: bytes) -> None:
    with served.peer() as peer:
        peer.send(asked)
        served.ping()
    time.sleep(PAUSE * 1.5)
    until(lambda: not served.server.context.delayed_responses)
    served.ping()  # and the stage sees that nothing was raised


def test_a_drain_still_sends_it(stage: Stage) -> None:
    served = stage.serve(application(), SLOW, limits=ServerLimits())
    with served.peer() as peer:
        peer.send(get("/lane/refused"))
        time.sleep(0.05)
        stage.run(served.server.drain(5))
        (answer,) = answers_of(peer.rest())
        assert answer.status == 503


@pytest.mark.parametrize(("waiting", "times"), [(0, 1), (2_000, 3), (100_000, 5)])
def test_where_many_wait_it_takes_longer_within_bounds(
    served: Served, waiting: int, times: int
) -> None:
    server = served.server
    server.context.delayed_responses += waiting
    try:
        with served.peer() as peer:
            began = time.monotonic()
            assert peer.ask(get("/lane/refused")).status == 503
            assert times * 0.9 <= (time.monotonic() - began) / PAUSE < times + 20
    finally:
        server.context.delayed_responses -= waiting
    assert server.context.delayed_responses == 0


def until(true: Callable[[], object], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)
