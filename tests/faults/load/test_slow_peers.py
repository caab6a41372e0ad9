"""Slow clients (slowhttptest), and the maximum number of connections.

Short tests use hundreds of connections, long ones thousands; tests/httpserver/ has single ones.
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

# Slow connections, and seconds of an attack.
FEW_SLOW, MANY_SLOW = (200, 6), (2_000, 25)
MODES = {
    "heads": ["-H", "-i", "2"],
    "bodies": ["-B", "-i", "2", "-s", "100000", "-t", "POST"],
    "reads": ["-X", "-n", "5", "-w", "8", "-y", "16", "-z", "4", "-k", "5"],
}
PATHS = {"heads": "/campaigns/1/", "bodies": "/events", "reads": "/campaigns/1/"}
# slowhttptest reports a server as unavailable after so many seconds without a response.
PROBE_SECONDS = 60
MAX_CONNECTIONS, SPARE_CONNECTIONS = 12_000, 10
SHORT_RUN_CONNECTIONS = 800
COLOUR_CODES = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
LONG = pytest.mark.long


@pytest.fixture
def server(tmp_path: Path) -> Iterator[KillableServer]:
    server = KillableServer(tmp_path / "data", "--sample", "--no-traffic")
    yield server
    server.kill()


class PageReader:
    """Requests a page repeatedly in a thread, and counts the responses."""

    def __init__(self, server: KillableServer) -> None:
        self.pages = 0
        self.failures: list[object] = []
        self._server = server
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def _read(self) -> None:
        while not self._ending.wait(0.05):
            try:
                connection = http.client.HTTPConnection(
                    self._server.host, self._server.port, timeout=120
                )
                connection.request("GET", "/campaigns/1/")
                response = connection.getresponse()
                response.read()
                connection.close()
                self.pages += 1
                if response.status != 200:
                    self.failures.append(response.status)
            except OSError as error:
                self.failures.append(error)

    def stop(self) -> None:
        self._ending.set()
        self._thread.join(120)


@pytest.mark.parametrize(
    ("slow", "seconds"), [FEW_SLOW, pytest.param(*MANY_SLOW, marks=LONG)], ids=["few", "many"]
)
@pytest.mark.parametrize("mode", MODES)
def test_pages_are_served_during_slow_attack(
    server: KillableServer, mode: str, slow: int, seconds: int
) -> None:
    before = server.open_files()
    reader, output = read_page_during_attack(server, mode, slow, seconds)
    state = dict(re.findall(r"(connected|closed|error|service available): +(\w+)", output))
    assert int(state["connected"]) + int(state["closed"]) == slow, output
    assert int(state["error"]) == 0, output
    assert "YES" in output and not re.search(r"service available: +NO", output), output
    assert reader.failures == []
    # If pages waited for the slow clients, there would be one or two.
    assert reader.pages > 10
    assert_connections_closed(server, before)


def test_slow_clients_exhaust_a_low_connection_limit(tmp_path: Path) -> None:
    options = ("--sample", "--no-traffic", "--max-connections", "100")
    server = KillableServer(tmp_path / "data", *options)
    try:
        reader, _ = read_page_during_attack(server, "heads", *FEW_SLOW)
    finally:
        server.kill()
    assert 503 in reader.failures


def read_page_during_attack(
    server: KillableServer, mode: str, slow: int, seconds: int
) -> tuple[PageReader, str]:
    """Return a reader of pages during an attack, and the output of slowhttptest."""
    program = shutil.which("slowhttptest")
    if program is None:
        pytest.skip("slowhttptest is not installed")
    reader = PageReader(server)
    url = f"http://{server.host}:{server.port}{PATHS[mode]}"
    arguments = ["-c", slow, "-r", 500, "-l", seconds, "-u", url, "-p", PROBE_SECONDS]
    done = subprocess.run(
        [program, *MODES[mode], *map(str, arguments)], capture_output=True, text=True, timeout=300
    )
    reader.stop()
    return reader, COLOUR_CODES.sub("", done.stdout)


@pytest.mark.parametrize(
    "count",
    [SHORT_RUN_CONNECTIONS, pytest.param(MAX_CONNECTIONS - SPARE_CONNECTIONS, marks=LONG)],
    ids=["hundreds", "all-of-the-cap"],
)
def test_many_connections_of_one_address_are_served(server: KillableServer, count: int) -> None:
    """The server rejects none for its address or for the number of connections."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if count > SHORT_RUN_CONNECTIONS and hard < count + 500:
        pytest.skip(f"this process may open only {hard} files")
    count = min(count, hard - 100)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    before = server.open_files()
    connections = []
    try:
        for _ in range(count):
            connections.append(http.client.HTTPConnection(server.host, server.port, timeout=60))
            connections[-1].connect()
        for connection in connections[:: count // 100]:
            connection.request("GET", "/campaigns/1/")
            response = connection.getresponse()
            assert response.status == 200
            response.read()
        assert server.open_files() >= before + count
    finally:
        for connection in connections:
            connection.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert_connections_closed(server, before)


def test_connection_kept_after_disconnect_is_detected(tmp_path: Path) -> None:
    server = KillableServer(tmp_path / "data", changes="keep_half_closed_connections")
    try:
        before = server.open_files()
        for _ in range(20):
            with socket.create_connection((server.host, server.port)) as peer:
                peer.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
                assert peer.recv(65_536)
        with pytest.raises(AssertionError):
            assert_connections_closed(server, before, patience=2)
    finally:
        server.kill()


def assert_connections_closed(server: KillableServer, before: int, patience: float = 120) -> None:
    """Check that the server closes the descriptors of connections."""
    end = time.monotonic() + patience
    while server.open_files() > before + 5 and time.monotonic() < end:
        time.sleep(0.2)
    assert server.open_files() <= before + 5
