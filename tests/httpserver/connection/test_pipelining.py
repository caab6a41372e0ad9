"""Responses have the order of their requests, for fast routes, handlers and slow responses."""

import asyncio
import random
import threading
import time
from collections.abc import Callable

import pytest
from tornado.iostream import StreamClosedError
from tornado.web import Application, RequestHandler, stream_request_body

from httpserver import FastRoute, Request, Response
from tests.support.httpserver.echo_application import (
    FAST_ROUTES,
    echo_application,
    echo_body,
    no_access_log,
)
from tests.support.httpserver.raw_client import (
    build_get,
    build_request,
    encode_chunks,
    parse_responses,
    split_at,
)
from tests.support.httpserver.server_thread import RunningServer, ServerThread

LAST = build_get("/fast/echo?last", "Connection: close")


class PipelinedBodilessHandler(RequestHandler):
    """GET responds with the status in the path and no body; HEAD has the same fields."""

    def get(self, status: str) -> None:
        self.set_status(int(status))

    def head(self, status: str) -> None:
        self.set_status(int(status))
        if status != "204":
            self.set_header("Content-Length", "10")


class Parts(RequestHandler):
    """Sends parts of a body, with a flush and a pause after each."""

    async def get(self, count: str) -> None:
        for number in range(int(count)):
            self.write(f"part {number}\n")
            await self.flush()
            await asyncio.sleep(0.001)


class Counting:
    """A fast route that counts concurrent calls and records their names."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.gates: dict[str, asyncio.Event] = {}

    async def call(self, request: Request) -> Response:
        name = request.params[0]
        self.begun.append(name)
        gate = self.gates.setdefault(name, asyncio.Event())
        await asyncio.wait_for(gate.wait(), 10)
        return Response(200, (), name.encode())

    def open(self, name: str) -> None:
        self.gates.setdefault(name, asyncio.Event()).set()


class Abandoned(RequestHandler):
    """Waits until its client disconnects."""

    gone = threading.Event()

    async def get(self) -> None:
        self.left = asyncio.Event()
        try:
            await asyncio.wait_for(self.left.wait(), 10)
            await self.flush()
        except StreamClosedError:
            pass

    def on_connection_close(self) -> None:
        self.left.set()
        self.gone.set()


@stream_request_body
class LetsIn(RequestHandler):
    """Authenticates slowly, as with a database query."""

    async def prepare(self) -> None:
        await asyncio.sleep(0.02)

    def data_received(self, chunk: bytes) -> None:
        pass

    def get(self) -> None:
        self.write("in")

    post = get


@stream_request_body
class Stays(LetsIn):
    """Authenticates slowly, then waits until its client disconnects."""

    gone = threading.Event()

    async def get(self) -> None:  # type: ignore[override]
        self.left = asyncio.Event()
        await asyncio.wait_for(self.left.wait(), 10)

    def on_connection_close(self) -> None:
        super().on_connection_close()
        self.gone.set()
        if hasattr(self, "left"):
            self.left.set()


@pytest.fixture(scope="module")
def counting() -> Counting:
    return Counting()


@pytest.fixture(scope="module")
def served(stage: ServerThread, counting: Counting) -> RunningServer:
    app = echo_application()
    app.add_handlers(
        r".*",
        [
            (r"/app/status/(\d+)", PipelinedBodilessHandler),
            (r"/app/parts/(\d+)", Parts),
            (r"/app/abandoned", Abandoned),
            (r"/app/lets-in", LetsIn),
            (r"/app/stays", Stays),
        ],
    )
    routes = [
        *FAST_ROUTES,
        FastRoute("GET", r"/fast/status/(\d+)", lambda asked: Response(int(asked.params[0]))),
        FastRoute("GET", r"/fast/gate/(\w+)", counting.call),
    ]
    return stage.serve(app, routes)


def bodies(
    served: RunningServer, data: bytes, *methods: str, cuts: tuple[int, ...] = ()
) -> list[bytes]:
    with served.connect() as peer:
        for part in split_at(data, cuts):
            peer.send(part)
        return [each.body for each in parse_responses(peer.read_to_end(), methods)]


def test_a_slow_response_precedes_later_fast_ones(served: RunningServer) -> None:
    asked = (
        build_get("/fast/late/60")
        + build_get("/fast/echo?2")
        + build_get("/app/late/30")
        + build_get("/fast/late/1")
    )
    assert bodies(served, asked + LAST) == [
        b"late 60",
        echo_body("GET", "/fast/echo?2", "a.example", b""),
        b"late 30",
        b"late 1",
        echo_body("GET", "/fast/echo?last", "a.example", b""),
    ]


def test_a_hundred_requests_in_one_segment_are_answered_in_order(served: RunningServer) -> None:
    chance = random.Random(1)
    asked, expected = b"", []
    for number in range(100):
        plane = chance.choice(["fast", "app"])
        body = b"body %d " % number * chance.randrange(40)
        match chance.randrange(4):
            case 0:
                milliseconds = chance.randrange(4)
                asked += build_get(f"/{plane}/late/{milliseconds}")
                expected.append(f"late {milliseconds}".encode())
            case 1:
                asked += build_get(f"/{plane}/echo?{number}")
                expected.append(echo_body("GET", f"/{plane}/echo?{number}", "a.example", b""))
            case 2:
                asked += build_request("POST", f"/{plane}/echo", body=body)
                expected.append(echo_body("POST", f"/{plane}/echo", "a.example", body))
            case 3:
                asked += build_request("POST", f"/{plane}/echo", "Transfer-Encoding: chunked")
                asked += encode_chunks(*([body] if body else []), b"end")
                expected.append(echo_body("POST", f"/{plane}/echo", "a.example", body + b"end"))
    expected.append(echo_body("GET", "/fast/echo?last", "a.example", b""))
    assert bodies(served, asked + LAST) == expected
    cuts = tuple(chance.sample(range(1, len(asked)), 50))
    assert bodies(served, asked + LAST, cuts=cuts) == expected


def test_thousands_of_pipelined_requests_do_not_recurse(served: RunningServer) -> None:
    """The loop over buffered requests must not recurse."""
    for path in ("/fast/hello", "/fast/late/0", "/app/late/0"):
        assert len(bodies(served, build_get(path) * 1500 + LAST)) == 1501


def test_requests_after_connection_close_are_not_answered(served: RunningServer) -> None:
    for path in ("/fast/echo", "/fast/late/20", "/app/echo", "/app/late/20"):
        asked = build_get("/fast/echo?1") + build_get(path, "Connection: close")
        posted = build_request("POST", "/fast/echo", body=b"never") + build_get("/app/echo?never")
        assert len(bodies(served, asked + posted)) == 2


def test_data_after_connection_close_does_not_reset_responses(served: RunningServer) -> None:
    """Closing with unread bytes would reset the connection and lose responses in flight."""
    body = b"x" * 200_000
    for plane in ("fast", "app"):
        post = build_request("POST", f"/{plane}/echo", body=body)
        with served.connect(receive_buffer=65536) as peer:
            peer.send(
                post * 4 + build_request("POST", f"/{plane}/echo", "Connection: close", body=body)
            )
            sending = threading.Thread(target=peer.send, args=(post * 5,))
            sending.start()
            time.sleep(0.02)
            answers = parse_responses(peer.read_to_end())
            sending.join(120)
        assert [each.body[-len(body) :] for each in answers] == [body] * 5


def test_requests_before_a_malformed_one_are_answered_in_order(served: RunningServer) -> None:
    for path in ("/fast/late/30", "/app/late/30"):
        with served.connect() as peer:
            malformed = b"GET / HTTP/1.1\r\nHost : x\r\n\r\n"
            peer.send(build_get(path) + build_get("/fast/echo?2") + malformed + LAST)
            answers = parse_responses(peer.read_to_end())
        assert [each.status for each in answers] == [200, 200, 400]
        assert answers[0].body == b"late 30"
        assert [each.closes_connection for each in answers] == [False, False, True]


@pytest.mark.parametrize("plane", ["fast", "app"])
def test_a_response_that_may_have_no_body_has_none(served: RunningServer, plane: str) -> None:
    asked = (
        build_request("HEAD", f"/{plane}/status/200")
        + build_get(f"/{plane}/status/204")
        + build_get(f"/{plane}/status/304")
        + build_request("HEAD", f"/{plane}/status/204")
        + build_request("HEAD", f"/{plane}/status/404")
    )
    with served.connect() as peer:
        peer.send(asked + LAST)
        answers = parse_responses(peer.read_to_end(), ["HEAD", "GET", "GET", "HEAD", "HEAD"])
    assert [each.status for each in answers] == [200, 204, 304, 204, 404, 200]
    assert [each.body for each in answers[:5]] == [b""] * 5
    assert answers[5].body.startswith(b"GET /fast/echo?last\n")


def test_head_of_a_fast_route_has_the_fields_of_get(served: RunningServer) -> None:
    with served.connect() as peer:
        from_get, asked = (
            peer.request(build_get("/fast/hello")),
            peer.request(build_request("HEAD", "/fast/hello")),
        )
        assert asked.comparable()[:3] == from_get.comparable()[:3]
        assert asked.header("Content-Length") == "5"
        assert peer.request(build_get("/fast/hello")).body == b"hello"


def test_streamed_and_other_responses_do_not_mix(served: RunningServer) -> None:
    asked = (
        build_get("/app/parts/5")
        + build_get("/fast/echo?2")
        + build_get("/app/parts/3")
        + build_get("/app/echo?4")
    )
    answered = bodies(served, asked + LAST)
    assert answered[0] == b"".join(b"part %d\n" % number for number in range(5))
    assert answered[1].startswith(b"GET /fast/echo?2\n")
    assert answered[2] == b"".join(b"part %d\n" % number for number in range(3))
    assert answered[3].startswith(b"GET /app/echo?4\n")
    assert len(answered) == 5


def test_a_flushed_part_is_sent_at_once(served: RunningServer) -> None:
    with served.connect() as peer:
        peer.send(build_get("/app/parts/200"))
        peer.receive()
        assert not peer.buffer.endswith(b"0\r\n\r\n")
        assert peer.read_response().chunks == 200


@pytest.mark.parametrize("plane", ["fast", "app"])
def test_a_half_closed_client_gets_its_responses(served: RunningServer, plane: str) -> None:
    with served.connect() as peer:
        peer.send(
            build_get(f"/{plane}/late/50")
            + build_request("POST", f"/{plane}/echo", body=b"x" * 1000)
        )
        peer.half_close()
        first, second = parse_responses(peer.read_to_end())
    assert first.body == b"late 50"
    assert second.body.endswith(b"\n" + b"x" * 1000)


@pytest.mark.parametrize(
    "unfinished",
    [b"", b"GET", b"GET / HTTP/1.1\r\nHo", b"POST /fast/echo HTTP/1.1\r\nHost: a\r\n"
     b"Content-Length: 10\r\n\r\n12345", b"POST /app/echo HTTP/1.1\r\nHost: a\r\n"
     b"Transfer-Encoding: chunked\r\n\r\n5\r\n123"],
)  # fmt: skip
def test_a_client_that_closes_within_a_request_is_disconnected(
    served: RunningServer, unfinished: bytes
) -> None:
    with served.connect() as peer:
        peer.send(build_get("/fast/late/20") + unfinished)
        peer.half_close()
        first, *others = parse_responses(peer.read_to_end())
    assert first.body == b"late 20"
    assert [each.status for each in others] in ([], [400])


@pytest.mark.parametrize("pause", [0.0, 0.05])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_client_half_closed_during_authentication_gets_its_response(
    served: RunningServer, method: str, pause: float
) -> None:
    with served.connect() as peer:
        peer.send(
            build_request(method, "/app/lets-in", body=b"" if method == "GET" else b"x" * 100)
        )
        time.sleep(pause)
        peer.half_close()
        (answer,) = parse_responses(peer.read_to_end())
    assert answer.status == 200


def test_a_handler_notices_a_disconnect_during_authentication(
    served: RunningServer,
) -> None:
    Stays.gone.clear()
    with served.connect() as peer:
        peer.send(build_get("/app/stays"))
        peer.half_close()
    assert Stays.gone.wait(120)


def test_a_handler_notices_a_disconnect(served: RunningServer) -> None:
    Abandoned.gone.clear()
    with served.connect() as peer:
        peer.send(build_get("/app/abandoned"))
        assert peer.is_quiet_for(0.05)
    assert Abandoned.gone.wait(120)
    served.ping()


def test_a_disconnect_from_a_fast_route_affects_no_other_client(
    served: RunningServer, counting: Counting
) -> None:
    with served.connect() as peer:
        peer.send(build_get("/fast/gate/alone") + build_get("/fast/hello"))
        until(lambda: "alone" in counting.begun)
    served.ping()
    served.thread.loop.call_soon_threadsafe(counting.open, "alone")
    served.ping()
    until(lambda: not served.server.open_connections)


def test_a_slow_request_delays_no_other_client(served: RunningServer, counting: Counting) -> None:
    with served.connect() as waiting:
        waiting.send(build_get("/fast/gate/one"))
        until(lambda: "one" in counting.begun)
        served.ping()
        served.thread.loop.call_soon_threadsafe(counting.open, "one")
        assert waiting.read_response().body == b"one"


def test_requests_queued_behind_a_slow_one_are_bounded(
    served: RunningServer, counting: Counting
) -> None:
    """The server must stop reading while a response is pending."""
    with served.connect(seconds=0.5) as peer:
        peer.send(build_get("/fast/gate/piled"))
        taken, sending = 0, build_get("/fast/echo") * 500
        try:
            while taken < 64 << 20:
                taken += peer.socket.send(sending)
        except TimeoutError:
            pass
    served.thread.loop.call_soon_threadsafe(counting.open, "piled")
    assert taken < 32 << 20


def until(true: Callable[[], object], seconds: float = 60) -> None:
    """Wait until `true()` holds."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.005)


@stream_request_body
class EarlyResponseHandler(RequestHandler):
    """Responds before its request's body arrives."""

    def prepare(self) -> None:
        self.set_status(403)
        self.finish("no")

    def data_received(self, chunk: bytes) -> None:
        raise AssertionError("not wanted")


@pytest.fixture(scope="module")
def early(stage: ServerThread) -> RunningServer:
    return stage.serve(
        Application([(r"/early", EarlyResponseHandler)], log_function=no_access_log), FAST_ROUTES
    )


def test_a_response_before_the_body_arrives_closes_the_connection(early: RunningServer) -> None:
    """The following bytes might be the body and must not be parsed as a request."""
    with early.connect() as peer:
        smuggled = build_get("/smuggled")
        peer.send(build_request("POST", "/early", body=b"")[:-2] + b"Content-Length: 1000\r\n\r\n")
        answer = peer.read_response("POST")
        assert (answer.status, answer.body) == (403, b"no")
        peer.send(smuggled * 20)
        assert peer.is_closed_silently()


def test_a_response_before_a_body_sent_with_its_head(early: RunningServer) -> None:
    with early.connect() as peer:
        peer.send(build_request("POST", "/early", body=b"x" * 1000) + LAST)
        first, *others = parse_responses(peer.read_to_end())
    assert (first.status, first.body) == (403, b"no")
    assert len(others) == (0 if first.closes_connection else 1)
