"""A server that stops: what was begun is answered, what was not is not begun."""

import asyncio
import threading
import time
from collections.abc import Callable

import pytest
from tornado.web import Application, RequestHandler, stream_request_body

from httpserver import FastRoute, Request, Response
from tests.support.httpserver.echo_application import HELLO, silent
from tests.support.httpserver.raw_client import answers_of, chunked, get, request
from tests.support.httpserver.server_thread import Served, Stage

BEGUN: set[str] = set()


async def slow(asked: Request) -> Response:
    BEGUN.add(asked.params[0])
    await asyncio.sleep(0.02)
    return Response(200, (), asked.params[0].encode())


def quick(asked: Request) -> Response:
    BEGUN.add(asked.params[0])
    return Response(200, (), asked.params[0].encode())


async def stuck(asked: Request) -> Response:
    BEGUN.add("stuck")
    await asyncio.sleep(0.7)
    return HELLO


class Slow(RequestHandler):
    async def get(self, name: str) -> None:
        BEGUN.add(name)
        self.write(name[:1])
        await self.flush()
        await asyncio.sleep(0.02)
        self.write(name[1:])


class Echo(RequestHandler):
    def post(self) -> None:
        self.write(self.request.body)


@stream_request_body
class Streamed(RequestHandler):
    def prepare(self) -> None:
        self.parts: list[bytes] = []

    def data_received(self, chunk: bytes) -> None:
        self.parts.append(chunk)

    def post(self) -> None:
        self.write(b"".join(self.parts))


LANES = [
    FastRoute("GET", r"/lane/hello", lambda _: HELLO),
    FastRoute("GET", r"/lane/slow/([\w-]+)", slow),
    FastRoute("GET", r"/lane/quick/([\w-]+)", quick),
    FastRoute("GET", r"/lane/stuck", stuck),
    FastRoute("POST", r"/lane/echo", lambda asked: Response(200, (), asked.body)),
]


def serve(stage: Stage) -> Served:
    BEGUN.clear()
    routes = [(r"/app/slow/([\w-]+)", Slow), (r"/app/echo", Echo), (r"/app/streamed", Streamed)]
    return stage.serve(Application(routes, log_function=silent), LANES)


@pytest.fixture
def served(stage: Stage) -> Served:
    return serve(stage)


class Draining:
    """A drain under way."""

    def __init__(self, served: Served, seconds: float = 600) -> None:
        self.served = served
        self.future = asyncio.run_coroutine_threadsafe(
            served.server.drain(seconds),  # type: ignore[union-attr]
            served.stage.loop,
        )
        served.stage.run(asyncio.sleep(0))

    def end(self) -> None:
        """Wait for its end, which comes long before its seconds are over."""
        self.future.result(60)


@pytest.mark.parametrize("fresh", [False, True])
def test_under_load_nobody_who_has_asked_goes_without_an_answer(
    served: Served, fresh: bool
) -> None:
    """On connections that are kept, and on those that have only just been opened."""
    answered: set[str] = set()
    lost: list[str] = []

    def visit(number: int) -> None:
        paths = ["/lane/slow/", "/lane/quick/", "/app/slow/"]
        for count in range(100_000):
            if fresh or not count:
                try:
                    peer = served.peer()
                except ConnectionError:
                    return
            name = f"v{number}-{count}"
            peer.send(get(paths[count % 3] + name))
            try:
                answer = peer.answer()
            except EOFError:
                lost.append(name)
                answer = None
            if answer:
                assert answer.body == name.encode()
                answered.add(name)
            if fresh or not answer or answer.closes:
                peer.close()
                if not fresh:
                    return

    visitors = [threading.Thread(target=visit, args=(number,)) for number in range(8)]
    for each in visitors:
        each.start()
    until(lambda: len(answered) > 200)
    Draining(served).end()
    for each in visitors:
        each.join(60)
    assert served.server.open_connections == 0
    assert BEGUN - answered == set()
    assert not lost


def test_nobody_is_let_in_any_more(served: Served) -> None:
    with served.peer() as peer:
        peer.send(get("/lane/stuck"))
        until(lambda: "stuck" in BEGUN)
        draining = Draining(served)
        with pytest.raises(ConnectionError):
            served.peer()
        answer = peer.answer()
        assert (answer.body, answer.closes) == (b"hello", True)
        assert peer.closed()
    draining.end()


def test_the_idle_are_let_go_at_once(served: Served) -> None:
    with served.peer() as fresh, served.peer() as used:
        used.ask(get("/lane/hello"))
        served.ping()
        Draining(served).end()
        assert fresh.closed()
        assert used.closed()


@pytest.mark.parametrize("path", ["/lane/echo", "/app/echo", "/app/streamed"])
@pytest.mark.parametrize("at", [3, 30, -3])
def test_a_request_that_is_still_coming_is_answered(served: Served, path: str, at: int) -> None:
    whole = request("POST", path, body=b"x" * 5000)
    parts = request("POST", path, "Transfer-Encoding: chunked") + chunked(b"y" * 2000, b"z")
    with served.peer() as one, served.peer() as two:
        one.send(whole[:at])
        two.send(parts[:at])
        served.ping()
        draining = Draining(served)
        time.sleep(0.05)
        one.send(whole[at:])
        two.send(parts[at:])
        first, second = one.answer("POST"), two.answer("POST")
        assert (first.body, first.closes) == (b"x" * 5000, True)
        assert (second.body, second.closes) == (b"y" * 2000 + b"z", True)
        assert one.closed()
        assert two.closed()
    draining.end()


def test_a_large_answer_is_sent_to_its_end(served: Served) -> None:
    body = b"x" * 250_000
    for _ in range(4):
        again = serve(served.stage)
        with again.peer(receive_buffer=65536) as peer:
            peer.send(request("POST", "/lane/echo", body=body) * 20)
            again.ping()
            draining = Draining(again)
            answers = answers_of(peer.rest())
            assert answers
            assert all(each.body == body for each in answers)
            assert not any(each.closes for each in answers[:-1])
        draining.end()


def test_what_does_not_end_is_cut(served: Served) -> None:
    with served.peer() as stuck, served.peer() as half:
        stuck.send(get("/lane/stuck"))
        half.send(b"POST /lane/echo HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n")
        until(lambda: "stuck" in BEGUN)
        Draining(served, 0.3).end()
        assert stuck.closed()
        assert not [each for each in answers_of(half.rest()) if each.status < 400]


def test_close_cuts_all_at_once(served: Served) -> None:
    with served.peer() as peer:
        peer.send(get("/lane/stuck"))
        until(lambda: "stuck" in BEGUN)
        served.stop()
        assert peer.closed()
    with pytest.raises(ConnectionError):
        served.peer()


def test_a_drain_without_connections_is_over_at_once(served: Served) -> None:
    Draining(served).end()
    Draining(served).end()


def until(true: Callable[[], object], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.005)
