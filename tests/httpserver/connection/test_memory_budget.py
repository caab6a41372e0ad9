"""Memory budget: bodies and responses in memory are bounded; clients are refused early."""

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tornado.web import Application, RequestHandler, stream_request_body

from httpserver import (
    FastRoute,
    MemoryBudget,
    MemoryReservation,
    Request,
    Response,
    ServerLimits,
    tornado_rules,
)
from httpserver.connection.connection_memory import SMALL_REQUEST_BYTES, UNCOUNTED_BODY_BYTES
from httpserver.context import slow_readers
from httpserver.memory_budget import reservation_owners
from tests.support.httpserver.echo_application import EchoHandler, no_access_log
from tests.support.httpserver.raw_client import RawClient, build_get, build_request, encode_chunks
from tests.support.httpserver.server_thread import RunningServer, ServerThread

SIZE = 600_000
BIG = 16_777_216
LIMITS = ServerLimits(
    body_bytes=100_000, body_seconds=1.0, body_bytes_per_second=1 << 30, linger_seconds=0.4
)
HALF = b"x" * 50_000
WHOLE = HALF * 2
ASKED: list[tuple[int, bool]] = []
CALLED: list[int] = []
CLOSED = Response(409, [("X-Why", "closed")], b"not now")


def take(asked: Request) -> Response:
    CALLED.append(len(asked.body))
    return Response(200, (), str(len(asked.body)).encode())


async def hold(asked: Request) -> Response:
    await asyncio.sleep(0.3)
    return take(asked)


def admit(asked: Request, size: int, fits: bool) -> Any:
    assert asked.body == b""
    ASKED.append((size, fits))
    instruction = asked.header("X-Say")
    if instruction == "raise":
        raise ValueError("no")
    if instruction == "later":
        return deny()
    return CLOSED if instruction == "closed" else None


async def deny() -> Response:
    await asyncio.sleep(0.01)
    return CLOSED


@stream_request_body
class UnbufferedBodyHandler(RequestHandler):
    def data_received(self, chunk: bytes) -> None:
        pass

    async def post(self) -> None:
        await asyncio.sleep(0.2)
        self.finish("stream")


class UnreadResponseHandler(RequestHandler):
    def get(self) -> None:
        self.finish(b"x" * BIG)


class Nothing(RequestHandler):
    def get(self) -> None:
        self.finish("nothing")


LANES = [
    FastRoute("GET", r"/fast/hello", lambda _: Response(200, (), b"hello")),
    FastRoute("POST", r"/fast/take", take),
    FastRoute("POST", r"/fast/hold", hold),
    FastRoute("POST", r"/fast/asks", take, check_admission=admit),
]
ROUTES = [
    (r"/app/echo", EchoHandler),
    (r"/app/stream", UnbufferedBodyHandler),
    (r"/app/nothing", Nothing),
    (r"/app/big", UnreadResponseHandler),
]


def application(room: MemoryBudget) -> Application:
    rules = tornado_rules(
        LANES, ROUTES, EchoHandler, memory_budget=room, body_limit=LIMITS.body_bytes
    )
    return Application(rules, log_function=no_access_log)


class Site:
    """A server and its memory budget."""

    def __init__(self, served: RunningServer, room: MemoryBudget) -> None:
        self.served = served
        self.room = room

    def peer(self, **options: Any) -> RawClient:
        return self.served.connect(**options)

    def sending(self, *, path: str = "/fast/take", count: int = 2) -> list[RawClient]:
        """Return clients within a body each; the caller closes them."""
        peers = [self.peer() for _ in range(count)]
        for peer in peers:
            peer.send(build_request("POST", path, body=WHOLE)[:-1])
        until(lambda: self.room.reserved == count * (len(WHOLE) - 1))
        return peers

    @contextmanager
    def full(self, free: int = 0) -> Iterator[None]:
        """Leave only `free` bytes of memory meanwhile."""
        taken = SIZE - self.room.reserved - free
        assert self.room.reserve(taken)
        yield
        self.room.release(taken)


def until(true: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.fixture(params=["wire", "tornado"])
def site(stage: ServerThread, request: pytest.FixtureRequest) -> Iterator[Site]:
    """Return a site on each server, and check that no memory is reserved at the end."""
    ASKED.clear()
    CALLED.clear()
    room = MemoryBudget(SIZE)
    if request.param == "tornado":
        served = stage.serve_tornado(application(room))
    else:
        served = stage.serve(application(room), LANES, limits=LIMITS, memory_budget=room)
    yield Site(served, room)
    until(lambda: room.reserved == 0)


@pytest.fixture
def wired(stage: ServerThread) -> Iterator[Site]:
    room = MemoryBudget(SIZE)
    served = stage.serve(application(room), LANES, limits=LIMITS, memory_budget=room)
    yield Site(served, room)
    until(lambda: room.reserved == 0)


def test_a_body_without_free_memory_is_503_and_the_connection_stays(site: Site):
    others = site.sending()
    with site.peer() as peer:
        with site.full():
            peer.send(build_request("POST", "/fast/take", body=WHOLE)[:-1])
            site.served.ping()
            answer = peer.request(b"x", "POST")
            assert (answer.status, answer.header("Retry-After")) == (503, "1")
            assert not answer.closes_connection
            assert peer.request(build_get()).body == b"hello"
        for other in others:
            assert other.request(b"x", "POST").body == b"100000"
            other.close()
        assert peer.request(build_request("POST", "/fast/take", body=WHOLE)).body == b"100000"
    assert CALLED == [100_000] * 3


def test_small_bodies_sent_with_their_heads_reserve_no_memory(wired: Site):
    with wired.full(), wired.peer() as peer:
        for size in (1, SMALL_REQUEST_BYTES):
            answer = peer.request(build_request("POST", "/fast/take", body=b"x" * size))
            assert answer.body == str(size).encode()
        assert (
            peer.request(
                build_request("POST", "/fast/take", body=b"x" * (SMALL_REQUEST_BYTES + 1))
            ).status
            == 503
        )


@pytest.mark.parametrize("path", ["/fast/take", "/app/echo"])
def test_a_small_body_in_two_pieces_reserves_no_memory(wired: Site, path: str):
    with wired.full(), wired.peer() as peer:
        sent = build_request("POST", path, body=b"x" * UNCOUNTED_BODY_BYTES)
        peer.send(sent[:-UNCOUNTED_BODY_BYTES])
        wired.served.ping()
        assert peer.request(sent[-UNCOUNTED_BODY_BYTES:], "POST").status == 200


@pytest.mark.parametrize("path", ["/fast/take", "/app/echo", "/fast/chunks"])
def test_an_announced_body_reserves_no_memory_before_it_arrives(wired: Site, path: str):
    sent = build_request("POST", path, body=WHOLE)[: 1 - len(WHOLE)]
    if path == "/fast/chunks":
        sent = build_request("POST", "/fast/take", "Transfer-Encoding: chunked") + b"186A0\r\nx"
    peers = [wired.peer() for _ in range(50)]
    for peer in peers:
        peer.send(sent)
    wired.served.ping()
    assert wired.room.reserved == 0
    with wired.peer() as peer:
        assert peer.request(build_request("POST", "/fast/take", body=WHOLE)).body == b"100000"
    for peer in peers:
        peer.close()


@pytest.mark.parametrize("path", ["/fast/take", "/app/echo"])
def test_one_address_or_token_leaves_memory_for_others(wired: Site, path: str):
    def send(number: int, token: int) -> RawClient:
        peer = wired.peer(source=f"127.0.0.{number}")
        head = build_request(
            "POST", path, f"Authorization: Bearer {token}", f"Content-Length: {10**5}"
        )
        peer.send(head + WHOLE[:-1])
        wired.served.ping()
        return peer

    greedy = [send(2, number) for number in range(12)]
    assert wired.room.reserved <= SIZE / 2
    shared = [send(number, 100) for number in range(3, 12)]
    assert wired.room.reserved <= SIZE * 3 / 4
    with wired.peer(source="127.0.0.12") as peer:
        assert peer.request(build_request("POST", path, body=WHOLE)).status == 200
    for each in (*greedy, *shared):
        each.close()


@pytest.mark.parametrize("path", ["/fast/take", "/app/echo"])
@pytest.mark.parametrize("named", [True, False])
def test_memory_shares_behind_a_trusted_proxy_are_per_client(
    stage: ServerThread, path: str, named: bool
):
    room = MemoryBudget(SIZE)
    proxies = ["127.0.0.1"] if named else []
    served = stage.serve(
        application(room), LANES, limits=LIMITS, memory_budget=room, proxies=proxies
    )
    head = build_request(
        "POST", path, "X-Forwarded-For: 192.0.2.1", f"Content-Length: {len(WHOLE)}"
    )
    peers = [served.connect() for _ in range(3)]
    for peer in peers:
        peer.send(head + WHOLE[:-1])
        served.ping()
    assert room.reserved == 3 * (len(WHOLE) - 1)
    other = build_request(
        "POST", path, "X-Forwarded-For: 192.0.2.2", f"Content-Length: {len(WHOLE)}"
    )
    with served.connect() as peer:
        assert peer.request(other + WHOLE, "POST").status == (200 if named else 503)
    for peer in peers:
        peer.close()
    until(lambda: room.reserved == 0)


@pytest.mark.parametrize("path", ["/fast/hello", "/app/nothing"])
def test_an_unwanted_body_is_discarded(wired: Site, path: str):
    method = "GET" if path == "/fast/hello" else "POST"
    form = "Content-Type: multipart/form-data; boundary=x"
    with wired.peer() as peer:
        peer.send(build_request(method, path, form, body=WHOLE)[:-1])
        wired.served.ping()
        assert wired.room.reserved == 0
        answer = peer.request(b"x", method)
        assert (answer.status, answer.closes_connection) == (200 if method == "GET" else 405, False)
        assert peer.request(build_get()).body == b"hello"


def test_bodies_that_exceed_the_budget_while_arriving_are_refused_and_others_complete(
    wired: Site,
):
    peers = [wired.peer(source=f"127.0.0.{number}") for number in range(2, 18)]
    for peer in peers:
        peer.send(build_request("POST", "/fast/take", body=WHOLE)[: 30_000 - len(WHOLE)])
    wired.served.ping()
    for peer in peers:
        peer.send(WHOLE[30_000:])
    answers = [peer.read_response("POST") for peer in peers]
    assert {answer.status for answer in answers} == {200, 503}
    for peer, answer in zip(peers, answers, strict=True):
        assert answer.status == 200 or answer.header("Retry-After") == "1"
        assert peer.request(build_request("POST", "/fast/take", body=WHOLE)).status == 200
        peer.close()


def test_memory_is_reserved_until_the_response(site: Site):
    with site.peer() as peer:
        peer.send(build_request("POST", "/fast/hold", body=WHOLE))
        until(lambda: site.room.reserved == len(WHOLE))
        assert peer.read_response("POST").body == b"100000"
        until(lambda: site.room.reserved == 0)


@pytest.mark.parametrize("path", ["/fast/take", "/app/echo"])
def test_a_disconnect_within_a_body_releases_its_memory(wired: Site, path: str):
    for peer in wired.sending(path=path):
        peer.close()
    until(lambda: wired.room.reserved == 0)


def test_a_timeout_within_a_body_releases_its_memory(wired: Site):
    peers = wired.sending()
    for peer in peers:
        assert peer.read_response("POST").status == 408
        peer.close()
    until(lambda: wired.room.reserved == 0)


def test_a_deferred_response_to_a_closed_connection_releases_memory(site: Site):
    with site.peer() as peer:
        peer.send(build_request("POST", "/fast/hold", body=WHOLE))
        until(lambda: site.room.reserved == len(WHOLE))
    until(lambda: site.room.reserved == 0)


@pytest.mark.parametrize("say", ["closed", "later"])
def test_a_fast_route_can_reject_by_the_head(site: Site, say: str):
    with site.peer() as peer:
        peer.send(build_request("POST", "/fast/asks", f"X-Say: {say}", body=WHOLE)[:-1])
        until(lambda: [(len(WHOLE), True)] == ASKED)
        until(lambda: site.room.reserved == 0)
        answer = peer.request(b"x", "POST")
        assert (answer.status, answer.body, answer.header("X-Why")) == (409, b"not now", "closed")
        assert peer.request(build_request("POST", "/fast/asks", body=WHOLE)).body == b"100000"
    assert CALLED == [100_000]


def test_admission_learns_that_memory_is_full_and_cannot_override_it(site: Site):
    with site.full(), site.peer() as peer:
        assert (
            peer.request(build_request("POST", "/fast/asks", "X-Say: closed", body=WHOLE)).status
            == 409
        )
        assert peer.request(build_request("POST", "/fast/asks", body=WHOLE)).status == 503
    assert [(len(WHOLE), False)] * 2 == ASKED


def test_an_error_in_admission_is_500(site: Site, caplog: Any):
    with site.peer() as peer:
        assert (
            peer.request(build_request("POST", "/fast/asks", "X-Say: raise", body=WHOLE)).status
            == 500
        )
        assert peer.request(build_get()).status == 200
    (logged,) = [each for each in caplog.records if each.levelname == "ERROR"]
    assert "raised" in logged.getMessage()
    caplog.clear()


def test_expect_continue_without_free_memory_is_refused_at_once(wired: Site):
    ASKED.clear()
    with wired.peer() as peer:
        head = build_request("POST", "/fast/asks", "Content-Length: 9", "Expect: 100-continue")
        answer = peer.request(head.replace(b"\r\n\r\n", b"\r\nX-Say: later\r\n\r\n"))
        assert (answer.status, answer.interim_statuses, answer.closes_connection) == (409, [], True)
        assert peer.is_closed_silently()
    with wired.peer() as peer:
        assert peer.request(head + b"x" * 9).interim_statuses == []  # no 100 Continue was needed
    with wired.peer() as peer:
        peer.send(head)
        until(lambda: len(ASKED) == 2)
        answer = peer.request(b"x" * 9, "POST")
        assert (answer.status, answer.interim_statuses, answer.body) == (200, [100], b"9")


def test_a_rejected_client_may_disconnect_before_the_response(wired: Site):
    with wired.peer() as peer:
        peer.send(build_request("POST", "/fast/asks", "X-Say: later", body=WHOLE)[:-1])
        time.sleep(0.05)


def test_a_handler_body_reserves_memory_and_a_stream_does_not(wired: Site):
    others = wired.sending(path="/app/echo")
    with wired.full():
        with wired.peer() as peer:
            answer = peer.request(build_request("POST", "/app/echo", body=WHOLE))
            assert (answer.status, answer.header("Retry-After"), answer.closes_connection) == (
                503,
                "1",
                True,
            )
        with wired.peer() as peer:
            assert peer.request(build_request("POST", "/app/stream", body=WHOLE)).body == b"stream"
    for other in others:
        assert other.request(b"x", "POST").body.endswith(WHOLE)
        other.close()


@pytest.mark.parametrize("path", ["/fast/take", "/app/echo"])
def test_a_chunked_body_reserves_memory_as_it_arrives(wired: Site, path: str):
    head = build_request("POST", path, "Transfer-Encoding: chunked")
    with wired.full(free=80_000), wired.peer() as peer:
        peer.send(head + encode_chunks(b"x" * 30_000)[:-5])
        until(lambda: wired.room.reserved == SIZE - 50_000)
        answer = peer.request(encode_chunks(b"x" * 10_001), "POST")
        closes = path == "/app/echo"
        assert (answer.status, answer.header("Retry-After"), answer.closes_connection) == (
            503,
            "1",
            closes,
        )
    until(lambda: wired.room.reserved == 0)
    with wired.peer() as peer:
        assert peer.request(head + encode_chunks(WHOLE), "POST").status == 200


def test_pipelined_data_reserves_memory(wired: Site):
    with wired.peer() as peer:
        ahead = build_get() * 1_000
        assert len(ahead) > SMALL_REQUEST_BYTES
        peer.send(build_request("POST", "/fast/hold", body=b"x") + ahead)
        until(lambda: wired.room.reserved == len(ahead))
        assert peer.read_response("POST").body == b"1"
        for _ in range(1_000):
            assert peer.read_response().body == b"hello"
        until(lambda: wired.room.reserved == 0)


def test_pipelined_data_without_free_memory_is_dropped_and_the_connection_closes(
    wired: Site,
):
    with wired.full(), wired.peer() as peer:
        peer.send(build_request("POST", "/fast/hold", body=b"x") + build_get() * 1_000)
        answer = peer.read_response("POST")
        assert (answer.body, answer.closes_connection) == (b"1", True)
        assert peer.is_closed_silently()


def big_peer(wired: Site, number: int, path: str = "/app/big") -> RawClient:
    """Return a client that requests a large response and does not read it."""
    peer = wired.peer(source=f"127.0.0.{number}", receive_buffer=4_096)
    peer.send(build_get(path))
    return peer


def test_memory_of_responses_to_slow_readers_is_bounded(wired: Site):
    context = wired.served.server.context
    waiting = context.slow_readers
    waiting.budget.capacity = 2 * BIG
    peers = [big_peer(wired, number) for number in range(2, 10)]
    until(lambda: context.stats.closed_slow_readers > 3)
    assert 0 < waiting.budget.reserved <= waiting.budget.capacity
    with wired.peer() as peer:
        assert peer.request(build_get()).body == b"hello"
    for peer in peers:
        peer.close()
    until(lambda: waiting.budget.reserved == 0 and not waiting)


def test_the_slowest_reader_is_disconnected_for_others(
    wired: Site, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(slow_readers, "_SLOW_READER_SECONDS", 0)
    context = wired.served.server.context
    waiting = context.slow_readers
    waiting.budget.capacity = 2 * BIG
    peers = [big_peer(wired, number) for number in range(2, 10)]
    with wired.peer(source="127.0.0.99") as peer:
        assert len(peer.request(build_get("/app/big")).body) == BIG
    assert context.stats.closed_slow_readers > 0
    for each in peers:
        each.close()
    until(lambda: waiting.budget.reserved == 0 and not waiting)


def test_slow_readers_of_one_address_are_disconnected_for_each_other(
    wired: Site, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(slow_readers, "_SLOW_READER_SECONDS", 0)
    context = wired.served.server.context
    waiting = context.slow_readers
    waiting.budget.capacity = 4 * BIG
    first = big_peer(wired, 2)
    until(lambda: waiting)
    others = [big_peer(wired, 3) for _ in range(5)]
    until(lambda: context.stats.closed_slow_readers == 4)
    assert "127.0.0.2" in [network for network, _ in waiting._since.values()]
    for each in (first, *others):
        each.close()
    until(lambda: waiting.budget.reserved == 0 and not waiting)


@pytest.mark.parametrize("owned", [False, True])
@given(st.integers(0, 50), st.lists(st.tuples(st.integers(0, 3), st.integers(0, 30)), max_size=40))
def test_shares_never_exceed_the_budget(owned: bool, size: int, steps: list[tuple[int, int]]):
    room = MemoryBudget(size)
    shares = [MemoryReservation(room, [number] if owned else ()) for number in range(4)]
    for number, count in steps:
        before = [share.size for share in shares]
        held = shares[number].resize(count)
        wanted = sum(before) - before[number] + count
        fair = not owned or count <= size - wanted
        assert held is ((wanted <= size and fair) or count <= before[number])
        if not held:
            assert [share.size for share in shares] == before
        assert room.reserved == sum(share.size for share in shares) <= size
    for share in shares:
        assert share.resize(0)
    assert room.reserved == 0
    assert all(room.fits(size // 2, [number]) for number in range(4))


def test_an_ipv6_address_shares_with_its_network():
    assert reservation_owners("2001:db8::1", None) == reservation_owners(
        "2001:db8::ffff:2%eth0", None
    )
    assert reservation_owners("2001:db8::1", None) != reservation_owners("2001:db8:0:1::1", None)
    assert reservation_owners("127.0.0.1", "a") != reservation_owners("127.0.0.1", "b")
    assert reservation_owners("unix", None) == ("unix",)
