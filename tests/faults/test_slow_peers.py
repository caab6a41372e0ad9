"""Thousands of peers that send or read slowly, by slowhttptest; a few are in tests/wire/."""

import http.client
import resource
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from load import Server

CONNECTIONS, SECONDS = 2_000, 25
MODES = {
    "heads": ["-H", "-i", "2"],
    "bodies": ["-B", "-i", "2", "-s", "100000", "-t", "POST"],
    "reads": ["-X", "-n", "5", "-w", "8", "-y", "16", "-z", "4", "-k", "5"],
}
PATHS = {"heads": "/campaigns/1/", "bodies": "/events", "reads": "/campaigns/1/"}
IDLE = 12_000

pytestmark = pytest.mark.long


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    begun = Server(tmp_path / "data", "--sample", "--no-traffic")
    yield begun
    begun.kill()


def files(server: Server) -> int:
    return len(list(Path(f"/proc/{server.process.pid}/fd").iterdir()))


class Visitor:
    """Someone who looks at a page again and again."""

    def __init__(self, server: Server) -> None:
        self.took: list[float] = []
        self.faults: list[object] = []
        self._server = server
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._visit)
        self._thread.start()

    def _visit(self) -> None:
        while not self._ending.wait(0.05):
            began = time.monotonic()
            try:
                connection = http.client.HTTPConnection(
                    self._server.host, self._server.port, timeout=10
                )
                connection.request("GET", "/campaigns/1/")
                answer = connection.getresponse()
                answer.read()
                connection.close()
                if answer.status != 200:
                    self.faults.append(answer.status)
            except OSError as error:
                self.faults.append(error)
            self.took.append(time.monotonic() - began)

    def leave(self) -> None:
        self._ending.set()
        self._thread.join(20)


@pytest.mark.parametrize("mode", MODES)
def test_pages_are_served_while_two_thousand_are_slow(server: Server, mode: str) -> None:
    program = shutil.which("slowhttptest")
    if program is None:
        pytest.skip("slowhttptest is not installed")
    before = files(server)
    visitor = Visitor(server)
    url = f"http://{server.host}:{server.port}{PATHS[mode]}"
    words = ["-c", CONNECTIONS, "-r", 500, "-l", SECONDS, "-u", url, "-p", 5]
    done = subprocess.run(
        [program, *MODES[mode], *map(str, words)], capture_output=True, text=True, timeout=120
    )
    visitor.leave()
    assert "service available:   NO" not in done.stdout
    assert visitor.faults == []
    assert len(visitor.took) > 100
    assert max(visitor.took) < 2
    end = time.monotonic() + 30
    while files(server) > before + 5 and time.monotonic() < end:
        time.sleep(0.5)
    assert files(server) <= before + 5


def test_twelve_thousand_connections_of_one_address_are_held_and_served(server: Server) -> None:
    """All but a few of the cap: none is refused for its address."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < IDLE + 500:
        pytest.skip(f"this process may have {hard} files")
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    held = []
    try:
        for _ in range(IDLE - 10):
            held.append(http.client.HTTPConnection(server.host, server.port, timeout=20))
            held[-1].connect()
        for connection in held[:: len(held) // 100]:
            connection.request("GET", "/campaigns/1/")
            answer = connection.getresponse()
            assert answer.status == 200
            answer.read()
    finally:
        for connection in held:
            connection.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
