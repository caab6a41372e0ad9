"""Twenty minutes of load with a fault per minute lose no event and leak nothing."""

import contextlib
import http.client
import json
import random
import signal
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support import ROOT
from tests.support.faults.foreign_reader import hold_read_transaction
from tests.support.faults.server_load import KillableServer, LoadGenerator, load_event, new_load

SENDERS, PAUSE_SECONDS = 5, 0.007
# Allowed growth between the first and the last third of a run, such as by caches.
SLACK_MB, SLACK_FILES = 8, 20
# Allowed growth during a fault, such as a rebuild of projections.
MAX_FAULT_MB = 32
SAMPLE_SECONDS = 5.0


class SoakRun:
    """A server that is restarted after every end, its load, and samples of its memory and files."""

    def __init__(self, data: Path) -> None:
        self.data = data
        self.load = LoadGenerator(new_load(data).token)
        self.server = KillableServer(data)
        self.ending = threading.Event()
        # Samples (MB, files) without a fault and the maximum memory, both since the last restart.
        self.samples: list[tuple[float, int]] = []
        self.max_mb = 0.0
        self.is_without_fault = True
        self.cpu_seconds = 0.0  # of servers that have ended
        self.requests = 0
        threads = [threading.Thread(target=self._send) for _ in range(SENDERS)]
        self._threads = [*threads, threading.Thread(target=self._sample)]
        for each in self._threads:
            each.start()

    def restart(self, signal_number: int) -> None:
        """End the server by a signal, and start it again."""
        self.cpu_seconds += self.server.cpu_seconds()
        self.server.process.send_signal(signal_number)
        self.server.process.communicate(timeout=120)
        self.server = KillableServer(self.data)
        self.samples.clear()
        self.max_mb = 0.0

    def cause(self, fault: "Callable[[SoakRun], None]") -> None:
        """Cause a fault; no sample counts until it is over."""
        self.is_without_fault = False
        fault(self)
        self.is_without_fault = True

    def close(self) -> None:
        self.ending.set()
        for each in self._threads:
            each.join(30)
        self.cpu_seconds += self.server.cpu_seconds()
        self.server.process.terminate()
        self.server.process.communicate(timeout=120)

    def _send(self) -> None:
        rng = random.Random()
        batch = 0
        unacknowledged: list[str] = []
        while not self.ending.is_set():
            server = self.server
            connection = http.client.HTTPConnection(server.host, server.port, timeout=120)
            try:
                while not self.ending.is_set():
                    if not unacknowledged:
                        batch += 1
                        count = rng.choice((1, 1, 10, 30))
                        keys = [f"{id(connection)}.{batch}.{each}" for each in range(count)]
                        unacknowledged = keys
                    self._post(connection, unacknowledged)
                    unacknowledged = []
                    time.sleep(PAUSE_SECONDS)
            except (OSError, http.client.HTTPException):
                time.sleep(0.2)  # the server has ended; the same events are sent again
            finally:
                connection.close()

    def _post(self, connection: http.client.HTTPConnection, keys: list[str]) -> None:
        load = self.load
        load.record("".join(f"s {key}\n" for key in keys))
        body = "\n".join(json.dumps(load_event(key)) for key in keys).encode()
        headers = {
            "Authorization": f"Bearer {load.token}",
            "Content-Type": "application/x-ndjson",
        }
        connection.request("POST", "/events", body, headers)
        response = connection.getresponse()
        document = json.loads(response.read())
        self.requests += 1
        if response.status == 503:
            assert response.headers["Retry-After"]
            raise OSError("the server refused the events")
        assert response.status == 202, document
        pairs = zip(keys, document["results"], strict=True)
        load.record("".join(f"a {key} {each['id']}\n" for key, each in pairs))

    def _sample(self) -> None:
        while not self.ending.wait(SAMPLE_SECONDS):
            with contextlib.suppress(OSError, ValueError, IndexError):
                memory, files = self.server.resident_mib(), self.server.open_files()
                self.max_mb = max(self.max_mb, memory)
                if self.is_without_fault:
                    self.samples.append((memory, files))


def pause_process(run: SoakRun) -> None:
    run.server.process.send_signal(signal.SIGSTOP)
    time.sleep(2)
    run.server.process.send_signal(signal.SIGCONT)


def hold_foreign_reader(run: SoakRun) -> None:
    with hold_read_transaction(run.data / "marquee.db", 60):
        time.sleep(8)


def open_slow_connections(run: SoakRun) -> None:
    peers = []
    for _ in range(300):
        peer = socket.create_connection((run.server.host, run.server.port))
        peer.sendall(b"POST /events HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n")
        peers.append(peer)
    time.sleep(5)
    for peer in peers:
        peer.close()


def send_garbage(run: SoakRun) -> None:
    for _ in range(300):
        with (
            contextlib.suppress(OSError),
            socket.create_connection((run.server.host, run.server.port), timeout=5) as peer,
        ):
            peer.sendall(random.randbytes(2_000))
            peer.recv(100)


def command_fault(*arguments: str) -> Callable[[SoakRun], None]:
    def cause(run: SoakRun) -> None:
        done = subprocess.run(
            [sys.executable, "server.py", *arguments, "--data", str(run.data)],
            cwd=ROOT,
            capture_output=True,
            timeout=300,
        )
        assert done.returncode == 0, done.stderr

    return cause


def kill_server(run: SoakRun) -> None:
    run.restart(signal.SIGKILL)


def stop_server(run: SoakRun) -> None:
    run.restart(signal.SIGTERM)


def faults(data: Path) -> Iterator[Callable[[SoakRun], None]]:
    """Yield a fault for each minute; restarts come first, so that leaks show after them."""
    backup = command_fault("backup", "--to", str(data.with_name("backup.tar")))
    yield from (kill_server, pause_process, stop_server, send_garbage, kill_server)
    while True:
        yield from (pause_process, hold_foreign_reader, open_slow_connections, send_garbage)
        yield from (backup, command_fault("rebuild"))
        (data.with_name("backup.tar")).unlink(missing_ok=True)


@pytest.mark.long
@pytest.mark.parametrize(("seconds", "every"), [(1_200, 60)])
def test_twenty_minutes_of_faults_lose_nothing_and_leak_nothing(
    tmp_path: Path, seconds: int, every: int
) -> None:
    run = SoakRun(tmp_path / "data")
    began = time.monotonic()
    try:
        for minute, fault in enumerate(faults(run.data), 1):
            time.sleep(max(0.0, began + minute * every - time.monotonic()))
            if time.monotonic() - began >= seconds:
                break
            run.cause(fault)
    finally:
        run.close()
    took = time.monotonic() - began
    assert run.load.count_missing(run.data) == 0
    samples = run.samples[len(run.samples) // 10 :]
    first, last = samples[: len(samples) // 3], samples[-len(samples) // 3 :]
    memory = [statistics.median(each[0] for each in part) for part in (first, last)]
    files = [max(each[1] for each in part) for part in (first, last)]
    print(
        f"{len(run.load.transcript.acknowledged):,} events "
        f"of {run.requests:,} requests in {took:.0f} s, "
        f"{run.cpu_seconds / took:.0%} of a core; memory {memory[0]:.0f} MB, then {memory[1]:.0f}, "
        f"at most {run.max_mb:.0f}; "
        f"files {files[0]}, then {files[1]}"
    )
    assert memory[1] < memory[0] + SLACK_MB, memory
    assert run.max_mb < memory[0] + MAX_FAULT_MB, run.max_mb
    assert files[1] < files[0] + SLACK_FILES, files
