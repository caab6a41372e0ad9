"""Some load for long, with a fault a minute: nothing is lost, and nothing grows."""

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

SENDERS, PAUSE = 5, 0.007
# What may be different between two thirds of a run: a cache that fills, a step that is on its way.
SLACK_MB, SLACK_FILES = 8, 20
# What a fault may take while it lasts, such as views that are made anew.
MOST_MB = 32
LOOK = 5.0


class House:
    """A server that is started again whenever it has ended, its load, and what was seen of it."""

    def __init__(self, data: Path) -> None:
        self.data = data
        self.load = LoadGenerator(new_load(data).token)
        self.server = KillableServer(data)
        self.ending = threading.Event()
        # MB and files since the last restart, of moments without a fault; and the most MB of all.
        self.steady: list[tuple[float, int]] = []
        self.most = 0.0
        self.at_peace = True
        self.busy = 0.0  # CPU seconds of servers that have ended
        self.requests = 0
        threads = [threading.Thread(target=self._send) for _ in range(SENDERS)]
        self._threads = [*threads, threading.Thread(target=self._look)]
        for each in self._threads:
            each.start()

    def end(self, by: int) -> None:
        """End the server, and start it again."""
        self.busy += self.server.cpu_seconds()
        self.server.process.send_signal(by)
        self.server.process.communicate(timeout=120)
        self.server = KillableServer(self.data)
        self.steady.clear()
        self.most = 0.0

    def suffer(self, fault: "Callable[[House], None]") -> None:
        """Go through a fault."""
        self.at_peace = False
        fault(self)
        self.at_peace = True

    def close(self) -> None:
        self.ending.set()
        for each in self._threads:
            each.join(30)
        self.busy += self.server.cpu_seconds()
        self.server.process.terminate()
        self.server.process.communicate(timeout=120)

    def _send(self) -> None:
        chance = random.Random()
        turn = 0
        again: list[str] = []
        while not self.ending.is_set():
            server = self.server
            connection = http.client.HTTPConnection(server.host, server.port, timeout=120)
            try:
                while not self.ending.is_set():
                    if not again:
                        turn += 1
                        many = chance.choice((1, 1, 10, 30))
                        again = [f"{id(connection)}.{turn}.{each}" for each in range(many)]
                    self._post(connection, again)
                    again = []
                    time.sleep(PAUSE)
            except (OSError, http.client.HTTPException):
                time.sleep(0.2)  # it ended; the same is sent again, by the same ids
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
        answer = connection.getresponse()
        said = json.loads(answer.read())
        self.requests += 1
        if answer.status == 503:
            assert answer.headers["Retry-After"]
            raise OSError("it is to be sent again")
        assert answer.status == 202, said
        pairs = zip(keys, said["results"], strict=True)
        load.record("".join(f"a {key} {each['id']}\n" for key, each in pairs))

    def _look(self) -> None:
        while not self.ending.wait(LOOK):
            with contextlib.suppress(OSError, ValueError, IndexError):
                memory, files = self.server.resident_mib(), self.server.open_files()
                self.most = max(self.most, memory)
                if self.at_peace:
                    self.steady.append((memory, files))


def stands_still(house: House) -> None:
    house.server.process.send_signal(signal.SIGSTOP)
    time.sleep(2)
    house.server.process.send_signal(signal.SIGCONT)


def is_read_by_another(house: House) -> None:
    with hold_read_transaction(house.data / "marquee.db", 60):
        time.sleep(8)


def is_held_by_slow_peers(house: House) -> None:
    peers = []
    for _ in range(300):
        peer = socket.create_connection((house.server.host, house.server.port))
        peer.sendall(b"POST /events HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n")
        peers.append(peer)
    time.sleep(5)
    for peer in peers:
        peer.close()


def is_sent_garbage(house: House) -> None:
    for _ in range(300):
        with (
            contextlib.suppress(OSError),
            socket.create_connection((house.server.host, house.server.port), timeout=5) as peer,
        ):
            peer.sendall(random.randbytes(2_000))
            peer.recv(100)


def command(*words: str) -> Callable[[House], None]:
    def run(house: House) -> None:
        done = subprocess.run(
            [sys.executable, "server.py", *words, "--data", str(house.data)],
            cwd=ROOT,
            capture_output=True,
            timeout=300,
        )
        assert done.returncode == 0, done.stderr

    return run


def is_killed(house: House) -> None:
    house.end(signal.SIGKILL)


def is_stopped(house: House) -> None:
    house.end(signal.SIGTERM)


def faults(data: Path) -> Iterator[Callable[[House], None]]:
    """One for each minute: the ends of processes first, so that what grows shows after them."""
    backup = command("backup", "--to", str(data.with_name("backup.tar")))
    yield from (is_killed, stands_still, is_stopped, is_sent_garbage, is_killed)
    while True:
        yield from (stands_still, is_read_by_another, is_held_by_slow_peers, is_sent_garbage)
        yield from (backup, command("rebuild"))
        (data.with_name("backup.tar")).unlink(missing_ok=True)


@pytest.mark.long
@pytest.mark.parametrize(("seconds", "every"), [(1_200, 60)])
def test_a_house_stands_for_twenty_minutes(tmp_path: Path, seconds: int, every: int) -> None:
    house = House(tmp_path / "data")
    began = time.monotonic()
    try:
        for turn, fault in enumerate(faults(house.data), 1):
            time.sleep(max(0.0, began + turn * every - time.monotonic()))
            if time.monotonic() - began >= seconds:
                break
            house.suffer(fault)
    finally:
        house.close()
    took = time.monotonic() - began
    assert house.load.count_missing(house.data) == 0
    seen = house.steady[len(house.steady) // 10 :]
    first, last = seen[: len(seen) // 3], seen[-len(seen) // 3 :]
    memory = [statistics.median(each[0] for each in part) for part in (first, last)]
    files = [max(each[1] for each in part) for part in (first, last)]
    print(
        f"{len(house.load.transcript.acknowledged):,} events "
        f"of {house.requests:,} requests in {took:.0f} s, "
        f"{house.busy / took:.0%} of a core; memory {memory[0]:.0f} MB, then {memory[1]:.0f}, "
        f"at most {house.most:.0f}; "
        f"files {files[0]}, then {files[1]}"
    )
    assert memory[1] < memory[0] + SLACK_MB, memory
    assert house.most < memory[0] + MOST_MB, house.most
    assert files[1] < files[0] + SLACK_FILES, files
