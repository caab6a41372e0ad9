"""Out of file descriptors: who is in is served, the loop and the log stay calm, and it passes."""

import contextlib
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from peer import Peer, get

ROOT = Path(__file__).parents[2]
CHILD = """
import asyncio, logging, resource, sys, time
import uvloop
from tornado.web import Application
from wire import Lane, Response, Server, bind

def spent(_):
    return Response(200, (), str(time.process_time()).encode())

async def run():
    server = Server(Application(), [Lane("GET", "/spent", spent)])
    sockets = bind("127.0.0.1", 0)
    await server.listen(sockets)
    print(sockets[0].getsockname()[1], flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    await server.drain(2)

logging.basicConfig()
resource.setrlimit(resource.RLIMIT_NOFILE, (60, 60))
factory = uvloop.new_event_loop if sys.argv[1] == "uvloop" else asyncio.new_event_loop
with asyncio.Runner(loop_factory=factory) as runner:
    runner.run(run())
"""


@pytest.fixture(params=["uvloop", "asyncio"])
def child(request: pytest.FixtureRequest, log: Path) -> Iterator["subprocess.Popen[str]"]:
    with (
        log.open("w") as logged,
        subprocess.Popen(
            [sys.executable, "-c", CHILD, request.param],
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


def spent(peer: Peer) -> float:
    """The CPU seconds that the server says it has used."""
    return float(peer.ask(get("/spent")).body)


def served(address: tuple[str, int]) -> bool:
    with Peer(address) as peer:
        try:
            return spent(peer) > 0
        except EOFError:
            return False


def test_running_out_of_descriptors_is_borne(child: "subprocess.Popen[str]", log: Path) -> None:
    assert child.stdout
    address = ("127.0.0.1", int(child.stdout.readline()))
    with contextlib.ExitStack() as stack:
        early = stack.enter_context(Peer(address))
        spent(early)
        for _ in range(150):
            stack.enter_context(Peer(address))
        time.sleep(0.3)
        before = spent(early)
        time.sleep(1.2)
        assert spent(early) - before < 0.25
    begun = time.monotonic()
    while not served(address):
        assert time.monotonic() - begun < 4
        time.sleep(0.05)
    child.communicate(timeout=20)
    assert child.returncode == 0
    assert len(log.read_text().splitlines()) < 20
