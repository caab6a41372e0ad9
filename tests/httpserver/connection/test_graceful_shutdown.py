"""Graceful shutdown: started requests are answered, no new ones are accepted."""

import asyncio
import threading
import time
from collections.abc import Callable

import pytest
from tornado.web import Application, RequestHandler, stream_request_body

from httpserver import FastRoute, Request, Response
from tests.support.httpserver.echo_application import HELLO_RESPONSE, no_access_log
from tests.support.httpserver.raw_client import (
    build_get,
    build_request,
    encode_chunks,
    parse_responses,
)
from tests.support.httpserver.server_thread import RunningServer, ServerThread

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
    return HELLO_RESPONSE


class SlowResponseHandler(RequestHandler):
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
class StreamedUploadHandler(RequestHandler):
    def prepare(self) -> None:
        self.parts: list[bytes] = []

    def data_received(self, chunk: bytes) -> None:
        self.parts.append(chunk)

    def post(self) -> None:
        self.write(b"".join(self.parts))


LANES = [
    FastRoute("GET", r"/fast/hello", lambda _: HELLO_RESPONSE),
    FastRoute("GET", r"/fast/slow/([\w-]+)", slow),
    FastRoute("GET", r"/fast/quick/([\w-]+)", quick),
    FastRoute("GET", r"/fast/stuck", stuck),
    FastRoute("POST", r"/fast/echo", lambda asked: Response(200, (), asked.body)),
]


def serve(stage: ServerThread) -> RunningServer:
    BEGUN.clear()
    routes = [
        (r"/app/slow/([\w-]+)", SlowResponseHandler),
        (r"/app/echo", Echo),
        (r"/app/streamed", StreamedUploadHandler),
    ]
    return stage.serve(Application(routes, log_function=no_access_log), LANES)


@pytest.fixture
def served(stage: ServerThread) -> RunningServer:
    return serve(stage)


class Draining:
    """A drain in progress."""

    def __init__(self, served: RunningServer, seconds: float = 600) -> None:
        self.served = served
        self.future = asyncio.run_coroutine_threadsafe(
            served.server.drain(seconds),  # type: ignore[union-attr]
            served.thread.loop,
        )
        served.thread.run(asyncio.sleep(0))

    def end(self) -> None:
        """Wait for its end, long before its timeout."""
        self.future.result(60)


@pytest.mark.parametrize("fresh", [False, True])
def test_a_drain_under_load_answers_every_received_request(
    served: RunningServer, fresh: bool
) -> None:
    """On kept and on new connections."""
    answered: set[str] = set()
    lost: list[str] = []

    def visit(number: int) -> None:
        paths = ["/fast/slow/", "/fast/quick/", "/app/slow/"]
        for count in range(100_000):
            if fresh or not count:
                try:
                    peer = served.connect()
                except ConnectionError:
                    return
            name = f"v{number}-{count}"
            peer.send(build_get(paths[count % 3] + name))
            try:
                answer = peer.read_response()
            except EOFError:
                lost.append(name)
                answer = None
            if answer:
                assert answer.body == name.encode()
                answered.add(name)
            if fresh or not answer or answer.closes_connection:
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


def test_a_drain_accepts_no_connections(served: RunningServer) -> None:
    with served.connect() as peer:
        peer.send(build_get("/fast/stuck"))
        until(lambda: "stuck" in BEGUN)
        draining = Draining(served)
        with pytest.raises(ConnectionError):
            served.connect()
        answer = peer.read_response()
        assert (answer.body, answer.closes_connection) == (b"hello", True)
        assert peer.is_closed_silently()
    draining.end()


def test_a_drain_closes_idle_connections_at_once(served: RunningServer) -> None:
    with served.connect() as fresh, served.connect() as used:
        used.request(build_get("/fast/hello"))
        served.ping()
        Draining(served).end()
        assert fresh.is_closed_silently()
        assert used.is_closed_silently()


@pytest.mark.parametrize("path", ["/fast/echo", "/app/echo", "/app/streamed"])
@pytest.mark.parametrize("at", [3, 30, -3])
def test_a_drain_answers_a_request_that_is_still_arriving(
    served: RunningServer, path: str, at: int
) -> None:
    whole = build_request("POST", path, body=b"x" * 5000)
    parts = build_request("POST", path, "Transfer-Encoding: chunked") + encode_chunks(
        b"y" * 2000, b"z"
    )
    with served.connect() as one, served.connect() as two:
        one.send(whole[:at])
        two.send(parts[:at])
        served.ping()
        draining = Draining(served)
        time.sleep(0.05)
        one.send(whole[at:])
        two.send(parts[at:])
        first, second = one.read_response("POST"), two.read_response("POST")
        assert (first.body, first.closes_connection) == (b"x" * 5000, True)
        assert (second.body, second.closes_connection) == (b"y" * 2000 + b"z", True)
        assert one.is_closed_silently()
        assert two.is_closed_silently()
    draining.end()


def test_a_drain_completes_a_large_response(served: RunningServer) -> None:
    body = b"x" * 250_000
    for _ in range(4):
        again = serve(served.thread)
        with again.connect(receive_buffer=65536) as peer:
            peer.send(build_request("POST", "/fast/echo", body=body) * 20)
            again.ping()
            draining = Draining(again)
            answers = parse_responses(peer.read_to_end())
            assert answers
            assert all(each.body == body for each in answers)
            assert not any(each.closes_connection for each in answers[:-1])
        draining.end()


def test_a_drain_closes_what_exceeds_its_time(served: RunningServer) -> None:
    with served.connect() as stuck, served.connect() as half:
        stuck.send(build_get("/fast/stuck"))
        half.send(b"POST /fast/echo HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n")
        until(lambda: "stuck" in BEGUN)
        Draining(served, 0.3).end()
        assert stuck.is_closed_silently()
        assert not [each for each in parse_responses(half.read_to_end()) if each.status < 400]


def test_close_closes_all_connections_at_once(served: RunningServer) -> None:
    with served.connect() as peer:
        peer.send(build_get("/fast/stuck"))
        until(lambda: "stuck" in BEGUN)
        served.stop()
        assert peer.is_closed_silently()
    with pytest.raises(ConnectionError):
        served.connect()


def test_a_drain_without_connections_returns_at_once(served: RunningServer) -> None:
    Draining(served).end()
    Draining(served).end()


def until(true: Callable[[], object], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.005)
