"""Peers that send or read slowly, by slowhttptest, and as many connections as there may be.

Hundreds in the short form, thousands in the long one; single ones are in tests/httpserver/.
"""

import http.client
import re
import resource
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.faults.server_load import KillableServer

# How many are slow, and for how many seconds.
FEW, MANY = (200, 6), (2_000, 25)
MODES = {
    "heads": ["-H", "-i", "2"],
    "bodies": ["-B", "-i", "2", "-s", "100000", "-t", "POST"],
    "reads": ["-X", "-n", "5", "-w", "8", "-y", "16", "-z", "4", "-k", "5"],
}
PATHS = {"heads": "/campaigns/1/", "bodies": "/events", "reads": "/campaigns/1/"}
# Seconds after which slowhttptest calls a server that has not answered it unavailable.
PROBE = 60
# Connections at once, and those of them that are the test's own to leave.
CAP, SPARE = 12_000, 10
HUNDREDS = 800
COLOURS = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
LONG = pytest.mark.long


@pytest.fixture
def server(tmp_path: Path) -> Iterator[KillableServer]:
    begun = KillableServer(tmp_path / "data", "--sample", "--no-traffic")
    yield begun
    begun.kill()


class Visitor:
    """Someone who looks at a page again and again, and waits for it as long as it takes."""

    def __init__(self, server: KillableServer) -> None:
        self.answered = 0
        self.faults: list[object] = []
        self._server = server
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._visit)
        self._thread.start()

    def _visit(self) -> None:
        while not self._ending.wait(0.05):
            try:
                connection = http.client.HTTPConnection(
                    self._server.host, self._server.port, timeout=120
                )
                connection.request("GET", "/campaigns/1/")
                answer = connection.getresponse()
                answer.read()
                connection.close()
                self.answered += 1
                if answer.status != 200:
                    self.faults.append(answer.status)
            except OSError as error:
                self.faults.append(error)

    def leave(self) -> None:
        self._ending.set()
        self._thread.join(120)


@pytest.mark.parametrize(
    ("slow", "seconds"), [FEW, pytest.param(*MANY, marks=LONG)], ids=["few", "many"]
)
@pytest.mark.parametrize("mode", MODES)
def test_pages_are_served_while_others_are_slow(
    server: KillableServer, mode: str, slow: int, seconds: int
) -> None:
    before = server.open_files()
    visitor, told = besieged(server, mode, slow, seconds)
    state = dict(re.findall(r"(connected|closed|error|service available): +(\w+)", told))
    assert int(state["connected"]) + int(state["closed"]) == slow, told
    assert int(state["error"]) == 0, told
    assert "YES" in told and not re.search(r"service available: +NO", told), told
    assert visitor.faults == []
    # If a page waited for the slow ones, there would be one or two.
    assert visitor.answered > 10
    assert_left(server, before)


def test_with_few_connections_the_slow_would_take_them_all(tmp_path: Path) -> None:
    words = ("--sample", "--no-traffic", "--max-connections", "100")
    server = KillableServer(tmp_path / "data", *words)
    try:
        visitor, _ = besieged(server, "heads", *FEW)
    finally:
        server.kill()
    assert 503 in visitor.faults


def besieged(server: KillableServer, mode: str, slow: int, seconds: int) -> tuple[Visitor, str]:
    """Someone who came while others were slow, and what slowhttptest says of it."""
    program = shutil.which("slowhttptest")
    if program is None:
        pytest.skip("slowhttptest is not installed")
    visitor = Visitor(server)
    url = f"http://{server.host}:{server.port}{PATHS[mode]}"
    words = ["-c", slow, "-r", 500, "-l", seconds, "-u", url, "-p", PROBE]
    done = subprocess.run(
        [program, *MODES[mode], *map(str, words)], capture_output=True, text=True, timeout=300
    )
    visitor.leave()
    return visitor, COLOURS.sub("", done.stdout)


@pytest.mark.parametrize(
    "wanted",
    [HUNDREDS, pytest.param(CAP - SPARE, marks=LONG)],
    ids=["hundreds", "all-of-the-cap"],
)
def test_connections_of_one_address_are_held_and_served(
    server: KillableServer, wanted: int
) -> None:
    """None is refused for its address, and none as one too many."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if wanted > HUNDREDS and hard < wanted + 500:
        pytest.skip(f"this process may have {hard} files")
    wanted = min(wanted, hard - 100)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    before = server.open_files()
    held = []
    try:
        for _ in range(wanted):
            held.append(http.client.HTTPConnection(server.host, server.port, timeout=60))
            held[-1].connect()
        for connection in held[:: wanted // 100]:
            connection.request("GET", "/campaigns/1/")
            answer = connection.getresponse()
            assert answer.status == 200
            answer.read()
        assert server.open_files() >= before + wanted
    finally:
        for connection in held:
            connection.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert_left(server, before)


def test_a_connection_that_stays_when_its_peer_has_left_would_be_seen(tmp_path: Path) -> None:
    server = KillableServer(tmp_path / "data", changes="keep_half_closed_connections")
    try:
        before = server.open_files()
        for _ in range(20):
            with socket.create_connection((server.host, server.port)) as peer:
                peer.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
                assert peer.recv(65_536)
        with pytest.raises(AssertionError):
            assert_left(server, before, patience=2)
    finally:
        server.kill()


def assert_left(server: KillableServer, before: int, patience: float = 120) -> None:
    """No descriptor of a connection stays."""
    end = time.monotonic() + patience
    while server.open_files() > before + 5 and time.monotonic() < end:
        time.sleep(0.2)
    assert server.open_files() <= before + 5
