"""Limits of sizes, times and counts of a connection; other clients are served meanwhile."""

import asyncio
import contextlib
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from tornado.iostream import StreamClosedError
from tornado.web import Application, RequestHandler, stream_request_body

from httpserver import FastRoute, Request, Response, ServerLimits
from tests.support.httpserver.echo_application import FAST_ROUTES, echo_application, no_access_log
from tests.support.httpserver.raw_client import (
    RawClient,
    RawResponse,
    build_get,
    build_request,
    encode_chunks,
    parse_responses,
    split_at,
)
from tests.support.httpserver.server_thread import RunningServer, ServerThread

SIZES = ServerLimits(request_line_bytes=200, header_bytes=300, body_bytes=1000)
# As short as a busy machine allows. The timeout sweep runs at least once a second.
TIMES = ServerLimits(
    header_seconds=0.4, body_seconds=0.4, idle_seconds=0.6, write_seconds=0.4, linger_seconds=0.4
)
SOON = 60.0  # far longer than any of these


class Seen:
    """Events of the handlers below, by name of the test."""

    def __init__(self) -> None:
        self.closed: list[str] = []
        self.sent: dict[str, int] = {}
        self.received: dict[str, int] = {}


SEEN = Seen()


@stream_request_body
class Upload(RequestHandler):
    """Accepts a body of up to 5,000 bytes, or a large one."""

    def prepare(self) -> None:
        self.size = 0
        size = 100_000_000 if "large" in self.request.query else 5000
        self.request.connection.set_max_body_size(size)  # type: ignore[union-attr]

    def data_received(self, chunk: bytes) -> None:
        self.size += len(chunk)
        name = self.get_query_argument("name", "")
        SEEN.received[name] = SEEN.received.get(name, 0) + len(chunk)

    def post(self) -> None:
        self.write(str(self.size))

    def on_connection_close(self) -> None:
        super().on_connection_close()
        SEEN.closed.append(self.get_query_argument("name", ""))


@stream_request_body
class Patient(Upload):
    """Allows its clients more time, and is slow itself."""

    def prepare(self) -> None:
        super().prepare()
        self.request.connection.set_body_timeout(30)  # type: ignore[union-attr]


@stream_request_body
class Busy(Upload):
    async def data_received(self, chunk: bytes) -> None:
        super().data_received(chunk)
        await asyncio.sleep(0.9)


class Flood(RequestHandler):
    """Sends until its client disconnects."""

    async def get(self) -> None:
        name = self.get_query_argument("name")
        part = bytes(50_000)
        try:
            while SEEN.sent.get(name, 0) < 200 << 20:
                self.write(part)
                await self.flush()
                SEEN.sent[name] = SEEN.sent.get(name, 0) + len(part)
        except StreamClosedError:
            SEEN.closed.append("raised " + name)

    def on_connection_close(self) -> None:
        SEEN.closed.append("notified " + self.get_query_argument("name"))


class LargeResponseHandler(RequestHandler):
    def get(self) -> None:
        self.write(bytes(4 << 20))


BIG = Response(200, (), bytes(1 << 20))
CALLS: dict[str, int] = {}


def big(asked: Request) -> Response:
    CALLS[asked.params[0]] = CALLS.get(asked.params[0], 0) + 1
    return BIG


def stop(application: Any) -> Any:
    application.add_handlers(
        r".*",
        [
            (r"/app/upload", Upload),
            (r"/app/patient", Patient),
            (r"/app/busy", Busy),
            (r"/app/flood", Flood),
            (r"/app/big", LargeResponseHandler),
        ],
    )
    return application


ALL = [
    *FAST_ROUTES,
    FastRoute("POST", r"/fast/small", lambda asked: Response(200, (), asked.body), body_limit=10),
    FastRoute("GET", r"/fast/big/(\w+)", big),
]


def serve(stage: ServerThread, limits: ServerLimits) -> RunningServer:
    return stage.serve(stop(echo_application()), ALL, limits=limits)


@pytest.fixture(scope="module")
def sized(stage: ServerThread) -> RunningServer:
    return serve(stage, SIZES)


@pytest.fixture(scope="module")
def timed(stage: ServerThread) -> RunningServer:
    return serve(stage, TIMES)


@pytest.fixture(scope="module")
def patient(fast_stage: ServerThread) -> RunningServer:
    """The same on one loop, for slow tests that do not depend on the loop."""
    return serve(fast_stage, TIMES)


@pytest.fixture
def pinged(timed: RunningServer) -> Iterator[None]:
    """Request pages meanwhile, and check that each response is prompt."""
    yield from looked_at(timed)


@pytest.fixture
def patient_pinged(patient: RunningServer) -> Iterator[None]:
    yield from looked_at(patient)


def looked_at(served: RunningServer) -> Iterator[None]:
    times: list[float] = []
    ended = threading.Event()

    def look() -> None:
        while not ended.wait(0.02):
            begun = time.monotonic()
            served.ping()
            times.append(time.monotonic() - begun)

    thread = threading.Thread(target=look)
    thread.start()
    yield
    ended.set()
    thread.join(120)
    # A busy machine delays single requests; a blocked server delays all until it closes the
    # blocking client.
    assert statistics.median(times) < TIMES.write_seconds * 0.75


# Sizes.


def line_of(length: int) -> bytes:
    """Return a request whose request line has `length` bytes."""
    return build_get("/fast/hello?" + "x" * (length - len("GET /fast/hello? HTTP/1.1")))


def headers_of(length: int) -> bytes:
    """Return a request whose header section has `length` bytes, line ends included."""
    short = build_get("/fast/hello", "X-A: ")
    return build_get(
        "/fast/hello", "X-A: " + "x" * (length - len(short) + len("GET /fast/hello HTTP/1.1\r\n"))
    )


def one(served: RunningServer, *parts: bytes, method: str = "GET") -> RawResponse:
    """Return the first response; each part is read before the next is sent."""
    with served.connect() as peer:
        for part in parts:
            peer.send(part)
            if part is not parts[-1]:
                served.ping()
        return peer.read_response(method)


@pytest.mark.parametrize(("fits", "status", "build"), [(200, 414, line_of), (300, 431, headers_of)])
def test_head_limits_are_exact(
    sized: RunningServer, fits: int, status: int, build: Callable[[int], bytes]
) -> None:
    for data in (build(fits - 1), build(fits)):
        for cut in edges(data):
            assert one(sized, *split_at(data, [cut])).status == 200
    for length in (fits + 1, fits + 2, fits + 1000):
        data = build(length)
        for cut in edges(data):
            answer = one(sized, *split_at(data, [cut]))
            assert (answer.status, answer.closes_connection) == (status, True)


def edges(data: bytes) -> list[int]:
    """Return places to split: none, and around the ends of the request line and the head."""
    return [
        0,
        *range(data.index(b"\r") - 2, data.index(b"\r") + 4),
        *range(len(data) - 5, len(data)),
    ]


@pytest.mark.parametrize(
    ("endless", "status"),
    [
        (b"GET /" + b"x" * 100_000, 414),
        (b"G" * 100_000, 414),
        (b"GET / HTTP/1.1\r\nX: " + b"x" * 100_000, 431),
        (b"GET / HTTP/1.1\r\n" + b"x" * 100_000, 431),
        (b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 20_000, 431),
        (b"POST /fast/echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
         b"0\r\n" + b"X: y\r\n" * 20_000, 431),
        (b"POST /app/echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
         b"0\r\nX: " + b"y" * 100_000, 431),
        (b"POST /fast/echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
         b"1;" + b"a" * 100_000, 413),
        (b"POST /fast/echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
         + (b"1;" + b"a" * 900 + b"\r\nx\r\n") * 200, 413),
        (b"POST /fast/echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
         + b"0" * 100_000, 413),
    ],
)  # fmt: skip
def test_endless_input_is_refused(sized: RunningServer, endless: bytes, status: int) -> None:
    with sized.connect() as peer:
        peer.send(endless)
        answer = peer.read_response()
        assert answer.status in {status, 400, 501 if endless.startswith(b"GG") else 400}
        assert answer.closes_connection
        assert peer.is_closed_silently()


@pytest.mark.parametrize(
    ("path", "fits"),
    [("/fast/echo", 1000), ("/app/echo", 1000), ("/fast/small", 10), ("/app/upload", 5000)],
)
def test_body_limits_are_exact(sized: RunningServer, path: str, fits: int) -> None:
    coded = build_request("POST", path, "Transfer-Encoding: chunked")
    assert one(sized, build_request("POST", path, body=b"x" * fits)).status == 200
    assert one(sized, coded + encode_chunks(b"x" * fits)).status == 200
    assert one(sized, coded + encode_chunks(*[b"x"] * fits)).status == 200
    for refused in (
        build_request("POST", path, body=b"x" * (fits + 1)),
        build_request("POST", path, body=b"x" * 10 * fits),
        coded + encode_chunks(b"x" * (fits + 1)),
        coded + encode_chunks(*[b"x"] * (fits + 1)),
        coded + encode_chunks(b"x" * fits, b"x"),
        build_request("POST", path, f"Content-Length: {fits + 1}"),
        build_request("POST", path, "Content-Length: 999999999999999"),
        coded + b"%x\r\n" % (fits + 1),
        coded + b"ffffffffffffff\r\n",
    ):
        answer = one(sized, refused, method="POST")
        assert answer.status == 413
        assert answer.closes_connection


def test_a_refused_upload_gets_its_response_while_still_sending(sized: RunningServer) -> None:
    """RFC 9112, 9.6: closing at once could lose the response."""
    for path in ("/fast/echo", "/app/echo", "/app/upload"):
        with sized.connect() as peer:
            peer.send(build_request("POST", path, "Content-Length: 400000"))
            for _ in range(40):
                peer.send(bytes(10_000))
                time.sleep(0.001)
            assert [each.status for each in parse_responses(peer.read_to_end(), ["POST"])] == [413]


# Times.


def drip(peer: RawClient, data: bytes, pause: float = 0.05) -> float:
    """Send single bytes until the server closes; return the seconds until then."""
    begun = time.monotonic()
    for at in range(len(data)):
        if not peer.send(data[at : at + 1]):
            break
        peer.socket.settimeout(pause)
        with contextlib.suppress(TimeoutError):
            if not peer.receive():
                break
        assert time.monotonic() - begun < SOON
    return time.monotonic() - begun


def together(
    patient: RunningServer, slow: dict[str, Callable[[RawClient], float]]
) -> dict[str, bytes]:
    """Run all slow clients at once; return what each received before it was disconnected."""
    answered: dict[str, bytes] = {}
    errors: list[BaseException] = []

    def run(name: str, act: Callable[[RawClient], float]) -> None:
        try:
            with patient.connect(seconds=SOON) as peer:
                assert act(peer) > 0.25, name
                peer.socket.settimeout(SOON)
                answered[name] = peer.read_to_end() if not peer.is_at_end else peer.buffer
        except BaseException as error:
            error.add_note(name)
            errors.append(error)

    threads = [threading.Thread(target=run, args=each) for each in slow.items()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    if errors:
        raise errors[0]
    return answered


def wait(data: bytes) -> Callable[[RawClient], float]:
    """Return a client that sends `data` and then nothing."""

    def act(peer: RawClient) -> float:
        begun = time.monotonic()
        peer.send(data)
        peer.socket.settimeout(SOON)
        while peer.receive():
            pass
        return time.monotonic() - begun

    return act


LONG = build_get("/fast/hello", "X-Long: " + "x" * 500)


@pytest.mark.usefixtures("patient_pinged")
def test_slow_headers_time_out(patient: RunningServer) -> None:
    before = patient.server.stats.timeouts["header"]
    answered = together(
        patient,
        {
            "a word": wait(b"GET"),
            "a line": wait(b"GET / HTTP/1.1\r\n"),
            "all but the end": wait(build_get()[:-1]),
            "bytes": lambda peer: drip(peer, LONG),
            "bytes after an answer": lambda peer: peer.request(build_get()) and drip(peer, LONG),  # type: ignore[dict-item]
            "behind another": wait(build_get() + b"GET / HTTP/1.1\r\nX"),
        },
    )
    for name, data in answered.items():
        answers = parse_responses(data)
        assert [each.status for each in answers] in ([408], [200, 408]), name
        assert answers[-1].closes_connection
    assert patient.server.stats.timeouts["header"] - before >= 6


def test_empty_lines_do_not_keep_a_connection(patient: RunningServer) -> None:
    with patient.connect() as peer:
        drip(peer, b"\r\n" * 100)


@pytest.mark.usefixtures("patient_pinged")
def test_slow_bodies_time_out(patient: RunningServer) -> None:
    SEEN.closed.clear()
    before = patient.server.stats.timeouts["body"]
    slow: dict[str, Callable[[RawClient], float]] = {}
    for path in ("/fast/echo", "/app/echo", "/app/upload?name=slow"):
        head = build_request("POST", path, "Content-Length: 500")
        coded = build_request("POST", path, "Transfer-Encoding: chunked")
        slow[path + " nothing"] = wait(head)
        slow[path + " a part"] = wait(head + b"x" * 499)
        slow[path + " no last chunk"] = wait(coded + b"1\r\nx\r\n")
        slow[path + " no last line"] = wait(coded + b"0\r\n")
        slow[path + " bytes"] = lambda peer, head=head: dripped(peer, head, b"x" * 400)  # type: ignore[misc]
        slow[path + " chunks"] = lambda peer, coded=coded: dripped(peer, coded, b"1\r\nx\r\n" * 99)  # type: ignore[misc]
        slow[path + " extension"] = lambda peer, coded=coded: dripped(
            peer, coded, b"1;" + b"x" * 400
        )  # type: ignore[misc]
        slow[path + " trailer"] = lambda peer, coded=coded: dripped(
            peer, coded, b"0\r\n" + b"X:y\r\n" * 99
        )  # type: ignore[misc]
    for name, data in together(patient, slow).items():
        answers = parse_responses(data, ["POST"])
        assert [each.status for each in answers] == [408], name
        assert answers[0].closes_connection
    assert patient.server.stats.timeouts["body"] - before == len(slow)
    assert SEEN.closed.count("slow") == 8


def dripped(peer: RawClient, head: bytes, body: bytes) -> float:
    peer.send(head)
    return drip(peer, body)


@pytest.mark.usefixtures("patient_pinged")
def test_idle_connections_are_closed_without_a_response(patient: RunningServer) -> None:
    before = patient.server.stats.timeouts["idle"]
    answered = together(
        patient,
        {
            "never asked": wait(b""),
            "asked a fast route": wait(build_get()),
            "asked the application": wait(build_get("/app/echo")),
            "asked to be kept": wait(
                build_get("/fast/hello", "Connection: keep-alive", version="1.0")
            ),
        },
    )
    for name, data in answered.items():
        assert [each.status for each in parse_responses(data)] in ([], [200]), name
    assert patient.server.stats.timeouts["idle"] - before == 4


def test_a_connection_awaiting_a_response_is_not_idle(patient: RunningServer) -> None:
    for plane in ("fast", "app"):
        with patient.connect() as peer:
            assert peer.request(build_get(f"/{plane}/late/900")).body == b"late 900"
            assert peer.request(build_get()).body == b"hello"


def test_a_steady_upload_may_take_longer_than_a_stalled_one(patient: RunningServer) -> None:
    """A handler may set its own timeout, and its own time does not count."""
    with patient.connect() as steady, patient.connect() as busy:
        busy.send(build_request("POST", "/app/busy", body=b"x" * 4000))
        steady.send(build_request("POST", "/app/patient", "Content-Length: 20"))
        for _ in range(20):
            time.sleep(0.06)
            steady.send(b"x")
        assert steady.read_response("POST").body == b"20"
        assert busy.read_response("POST").body == b"4000"


# Clients that do not read.


def test_a_client_that_does_not_read_a_fast_route_is_disconnected(
    timed: RunningServer, pinged: None
) -> None:
    CALLS.clear()
    before = timed.server.stats.timeouts["write"]
    with timed.connect(receive_buffer=4096) as peer:
        peer.send(build_get("/fast/big/unread") * 500)
        until(lambda: timed.server.stats.timeouts["write"] > before)
        with pytest.raises((ConnectionError, TimeoutError, AssertionError)):
            assert len(peer.read_to_end()) > 500 << 20
    assert CALLS["unread"] < 20


def test_a_client_that_does_not_read_a_stream_is_disconnected(
    timed: RunningServer, pinged: None
) -> None:
    SEEN.closed.clear()
    SEEN.sent.clear()
    with timed.connect(receive_buffer=4096) as peer:
        peer.send(build_get("/app/flood?name=unread"))
        until(lambda: "raised unread" in SEEN.closed)
    assert "notified unread" in SEEN.closed
    assert SEEN.sent["unread"] < 20 << 20


@pytest.mark.parametrize("path", ["/fast/big/last", "/app/big"])
def test_a_client_that_does_not_read_the_last_response_is_disconnected(
    timed: RunningServer, path: str
) -> None:
    with timed.connect(receive_buffer=4096) as peer:
        peer.send(build_get(path, "Connection: close"))
        until(lambda: not timed.server.open_connections)


def test_a_slow_but_steady_reader_gets_the_whole_response(patient: RunningServer) -> None:
    with patient.connect(receive_buffer=65536) as peer:
        peer.send(build_get("/app/big", "Connection: close"))
        whole, begun = b"", time.monotonic()
        while part := peer.socket.recv(32_768):
            whole += part
            time.sleep(0.02 if len(whole) < 3 << 20 else 0)
        (answer,) = parse_responses(whole)
        assert len(answer.body) == 4 << 20
        assert time.monotonic() - begun > 3 * TIMES.write_seconds


def test_a_client_that_sends_without_reading_is_paused(timed: RunningServer) -> None:
    """Its requests must not accumulate in memory either."""
    CALLS.clear()
    with timed.connect(seconds=SOON, receive_buffer=4096) as peer:
        sending, sent = build_get("/fast/big/piled") * 1000, 0
        with contextlib.suppress(OSError):
            while sent < 100 << 20:
                sent += peer.socket.send(sending)
    assert sent < 32 << 20
    assert CALLS["piled"] < 20


def until(true: Callable[[], object], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.mark.usefixtures("pinged")
def test_an_upload_to_a_busy_handler_is_paused(timed: RunningServer) -> None:
    """While a handler works on a part, the rest of the body must not accumulate."""
    with timed.connect(seconds=0.3) as peer:
        sent = 0
        with contextlib.suppress(OSError):
            peer.send(build_request("POST", "/app/busy?large", "Content-Length: 99000000"))
            while sent < 99_000_000:
                sent += peer.socket.send(bytes(100_000))
    assert sent < 16 << 20


def test_a_pipelining_client_takes_turns_with_others(stage: ServerThread) -> None:
    """Few of thousands of pipelined requests are answered before another client's."""
    begun, go = threading.Event(), threading.Event()
    calls = 0

    def flood(_: Request) -> Response:
        nonlocal calls
        calls += 1
        if calls == 1:
            begun.set()
            go.wait(60)  # block the loop until the other request has arrived
        return Response(200, (), str(calls).encode())

    def mark(_: Request) -> Response:
        return Response(200, (), str(calls).encode())

    routes = [FastRoute("GET", "/fast/flood", flood), FastRoute("GET", "/fast/mark", mark)]
    served = stage.serve(echo_application(), routes)
    with served.connect() as greedy, served.connect() as other:
        assert other.request(build_get("/fast/mark")).body == b"0"
        greedy.send(build_get("/fast/flood") * 8000 + build_get("/fast/flood", "Connection: close"))
        begun.wait(60)
        other.send(build_get("/fast/mark"))
        go.set()
        assert int(other.read_response().body) < 4000
        assert len(parse_responses(greedy.read_to_end())) == 8001


def test_a_body_in_one_byte_chunks_is_read(stage: ServerThread) -> None:
    with serve(stage, ServerLimits()).connect() as peer:
        peer.send(build_request("POST", "/fast/echo", "Transfer-Encoding: chunked"))
        assert peer.request(encode_chunks(*[b"x"] * 100_000), "POST").status == 200


# Counts.


def test_a_connection_over_the_limit_gets_503_and_is_closed(stage: ServerThread) -> None:
    served = serve(stage, ServerLimits(max_connections=3))
    with served.connect() as one, served.connect() as two, served.connect() as three:
        assert {each.request(build_get()).status for each in (one, two, three)} == {200}
        for _ in range(5):
            with served.connect() as four:
                (answer,) = parse_responses(four.read_to_end())
            assert (answer.status, answer.closes_connection) == (503, True)
            assert answer.header("Retry-After")
        with served.connect() as four:
            four.send(build_get())
            assert [each.status for each in parse_responses(four.read_to_end())] == [503]
        assert {each.request(build_get("/app/echo")).status for each in (one, two, three)} == {200}
        assert served.server.open_connections == 3
        assert served.server.stats.refused_connections == 6
        two.close()
        until(lambda: served.server.open_connections == 2)
        with served.connect() as four:
            assert four.request(build_get()).status == 200
    until(lambda: not served.server.open_connections)


def test_many_connections_over_the_limit_are_closed(stage: ServerThread) -> None:
    served = serve(stage, ServerLimits(max_connections=2, linger_seconds=0.3))
    with served.connect() as one:
        one.request(build_get())
        crowd = [served.connect() for _ in range(700)]
        assert one.request(build_get()).status == 200
        until(lambda: served.server.stats.refused_connections == 699)
        for each in crowd:
            each.close()
        until(lambda: served.server.open_connections == 1)
        served.ping()


@pytest.mark.parametrize("path", ["/fast/hello", "/fast/late/1", "/app/echo", "/app/late/1"])
def test_a_connection_closes_after_its_maximum_of_requests(stage: ServerThread, path: str) -> None:
    served = serve(stage, ServerLimits(requests_per_connection=3))
    with served.connect() as peer:
        answers = [peer.request(build_get(path)) for _ in range(3)]
        assert [each.closes_connection for each in answers] == [False, False, True]
        assert peer.is_closed_silently()
    with served.connect() as peer:
        peer.send(build_get(path) * 9)
        assert [each.closes_connection for each in parse_responses(peer.read_to_end())] == [
            False,
            False,
            True,
        ]


def test_invalid_limits_are_refused() -> None:
    with pytest.raises(ValueError, match="body"):
        ServerLimits(body_bytes=-1)


def test_an_application_without_fast_routes_has_the_same_limits(stage: ServerThread) -> None:
    class Plain(RequestHandler):
        def post(self) -> None:
            self.write(str(len(self.request.body)))

    served = stage.serve(Application([(r"/", Plain)], log_function=no_access_log), limits=SIZES)
    with served.connect() as peer:
        assert peer.request(build_request("POST", "/", body=b"x" * 1000)).body == b"1000"
        assert peer.request(build_request("POST", "/", body=b"x" * 1001)).status == 413
        assert peer.is_closed_silently()
