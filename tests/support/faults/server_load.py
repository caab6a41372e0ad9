"""A server under load that is killed, and a transcript of its responses."""

import contextlib
import http.client
import itertools
import json
import os
import random
import re
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from tests.support import PROGRAMS, ROOT
from tests.support.programs.log_sender import SendTranscript, count_missing

SENDER_THREADS = 6
EVENT_COUNTER = re.compile(r"^marquee_events_(\w+)_total (\S+)$", re.MULTILINE)


class StartFailed(RuntimeError):
    """The server ended before it was ready."""

    def __init__(self, status: int) -> None:
        super().__init__(f"the server did not start: status {status}")
        self.status = status


class KillableServer:
    """A server process that is killed at the end.

    `changes` names changes of altered_server.py, separated by commas. The process appends its log
    to the file `log`.
    """

    def __init__(
        self,
        data: Path,
        *arguments: str,
        changes: str = "",
        log: Path | None = None,
        **environment: str,
    ) -> None:
        program = [str(PROGRAMS / "altered_server.py"), changes] if changes else ["server.py"]
        command = [*program, "serve", "--port", "0", "--data", str(data), *arguments]
        with open(log or os.devnull, "ab") as errors:
            self.process = subprocess.Popen(
                [sys.executable, *command],
                cwd=ROOT,
                env=os.environ | environment,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if found := re.search(r"http://([\w.]+):(\d+)/", line):
                self.host, self.port = found[1], int(found[2])
                return
        with self.process:
            self.process.wait(60)
        raise StartFailed(self.process.returncode)

    def event_counts(self) -> dict[str, int]:
        text = self.get_body("/metrics").decode()
        return {name: int(float(value)) for name, value in EVENT_COUNTER.findall(text)}

    def get(self, path: str, token: str = "") -> tuple[int, bytes]:
        """Return status and body of a response."""
        connection = http.client.HTTPConnection(self.host, self.port, timeout=60)
        with contextlib.closing(connection):
            headers = {"Authorization": f"Bearer {token}"} if token else {}
            connection.request("GET", path, headers=headers)
            response = connection.getresponse()
            return response.status, response.read()

    def get_body(self, path: str, token: str = "") -> bytes:
        """Return the body of a response that must have status 200."""
        status, body = self.get(path, token)
        assert status == 200, body
        return body

    def metric(self, name: str) -> float:
        """Return the value of a metric without labels."""
        (line,) = (
            it for it in self.get_body("/metrics").decode().splitlines() if it.startswith(name)
        )
        return float(line.split()[1])

    def cpu_seconds(self) -> float:
        stat = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(stat[11]) + int(stat[12])) / os.sysconf("SC_CLK_TCK")

    def open_files(self) -> int:
        """Return the number of open file descriptors."""
        return len(list(Path(f"/proc/{self.process.pid}/fd").iterdir()))

    def resident_mib(self) -> float:
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0]) / 1024

    def kill(self) -> None:
        self.process.kill()
        with self.process:
            pass


class LoadGenerator:
    """Senders that continue over kills of a server and repeat unacknowledged events."""

    def __init__(self, token: str) -> None:
        self.transcript = SendTranscript()
        self.timed_lines: list[tuple[int, str]] = []  # (position, lines)
        self.position: Callable[[], int] = lambda: 0
        self.token = token
        self.is_503_allowed = False  # else a 503 fails the sender
        self.refused_requests = 0
        self._lock = threading.Lock()
        self._numbers = itertools.count()

    def count_missing(self, data: Path) -> int:
        """Return how many acknowledged events a data folder lacks."""
        with contextlib.closing(sqlite3.connect(data / "marquee.db")) as connection:
            return count_missing(connection, self.transcript)

    def run(
        self,
        server: KillableServer,
        seconds: float = 240,
        until: Callable[[], bool] = lambda: False,
    ) -> None:
        """Send for `seconds`, or until the server ends or `until` holds; then kill it."""
        keys = self.transcript.unacknowledged()
        shares = [keys[number::SENDER_THREADS] for number in range(SENDER_THREADS)]
        senders = [threading.Thread(target=self._send, args=(server, share)) for share in shares]
        try:
            for sender in senders:
                sender.start()
            end = time.monotonic() + seconds
            while not until() and server.process.poll() is None and time.monotonic() < end:
                time.sleep(min(0.02, seconds))
        finally:
            server.kill()
        for sender in senders:
            sender.join(60)

    def run_until_acknowledged(self, server: KillableServer, events: int) -> None:
        """Send until `events` more are acknowledged; then kill the server."""
        target = len(self.transcript.acknowledged) + events
        self.run(server, until=lambda: len(self.transcript.acknowledged) >= target)

    def _send(self, server: KillableServer, repeated_keys: list[str]) -> None:
        connection = http.client.HTTPConnection(server.host, server.port, timeout=60)
        with (
            contextlib.suppress(OSError, http.client.HTTPException),
            contextlib.closing(connection),
        ):
            while True:
                if repeated_keys:
                    keys, repeated_keys = repeated_keys[:50], repeated_keys[50:]
                else:
                    count = random.choice((1, 1, 1, 20))
                    keys = [f"k{next(self._numbers)}" for _ in range(count)]
                    keys = [key + "-" * (random.random() < 0.3) for key in keys]
                self._post(connection, keys)

    def _post(self, connection: http.client.HTTPConnection, keys: list[str]) -> None:
        self.record("".join(f"s {key}\n" for key in keys))
        lines = [json.dumps(load_event(key)) for key in keys]
        is_single = len(keys) == 1
        content_type = "application/json" if is_single else "application/x-ndjson"
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": content_type}
        connection.request("POST", "/events", "\n".join(lines).encode(), headers)
        response = connection.getresponse()
        document = json.loads(response.read())
        if response.status == 503 and self.is_503_allowed:
            assert response.headers["Retry-After"] and document["status"] == 503, document
            self.refused_requests += 1
            time.sleep(0.01)
            return
        assert response.status == 202, document
        results = [document] if is_single else document["results"]
        pairs = zip(keys, results, strict=True)
        self.record("".join(f"a {key} {each['id']}\n" for key, each in pairs))

    def record(self, lines: str) -> None:
        with self._lock:
            self.transcript.add(lines)
            self.timed_lines.append((self.position(), lines))


def wait_until(condition: Callable[[], object], seconds: float = 120) -> None:
    """Wait until a condition holds; a busy machine may take long."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"not within {seconds:g} s"
        time.sleep(0.02)


def new_load(data: Path) -> LoadGenerator:
    """Create an app in a data folder and return its load."""
    return LoadGenerator(str(run_json_command(data, "app", "create", "faults")["secret_token"]))


def run_json_command(data: Path, *arguments: str, stdin: str = "") -> dict[str, object]:
    """Run a command with `stdin` and return its JSON output; raise if it fails."""
    done = subprocess.run(
        [sys.executable, "server.py", *arguments, "--data", str(data), "--json"],
        cwd=ROOT,
        input=stdin,
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    output: dict[str, object] = json.loads(done.stdout)
    return output


def load_event(key: str) -> dict[str, object]:
    event: dict[str, object] = {
        "session_id": key,
        "category": "faults",
        "name": "kill",
        "data": {"padding": "x" * (sum(key.encode()) % 300)},
        "timestamp": "2021-01-01 09:15:27.243860",
    }
    return event if key.endswith("-") else event | {"sender_id": key}
