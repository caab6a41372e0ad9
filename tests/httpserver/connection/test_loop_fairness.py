"""A flood of requests does not lengthen turns of the event loop, which delay everything else."""

import asyncio
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from tornado.web import Application, RequestHandler

from httpserver import FastRoute, Request, Response
from httpserver.context.fair_queue import FairQueue
from tests.support.httpserver.echo_application import no_access_log
from tests.support.httpserver.raw_client import build_get, parse_responses
from tests.support.httpserver.server_thread import RunningServer, ServerThread

CONNECTIONS, REQUESTS = 100, 20
OK = Response(200, (), b"ok")


class LoopTurnCounter:
    """Counts turns of the loop, and the requests that are served in each."""

    def __init__(self) -> None:
        self.turn = 0
        self.served: Counter[int] = Counter()
        self._handle: asyncio.Handle | None = None

    def begin(self) -> None:
        self.turn += 1
        self._handle = asyncio.get_running_loop().call_soon(self.begin)

    def end(self) -> None:
        assert self._handle is not None
        self._handle.cancel()

    def serve(self) -> None:
        """Serve a request for a millisecond."""
        time.sleep(0.001)
        self.served[self.turn] += 1


@pytest.fixture
def watch(stage: ServerThread) -> Iterator[LoopTurnCounter]:
    watch = LoopTurnCounter()

    async def call(method: str) -> None:
        getattr(watch, method)()

    stage.run(call("begin"))
    yield watch
    stage.run(call("end"))


@pytest.fixture
def served(stage: ServerThread, watch: LoopTurnCounter) -> RunningServer:
    class Work(RequestHandler):
        def get(self) -> None:
            watch.serve()
            self.finish("ok")

    def work(_: Request) -> Response:
        watch.serve()
        return OK

    application = Application([("/app", Work)], log_function=no_access_log)
    return stage.serve(application, [FastRoute("GET", "/lane", work)])


def flood(served: RunningServer, path: str) -> None:
    """Send all requests, each connection its own at once, and wait for the responses."""
    requests = build_get(path) * (REQUESTS - 1) + build_get(path, "Connection: close")
    with ExitStack() as stack:
        peers = [stack.enter_context(served.connect()) for _ in range(CONNECTIONS)]
        for peer in peers:
            assert peer.send(requests)
        for peer in peers:
            answers = parse_responses(peer.read_to_end())
            assert [each.status for each in answers] == [200] * REQUESTS


def test_few_requests_of_the_application_start_in_one_turn(
    served: RunningServer, watch: LoopTurnCounter
) -> None:
    flood(served, "/app")
    assert watch.served.total() == CONNECTIONS * REQUESTS
    assert max(watch.served.values()) <= 8


def test_pipelined_requests_of_all_connections_share_a_turn(
    served: RunningServer, watch: LoopTurnCounter
) -> None:
    """A turn serves one request of each connection, and few more."""
    flood(served, "/lane")
    assert watch.served.total() == CONNECTIONS * REQUESTS
    assert max(watch.served.values()) <= CONNECTIONS + 20


def test_addresses_take_turns_in_a_queue() -> None:
    queue: FairQueue[str] = FairQueue()
    for each in ("a1", "a2", "a3"):
        queue.add("192.0.2.1", each)
    queue.add("192.0.2.2", "b1")
    queue.add("2001:db8::1", "c1")
    queue.add("2001:db8::2", "c2")  # the same /64 network
    assert [queue.pop() for _ in range(6)] == ["a1", "b1", "c1", "a2", "c2", "a3"]
    assert not queue
