"""Out of file descriptors: open connections are served, CPU and log stay quiet, and it recovers."""

import contextlib
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import ROOT
from tests.support.httpserver.raw_client import RawClient, build_get

CHILD = """
import asyncio, contextlib, logging, resource, sys, time
import uvloop
from tornado.web import Application
from httpserver import FastRoute, Response, Server, bind_tcp

def spent(_):
    return Response(200, (), str(time.process_time()).encode())

def files(_):
    with contextlib.ExitStack() as stack:
        for _ in range(200):
            stack.enter_context(open("/dev/null"))
    return Response(200, (), b"200")

async def run():
    routes = [FastRoute("GET", "/spent", spent), FastRoute("GET", "/files", files)]
    server = Server(Application(), routes)
    sockets = bind_tcp("127.0.0.1", 0)
    await server.listen(sockets)
    resource.setrlimit(resource.RLIMIT_NOFILE, (left, left))
    print(sockets[0].getsockname()[1], flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    await server.drain(2)

logging.basicConfig()
known, left = map(int, sys.argv[2:])
resource.setrlimit(resource.RLIMIT_NOFILE, (known, known))
factory = uvloop.new_event_loop if sys.argv[1] == "uvloop" else asyncio.new_event_loop
with asyncio.Runner(loop_factory=factory) as runner:
    runner.run(run())
"""


@pytest.fixture(params=["uvloop", "asyncio"])
def child(request: pytest.FixtureRequest, log: Path) -> Iterator["subprocess.Popen[str]"]:
    with running(request.param, 1_024, 60, log) as child:
        yield child


@contextlib.contextmanager
def running(loop: str, known: int, left: int, log: Path) -> Iterator["subprocess.Popen[str]"]:
    """A server process with a limit of open files at its start and one from then on."""
    with (
        log.open("w") as logged,
        subprocess.Popen(
            [sys.executable, "-c", CHILD, loop, str(known), str(left)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=logged,
            text=True,
        ) as child,
    ):
        yield child
        child.kill()


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "log"


def spent(peer: RawClient) -> float:
    """Return the CPU seconds that the server reports."""
    return float(peer.request(build_get("/spent")).body)


def served(address: tuple[str, int]) -> bool:
    with RawClient(address) as peer:
        try:
            return spent(peer) > 0
        except EOFError:
            return False


def test_the_server_survives_running_out_of_descriptors(
    child: "subprocess.Popen[str]", log: Path
) -> None:
    assert child.stdout
    address = ("127.0.0.1", int(child.stdout.readline()))
    with contextlib.ExitStack() as stack:
        early = stack.enter_context(RawClient(address))
        spent(early)
        for _ in range(150):
            stack.enter_context(RawClient(address))
        time.sleep(0.3)
        before = spent(early)
        time.sleep(1.2)
        assert spent(early) - before < 0.25
    begun = time.monotonic()
    while not served(address):
        assert time.monotonic() - begun < 60
        time.sleep(0.05)
    child.communicate(timeout=120)
    assert child.returncode == 0
    assert len(log.read_text().splitlines()) < 20


def test_accepted_connections_leave_descriptors_for_files(log: Path) -> None:
    """Connections over the limit, which get a 503, count as accepted too."""
    with contextlib.ExitStack() as stack:
        child = stack.enter_context(running("uvloop", 700, 700, log))
        assert child.stdout
        address = ("127.0.0.1", int(child.stdout.readline()))
        early = stack.enter_context(RawClient(address))
        spent(early)
        for _ in range(1_000):
            stack.enter_context(RawClient(address))
        for _ in range(5):
            assert early.request(build_get("/files")).body == b"200"
        with RawClient(address) as late:
            assert not late.read_to_end() or b" 503 " in late.read_to_end()
    assert "max_connections=252" in log.read_text()
    assert "cannot accept connections" not in log.read_text()
