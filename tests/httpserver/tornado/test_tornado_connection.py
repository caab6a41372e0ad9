"""An unchanged Tornado application on this server: flow control, disconnects, limits."""

import asyncio
import time
from collections.abc import Callable

import pytest
from tornado.iostream import StreamClosedError
from tornado.web import Application, RequestHandler, stream_request_body

from tests.support.httpserver.echo_application import no_access_log
from tests.support.httpserver.raw_client import build_get, build_request, parse_responses
from tests.support.httpserver.server_thread import RunningServer, ServerThread

RECORDED: dict[str, list[object]] = {}


def record(name: str, what: object) -> None:
    RECORDED.setdefault(name, []).append(what)


@stream_request_body
class SlowUploadHandler(RequestHandler):
    """Reads each part of a body slowly."""

    def prepare(self) -> None:
        self.request.connection.set_max_body_size(64 << 20)  # type: ignore[union-attr]

    async def data_received(self, chunk: bytes) -> None:
        record("taken", len(chunk))
        await asyncio.sleep(0.05)

    def post(self) -> None:
        self.write("taken")


class EventStreamHandler(RequestHandler):
    """Server-sent events until the client disconnects."""

    left: asyncio.Event | None = None

    async def get(self) -> None:
        self.left = asyncio.Event()
        self.set_header("Content-Type", "text/event-stream")
        for number in range(2):
            self.write(f"data: {number}\n\n")
            await self.flush()
        await self.left.wait()
        record("events", "left")

    def on_connection_close(self) -> None:
        assert self.left is not None
        self.left.set()


class Stubborn(RequestHandler):
    """Sends after its client has disconnected."""

    async def get(self) -> None:
        self.write("a")
        await self.flush()
        try:
            while True:
                self.write(bytes(10_000))
                await self.flush()
                await asyncio.sleep(0.005)
        except StreamClosedError:
            record("stubborn", "closed")


class Grabbing(RequestHandler):
    """Detaches its connection, at once or after a response."""

    async def get(self, when: str) -> None:
        match when:
            case "upgraded":
                self.set_status(101)
                self.set_header("Upgrade", "x")
                await self.flush()
            case "begun":
                self.write("begun")
                await self.flush()
            case "finished":
                await self.finish("finished")
        self.detach()


class Framing(RequestHandler):
    """Sets the header fields in the query and responds with ten bytes."""

    def get(self) -> None:
        self.set_status(int(self.get_query_argument("status", "200")))
        for name in ("Content-Length", "Transfer-Encoding"):
            for value in self.get_query_arguments(name, strip=False):
                self.add_header(name, value)
        if self.get_status() != 204:
            self.write(bytes(10))


class UnreadBodyHandler(RequestHandler):
    """Responds without reading the body."""

    def prepare(self) -> None:
        self.set_status(403)
        self.finish("no")


@stream_request_body
class EarlyStreamed(UnreadBodyHandler):
    def data_received(self, chunk: bytes) -> None:
        record("early", chunk)


class ClientAddressHandler(RequestHandler):
    def get(self) -> None:
        asked = self.request
        self.write(f"{asked.remote_ip} {asked.protocol} {asked.full_url()} {asked.version}")


ROUTES = [
    (r"/slow", SlowUploadHandler),
    (r"/events", EventStreamHandler),
    (r"/stubborn", Stubborn),
    (r"/grabbing/(\w+)", Grabbing),
    (r"/framing", Framing),
    (r"/early", UnreadBodyHandler),
    (r"/early/streamed", EarlyStreamed),
    (r"/who", ClientAddressHandler),
]


@pytest.fixture
def served(stage: ServerThread) -> RunningServer:
    RECORDED.clear()
    return stage.serve(Application(ROUTES, log_function=no_access_log))  # type: ignore[arg-type]


def ping(served: RunningServer) -> None:
    """Wait until an earlier request has written its log lines."""
    served.ping("/who")


def until(true: Callable[[], object], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.005)


def test_a_body_is_read_at_the_speed_of_its_handler(served: RunningServer) -> None:
    with served.connect() as peer:
        peer.send(build_request("POST", "/slow", "Content-Length: 33554432"))
        peer.socket.settimeout(0.25)
        sent, began = 0, time.monotonic()
        with pytest.raises(TimeoutError):
            while sent < 33554432:
                sent += peer.socket.send(bytes(1 << 20))
        taken = sum(RECORDED["taken"])  # type: ignore[arg-type]
        assert taken <= (time.monotonic() - began + 0.1) / 0.05 * 65536
        assert sent - taken < 12 << 20  # kernel buffers


def test_an_event_stream_ends_when_its_client_leaves(served: RunningServer) -> None:
    with served.connect() as peer:
        peer.send(build_get("/events"))
        until(lambda: peer.receive() and b"data: 1" in peer.buffer)
        assert "events" not in RECORDED
    until(lambda: RECORDED.get("events") == ["left"])


def test_writing_to_a_closed_connection_raises(served: RunningServer) -> None:
    with served.connect() as peer:
        peer.send(build_get("/stubborn"))
        peer.receive()
    until(lambda: RECORDED.get("stubborn") == ["closed"])


@pytest.mark.parametrize(
    ("when", "statuses"),
    [("now", [501]), ("upgraded", [501]), ("begun", None), ("finished", [200])],
)
def test_detach_is_refused_and_closes_the_connection(
    served: RunningServer, when: str, statuses: list[int] | None, caplog: pytest.LogCaptureFixture
) -> None:
    """Tornado takes a request as finished after detach, so the server must respond."""
    with served.connect() as peer:
        peer.send(build_get(f"/grabbing/{when}"))
        data = peer.read_to_end()
        if statuses is None:
            assert not data.endswith(b"0\r\n\r\n")  # aborted, not completed
        else:
            assert [each.status for each in parse_responses(data)] == statuses
    assert (b"do not call detach" in data) == (statuses == [501])
    ping(served)
    caplog.clear()


@pytest.mark.parametrize(
    "query",
    [
        "Content-Length=%2B10",
        "Content-Length=-10",
        "Content-Length=1_0",
        "Content-Length=10.0",
        "Content-Length=0xA",
        "Content-Length=10,10",
        "Content-Length=10&Content-Length=10",
        "Content-Length=10&Content-Length=9",
        "Content-Length=10000000000000000000",
        "Content-Length=ten",
        "Transfer-Encoding=chunked",
        "Transfer-Encoding=gzip",
        "Transfer-Encoding=chunked&Content-Length=10",
    ],
)
def test_a_field_that_breaks_response_framing_is_not_sent(
    served: RunningServer, query: str, caplog: pytest.LogCaptureFixture
) -> None:
    with served.connect() as peer:
        peer.send(build_get(f"/framing?{query}") + build_get("/who"))
        (answer,) = parse_responses(peer.read_to_end())
    assert answer.status == 500
    assert answer.closes_connection
    assert answer.header("Content-Type") == "application/problem+json"
    ping(served)
    caplog.clear()


def test_a_correct_content_length_is_sent(served: RunningServer) -> None:
    with served.connect() as peer:
        assert peer.request(build_get("/framing?Content-Length=10")).body == bytes(10)
        assert peer.request(build_get("/framing?Content-Length=0010")).body == bytes(10)
        none = peer.request(build_get("/framing?status=204&Content-Length=0"))
        assert (none.status, none.header("Content-Length")) == (204, None)


@pytest.mark.parametrize(("path", "statuses"), [("/early", [403, 200]), ("/early/streamed", [403])])
def test_a_response_before_the_end_of_a_stream_closes_the_connection(
    served: RunningServer, path: str, statuses: list[int]
) -> None:
    """A handler that does not stream gets its whole body first, so its connection stays open."""
    with served.connect() as peer:
        peer.send(
            build_request("POST", path, body=b"x" * 100_000)
            + build_get("/who", "Connection: close")
        )
        assert [each.status for each in parse_responses(peer.read_to_end())] == statuses
    assert "early" not in RECORDED


def test_a_handler_sees_the_address_of_its_client(served: RunningServer) -> None:
    with served.connect() as peer:
        assert peer.request(build_get("/who?a=b")).body == (
            b"127.0.0.1 http http://a.example/who?a=b HTTP/1.1"
        )
        asked = b"GET HTTP://b.example:81/who HTTP/1.1\r\nHost: a.example\r\n\r\n"
        assert peer.request(asked).body == b"127.0.0.1 http http://b.example:81/who HTTP/1.1"
