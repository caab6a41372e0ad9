"""What a peer may not take, it does not get; everybody else is served meanwhile."""

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
from tests.support.httpserver.echo_application import LANES, application, silent
from tests.support.httpserver.raw_client import (
    Answer,
    Peer,
    answers_of,
    chunked,
    get,
    pieces,
    request,
)
from tests.support.httpserver.server_thread import Served, Stage

SIZES = ServerLimits(request_line_bytes=200, header_bytes=300, body_bytes=1000)
# As short as a busy machine allows. The sweep looks no more seldom than once a second.
TIMES = ServerLimits(
    header_seconds=0.4, body_seconds=0.4, idle_seconds=0.6, write_seconds=0.4, linger_seconds=0.4
)
SOON = 60.0  # much later than any of these


class Seen:
    """What the handlers below have gone through, by name of the test."""

    def __init__(self) -> None:
        self.closed: list[str] = []
        self.sent: dict[str, int] = {}
        self.received: dict[str, int] = {}


SEEN = Seen()


@stream_request_body
class Upload(RequestHandler):
    """Takes a body of up to 5,000 bytes, or a large one."""

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
    """Gives its clients more time, and takes its own."""

    def prepare(self) -> None:
        super().prepare()
        self.request.connection.set_body_timeout(30)  # type: ignore[union-attr]


@stream_request_body
class Busy(Upload):
    async def data_received(self, chunk: bytes) -> None:
        super().data_received(chunk)
        await asyncio.sleep(0.9)


class Flood(RequestHandler):
    """Sends until nobody takes it any more."""

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
        SEEN.closed.append("told " + self.get_query_argument("name"))


class Big(RequestHandler):
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
            (r"/app/big", Big),
        ],
    )
    return application


ALL = [
    *LANES,
    FastRoute("POST", r"/lane/small", lambda asked: Response(200, (), asked.body), body_limit=10),
    FastRoute("GET", r"/lane/big/(\w+)", big),
]


def serve(stage: Stage, limits: ServerLimits) -> Served:
    return stage.serve(stop(application()), ALL, limits=limits)


@pytest.fixture(scope="module")
def sized(stage: Stage) -> Served:
    return serve(stage, SIZES)


@pytest.fixture(scope="module")
def timed(stage: Stage) -> Served:
    return serve(stage, TIMES)


@pytest.fixture(scope="module")
def patient(fast_stage: Stage) -> Served:
    """The same on one loop, for what is slow to watch and the same on both."""
    return serve(fast_stage, TIMES)


@pytest.fixture
def pinged(timed: Served) -> Iterator[None]:
    """Somebody looks at pages all the while, and each is answered at once."""
    yield from looked_at(timed)


@pytest.fixture
def patient_pinged(patient: Served) -> Iterator[None]:
    yield from looked_at(patient)


def looked_at(served: Served) -> Iterator[None]:
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
    # A busy machine makes one wait now and then; a server that hangs makes all wait, until who
    # makes it hang is cut.
    assert statistics.median(times) < TIMES.write_seconds * 0.75


# How much.


def line_of(length: int) -> bytes:
    """A request with a request line of so many bytes."""
    return get("/lane/hello?" + "x" * (length - len("GET /lane/hello? HTTP/1.1")))


def headers_of(length: int) -> bytes:
    """A request with header fields of so many bytes, line ends and the last one with them."""
    short = get("/lane/hello", "X-A: ")
    return get(
        "/lane/hello", "X-A: " + "x" * (length - len(short) + len("GET /lane/hello HTTP/1.1\r\n"))
    )


def one(served: Served, *parts: bytes, method: str = "GET") -> Answer:
    """The first answer to this; each part has been read before the next is sent."""
    with served.peer() as peer:
        for part in parts:
            peer.send(part)
            if part is not parts[-1]:
                served.ping()
        return peer.answer(method)


@pytest.mark.parametrize(("fits", "status", "build"), [(200, 414, line_of), (300, 431, headers_of)])
def test_the_head_s_limits_are_exact(
    sized: Served, fits: int, status: int, build: Callable[[int], bytes]
) -> None:
    for data in (build(fits - 1), build(fits)):
        for cut in edges(data):
            assert one(sized, *pieces(data, [cut])).status == 200
    for length in (fits + 1, fits + 2, fits + 1000):
        data = build(length)
        for cut in edges(data):
            answer = one(sized, *pieces(data, [cut]))
            assert (answer.status, answer.closes) == (status, True)


def edges(data: bytes) -> list[int]:
    """Places to cut: none, and all around the ends of the request line and of the head."""
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
        (b"POST /lane/echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
         b"0\r\n" + b"X: y\r\n" * 20_000, 431),
        (b"POST /app/echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
         b"0\r\nX: " + b"y" * 100_000, 431),
        (b"POST /lane/echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
         b"1;" + b"a" * 100_000, 413),
        (b"POST /lane/echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
         + (b"1;" + b"a" * 900 + b"\r\nx\r\n") * 200, 413),
        (b"POST /lane/echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
         + b"0" * 100_000, 413),
    ],
)  # fmt: skip
def test_what_has_no_end_is_refused(sized: Served, endless: bytes, status: int) -> None:
    with sized.peer() as peer:
        peer.send(endless)
        answer = peer.answer()
        assert answer.status in {status, 400, 501 if endless.startswith(b"GG") else 400}
        assert answer.closes
        assert peer.closed()


@pytest.mark.parametrize(
    ("path", "fits"),
    [("/lane/echo", 1000), ("/app/echo", 1000), ("/lane/small", 10), ("/app/upload", 5000)],
)
def test_the_body_s_limit_is_exact(sized: Served, path: str, fits: int) -> None:
    coded = request("POST", path, "Transfer-Encoding: chunked")
    assert one(sized, request("POST", path, body=b"x" * fits)).status == 200
    assert one(sized, coded + chunked(b"x" * fits)).status == 200
    assert one(sized, coded + chunked(*[b"x"] * fits)).status == 200
    for refused in (
        request("POST", path, body=b"x" * (fits + 1)),
        request("POST", path, body=b"x" * 10 * fits),
        coded + chunked(b"x" * (fits + 1)),
        coded + chunked(*[b"x"] * (fits + 1)),
        coded + chunked(b"x" * fits, b"x"),
        request("POST", path, f"Content-Length: {fits + 1}"),
        request("POST", path, "Content-Length: 999999999999999"),
        coded + b"%x\r\n" % (fits + 1),
        coded + b"ffffffffffffff\r\n",
    ):
        answer = one(sized, refused, method="POST")
        assert answer.status == 413
        assert answer.closes


def test_a_refused_upload_is_told_even_a_client_that_sends_on(sized: Served) -> None:
    """RFC 9112, 9.6: closing at once could take the answer away from the client."""
    for path in ("/lane/echo", "/app/echo", "/app/upload"):
        with sized.peer() as peer:
            peer.send(request("POST", path, "Content-Length: 400000"))
            for _ in range(40):
                peer.send(bytes(10_000))
                time.sleep(0.001)
            assert [each.status for each in answers_of(peer.rest(), ["POST"])] == [413]


# How long.


def drip(peer: Peer, data: bytes, pause: float = 0.05) -> float:
    """Send byte after byte until the server has closed; return after how many seconds."""
    begun = time.monotonic()
    for at in range(len(data)):
        if not peer.send(data[at : at + 1]):
            break
        peer.socket.settimeout(pause)
        with contextlib.suppress(TimeoutError):
            if not peer.more():
                break
        assert time.monotonic() - begun < SOON
    return time.monotonic() - begun


def together(patient: Served, slow: dict[str, Callable[[Peer], float]]) -> dict[str, bytes]:
    """Let all these be slow at once; what each was answered, after the server has cut it."""
    answered: dict[str, bytes] = {}
    errors: list[BaseException] = []

    def run(name: str, act: Callable[[Peer], float]) -> None:
        try:
            with patient.peer(seconds=SOON) as peer:
                assert act(peer) > 0.25, name
                peer.socket.settimeout(SOON)
                answered[name] = peer.rest() if not peer.ended else peer.held
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


def wait(data: bytes) -> Callable[[Peer], float]:
    """Send this, and then nothing."""

    def act(peer: Peer) -> float:
        begun = time.monotonic()
        peer.send(data)
        peer.socket.settimeout(SOON)
        while peer.more():
            pass
        return time.monotonic() - begun

    return act


LONG = get("/lane/hello", "X-Long: " + "x" * 500)


@pytest.mark.usefixtures("patient_pinged")
def test_slow_headers_are_cut(patient: Served) -> None:
    before = patient.server.stats.timeouts["header"]
    answered = together(
        patient,
        {
            "a word": wait(b"GET"),
            "a line": wait(b"GET / HTTP/1.1\r\n"),
            "all but the end": wait(get()[:-1]),
            "bytes": lambda peer: drip(peer, LONG),
            "bytes after an answer": lambda peer: peer.ask(get()) and drip(peer, LONG),  # type: ignore[dict-item]
            "behind another": wait(get() + b"GET / HTTP/1.1\r\nX"),
        },
    )
    for name, data in answered.items():
        answers = answers_of(data)
        assert [each.status for each in answers] in ([408], [200, 408]), name
        assert answers[-1].closes
    assert patient.server.stats.timeouts["header"] - before >= 6


def test_empty_lines_do_not_keep_a_connection(patient: Served) -> None:
    with patient.peer() as peer:
        drip(peer, b"\r\n" * 100)


@pytest.mark.usefixtures("patient_pinged")
def test_slow_bodies_are_cut(patient: Served) -> None:
    SEEN.closed.clear()
    before = patient.server.stats.timeouts["body"]
    slow: dict[str, Callable[[Peer], float]] = {}
    for path in ("/lane/echo", "/app/echo", "/app/upload?name=slow"):
        head = request("POST", path, "Content-Length: 500")
        coded = request("POST", path, "Transfer-Encoding: chunked")
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
        answers = answers_of(data, ["POST"])
        assert [each.status for each in answers] == [408], name
        assert answers[0].closes
    assert patient.server.stats.timeouts["body"] - before == len(slow)
    assert SEEN.closed.count("slow") == 8


def dripped(peer: Peer, head: bytes, body: bytes) -> float:
    peer.send(head)
    return drip(peer, body)


@pytest.mark.usefixtures("patient_pinged")
def test_the_idle_are_let_go_without_a_word(patient: Served) -> None:
    before = patient.server.stats.timeouts["idle"]
    answered = together(
        patient,
        {
            "never asked": wait(b""),
            "asked a lane": wait(get()),
            "asked the application": wait(get("/app/echo")),
            "asked to be kept": wait(get("/lane/hello", "Connection: keep-alive", version="1.0")),
        },
    )
    for name, data in answered.items():
        assert [each.status for each in answers_of(data)] in ([], [200]), name
    assert patient.server.stats.timeouts["idle"] - before == 4


def test_who_waits_for_an_answer_is_not_idle(patient: Served) -> None:
    for plane in ("lane", "app"):
        with patient.peer() as peer:
            assert peer.ask(get(f"/{plane}/late/900")).body == b"late 900"
            assert peer.ask(get()).body == b"hello"


def test_a_steady_upload_may_take_longer_than_a_stalled_one(patient: Served) -> None:
    """Of its limit a handler may decide for itself; what it takes to think is not the peer's."""
    with patient.peer() as steady, patient.peer() as busy:
        busy.send(request("POST", "/app/busy", body=b"x" * 4000))
        steady.send(request("POST", "/app/patient", "Content-Length: 20"))
        for _ in range(20):
            time.sleep(0.06)
            steady.send(b"x")
        assert steady.answer("POST").body == b"20"
        assert busy.answer("POST").body == b"4000"


# Peers that do not read.


def test_a_lane_s_peer_that_does_not_read_is_cut(timed: Served, pinged: None) -> None:
    CALLS.clear()
    before = timed.server.stats.timeouts["write"]
    with timed.peer(receive_buffer=4096) as peer:
        peer.send(get("/lane/big/unread") * 500)
        until(lambda: timed.server.stats.timeouts["write"] > before)
        with pytest.raises((ConnectionError, TimeoutError, AssertionError)):
            assert len(peer.rest()) > 500 << 20
    assert CALLS["unread"] < 20


def test_a_stream_s_peer_that_does_not_read_is_cut(timed: Served, pinged: None) -> None:
    SEEN.closed.clear()
    SEEN.sent.clear()
    with timed.peer(receive_buffer=4096) as peer:
        peer.send(get("/app/flood?name=unread"))
        until(lambda: "raised unread" in SEEN.closed)
    assert "told unread" in SEEN.closed
    assert SEEN.sent["unread"] < 20 << 20


@pytest.mark.parametrize("path", ["/lane/big/last", "/app/big"])
def test_who_does_not_read_the_last_answer_is_cut(timed: Served, path: str) -> None:
    with timed.peer(receive_buffer=4096) as peer:
        peer.send(get(path, "Connection: close"))
        until(lambda: not timed.server.open_connections)


def test_who_reads_slowly_but_steadily_gets_all(patient: Served) -> None:
    with patient.peer(receive_buffer=65536) as peer:
        peer.send(get("/app/big", "Connection: close"))
        whole, begun = b"", time.monotonic()
        while part := peer.socket.recv(32_768):
            whole += part
            time.sleep(0.02 if len(whole) < 3 << 20 else 0)
        (answer,) = answers_of(whole)
        assert len(answer.body) == 4 << 20
        assert time.monotonic() - begun > 3 * TIMES.write_seconds


def test_who_sends_on_without_reading_is_not_read_on(timed: Served) -> None:
    """Its requests must not pile up in memory either."""
    CALLS.clear()
    with timed.peer(seconds=SOON, receive_buffer=4096) as peer:
        sending, sent = get("/lane/big/piled") * 1000, 0
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
def test_a_busy_handler_s_upload_waits_in_the_client(timed: Served) -> None:
    """While a handler thinks about a part, no more of the body may pile up behind it."""
    with timed.peer(seconds=0.3) as peer:
        sent = 0
        with contextlib.suppress(OSError):
            peer.send(request("POST", "/app/busy?large", "Content-Length: 99000000"))
            while sent < 99_000_000:
                sent += peer.socket.send(bytes(100_000))
    assert sent < 16 << 20


def test_who_asks_without_end_takes_turns_with_the_others(stage: Stage) -> None:
    """Of thousands of requests that came at once, few are answered before somebody else's one."""
    begun, go = threading.Event(), threading.Event()
    calls = 0

    def flood(_: Request) -> Response:
        nonlocal calls
        calls += 1
        if calls == 1:
            begun.set()
            go.wait(60)  # the loop stands still until the other has asked as well
        return Response(200, (), str(calls).encode())

    def mark(_: Request) -> Response:
        return Response(200, (), str(calls).encode())

    lanes = [FastRoute("GET", "/lane/flood", flood), FastRoute("GET", "/lane/mark", mark)]
    served = stage.serve(application(), lanes)
    with served.peer() as greedy, served.peer() as other:
        assert other.ask(get("/lane/mark")).body == b"0"
        greedy.send(get("/lane/flood") * 8000 + get("/lane/flood", "Connection: close"))
        begun.wait(60)
        other.send(get("/lane/mark"))
        go.set()
        assert int(other.answer().body) < 4000
        assert len(answers_of(greedy.rest())) == 8001


def test_a_body_of_crumbs_is_read(stage: Stage) -> None:
    with serve(stage, ServerLimits()).peer() as peer:
        peer.send(request("POST", "/lane/echo", "Transfer-Encoding: chunked"))
        assert peer.ask(chunked(*[b"x"] * 100_000), "POST").status == 200


# How many.


def test_the_connection_too_many_is_told_and_closed(stage: Stage) -> None:
    served = serve(stage, ServerLimits(max_connections=3))
    with served.peer() as one, served.peer() as two, served.peer() as three:
        assert {each.ask(get()).status for each in (one, two, three)} == {200}
        for _ in range(5):
            with served.peer() as four:
                (answer,) = answers_of(four.rest())
            assert (answer.status, answer.closes) == (503, True)
            assert answer.header("Retry-After")
        with served.peer() as four:
            four.send(get())
            assert [each.status for each in answers_of(four.rest())] == [503]
        assert {each.ask(get("/app/echo")).status for each in (one, two, three)} == {200}
        assert served.server.open_connections == 3
        assert served.server.stats.refused_connections == 6
        two.close()
        until(lambda: served.server.open_connections == 2)
        with served.peer() as four:
            assert four.ask(get()).status == 200
    until(lambda: not served.server.open_connections)


def test_a_crowd_of_too_many_goes_again(stage: Stage) -> None:
    served = serve(stage, ServerLimits(max_connections=2, linger_seconds=0.3))
    with served.peer() as one:
        one.ask(get())
        crowd = [served.peer() for _ in range(700)]
        assert one.ask(get()).status == 200
        until(lambda: served.server.stats.refused_connections == 699)
        for each in crowd:
            each.close()
        until(lambda: served.server.open_connections == 1)
        served.ping()


@pytest.mark.parametrize("path", ["/lane/hello", "/lane/late/1", "/app/echo", "/app/late/1"])
def test_a_connection_ends_after_its_requests(stage: Stage, path: str) -> None:
    served = serve(stage, ServerLimits(requests_per_connection=3))
    with served.peer() as peer:
        answers = [peer.ask(get(path)) for _ in range(3)]
        assert [each.closes for each in answers] == [False, False, True]
        assert peer.closed()
    with served.peer() as peer:
        peer.send(get(path) * 9)
        assert [each.closes for each in answers_of(peer.rest())] == [False, False, True]


def test_limits_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ValueError, match="body"):
        ServerLimits(body_bytes=-1)


def test_a_plain_application_without_lanes_has_the_same_limits(stage: Stage) -> None:
    class Plain(RequestHandler):
        def post(self) -> None:
            self.write(str(len(self.request.body)))

    served = stage.serve(Application([(r"/", Plain)], log_function=silent), limits=SIZES)
    with served.peer() as peer:
        assert peer.ask(request("POST", "/", body=b"x" * 1000)).body == b"1000"
        assert peer.ask(request("POST", "/", body=b"x" * 1001)).status == 413
        assert peer.closed()
