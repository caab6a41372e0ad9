"""A real server, killed under load: every 202 was true, and it is ready again at once."""

import contextlib
import http.client
import itertools
import json
import random
import re
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from sender import Told, add_a_million, missing_from

ROOT = Path(__file__).parents[2]
SENDERS = 6
READY = 1.0  # seconds
COUNT = re.compile(r"^marquee_events_(\w+)_total (\S+)$", re.MULTILINE)


class Server:
    """A server process on a data folder, until it is killed."""

    def __init__(self, data: Path) -> None:
        command = ["server.py", "serve", "--port", "0", "--data", str(data)]
        self.process = subprocess.Popen(
            [sys.executable, *command],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if found := re.search(r"http://([\w.]+):(\d+)/", line):
                self.host, self.port = found[1], int(found[2])
                return
        raise AssertionError("it did not start")

    def counts(self) -> dict[str, int]:
        with contextlib.closing(http.client.HTTPConnection(self.host, self.port)) as connection:
            connection.request("GET", "/metrics")
            text = connection.getresponse().read().decode()
        return {name: int(float(value)) for name, value in COUNT.findall(text)}

    def kill(self) -> None:
        self.process.kill()
        with self.process:
            pass


class Load:
    """Senders that go on over a server's kills, each with what it has yet to hear of."""

    def __init__(self, data: Path, token: str) -> None:
        self.told = Told()
        self._data = data
        self._token = token
        self._lock = threading.Lock()
        self._numbers = itertools.count()

    def run(self, server: Server, seconds: float) -> None:
        """Send to a server for so long, then kill it."""
        again = self.told.unanswered()
        shares = [again[each::SENDERS] for each in range(SENDERS)]
        senders = [threading.Thread(target=self._send, args=(server, share)) for share in shares]
        try:
            for sender in senders:
                sender.start()
            time.sleep(seconds)
        finally:
            server.kill()
        for sender in senders:
            sender.join(20)

    def _send(self, server: Server, again: list[str]) -> None:
        connection = http.client.HTTPConnection(server.host, server.port, timeout=10)
        with (
            contextlib.suppress(OSError, http.client.HTTPException),
            contextlib.closing(connection),
        ):
            while True:
                if again:
                    keys, again = again[:50], again[50:]
                else:
                    many = random.choice((1, 1, 1, 20))
                    keys = [f"k{next(self._numbers)}" for _ in range(many)]
                    keys = [key + "-" * (random.random() < 0.3) for key in keys]
                self._post(connection, keys)

    def _post(self, connection: http.client.HTTPConnection, keys: list[str]) -> None:
        with self._lock:
            self.told.add("".join(f"s {key}\n" for key in keys))
        lines = [json.dumps(event(key)) for key in keys]
        single = len(keys) == 1
        kind = "application/json" if single else "application/x-ndjson"
        headers = {"Authorization": f"Bearer {self._token}", "Content-Type": kind}
        connection.request("POST", "/events", "\n".join(lines).encode(), headers)
        response = connection.getresponse()
        answer = json.loads(response.read())
        assert response.status == 202, answer
        results = [answer] if single else answer["results"]
        with self._lock:
            pairs = zip(keys, results, strict=True)
            self.told.add("".join(f"a {key} {each['id']}\n" for key, each in pairs))


def event(key: str) -> dict[str, object]:
    made: dict[str, object] = {
        "session_id": key,
        "category": "faults",
        "name": "kill",
        "data": {"padding": "x" * (sum(key.encode()) % 300)},
        "timestamp": "2021-01-01 09:15:27.243860",
    }
    return made if key.endswith("-") else made | {"sender_id": key}


@pytest.fixture
def load(tmp_path: Path) -> Iterator[Load]:
    words = ["server.py", "app", "create", "faults", "--data", str(tmp_path), "--json"]
    made = subprocess.run(
        [sys.executable, *words], cwd=ROOT, capture_output=True, check=True, timeout=60
    )
    yield Load(tmp_path, json.loads(made.stdout)["secret_token"])


def kill_and_check(load: Load, folder: Path, kills: int) -> None:
    for _ in range(kills):
        server = Server(folder)
        counts = server.counts()
        load.run(server, random.uniform(0.02, 0.3))
        assert counts.pop("received") == sum(counts.values())
        connection = sqlite3.connect(folder / "marquee.db")
        try:
            assert missing_from(connection, load.told) == 0
        finally:
            connection.close()


def test_every_202_was_true_when_the_server_is_killed(load: Load, tmp_path: Path) -> None:
    kill_and_check(load, tmp_path, 20)
    assert len(load.told.acked) > 1_000


def test_a_killed_server_with_a_million_events_is_ready_within_a_second(
    load: Load, tmp_path: Path
) -> None:
    def ready() -> float:
        began = time.perf_counter()
        server = Server(tmp_path)
        took = time.perf_counter() - began
        load.run(server, 0.2)
        return took

    # What a start takes without any events is Python's.
    empty = min(ready(), ready())
    add_a_million(tmp_path)
    assert min(ready(), ready()) - empty < READY


@pytest.mark.long
@pytest.mark.parametrize("_", range(10))
def test_every_202_was_true_over_200_kills(load: Load, tmp_path: Path, _: int) -> None:
    kill_and_check(load, tmp_path, 20)
