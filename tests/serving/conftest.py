"""A real Marquee, started as its owner would, on a free port and an empty data folder."""

import contextlib
import http.client
import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from chromium import chromium

ROOT = Path(__file__).parents[2]
ADDRESS = re.compile(r"(https?)://([\w.\[\]:]+):(\d+)/")


class Answer:
    """What came back."""

    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.status = response.status
        self.headers = response.headers
        self.body = response.read()

    @property
    def text(self) -> str:
        return self.body.decode()

    def json(self):
        return json.loads(self.body)


@pytest.fixture(scope="session")
def run() -> Callable[..., subprocess.CompletedProcess[str]]:
    """One command, to its end."""

    def end(*words: str, **environ: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "server.py", *words],
            cwd=ROOT,
            env={**os.environ, **environ},
            capture_output=True,
            text=True,
            timeout=240,
        )

    return end


class Running:
    """A server process."""

    program = (sys.executable, "server.py")

    def __init__(self, data: Path, *words: str, **environ: str) -> None:
        self.data = data
        self.process = subprocess.Popen(
            [*self.program, "serve", "--port", "0", "--data", str(data), *words],
            cwd=ROOT,
            env={**os.environ, **environ},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.told: list[str] = []
        self.logged: list[str] = []
        self._reader = threading.Thread(target=self._log, daemon=True)
        self._reader.start()
        for line in self.process.stdout:
            self.told.append(line)
            if found := ADDRESS.search(line):
                self.port = int(found[3])
                break
        else:
            self.process.wait(60)
            self._reader.join(60)
            self.process.stdout.close()
            self.process.stderr.close()
            raise AssertionError(f"it did not start: {''.join(self.logged)}")
        self._teller = threading.Thread(target=self._tell, daemon=True)
        self._teller.start()

    def _log(self) -> None:
        self.logged.extend(self.process.stderr)

    def _tell(self) -> None:
        self.told.extend(self.process.stdout)

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)

    def ask(self, path: str, method: str = "GET", body: bytes | None = None, **headers: str):
        """One request on a connection of its own; header names with _ for -."""
        with contextlib.closing(self.connect()) as connection:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, path, body, named)
            return Answer(connection.getresponse())

    def stop(self, by: int = signal.SIGTERM) -> int:
        """Stop it; its exit status."""
        if self.process.poll() is None:
            self.process.send_signal(by)
        return self.wait()

    def wait(self) -> int:
        """Its exit status, when it has ended."""
        status = self.process.wait(120)
        self._reader.join(60)
        self._teller.join(60)
        self.process.stdout.close()
        self.process.stderr.close()
        return status

    @property
    def log(self) -> str:
        return "".join(self.logged)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Running]]:
    """Start servers, by default on one data folder; all are ended after the test."""
    running: list[Running] = []

    def begin(*words: str, data: Path | None = None, **environ: str) -> Running:
        running.append(Running(data or tmp_path / "data", *words, **environ))
        return running[-1]

    yield begin
    for each in running:
        if each.process.returncode is None:
            each.stop(signal.SIGKILL)


@pytest.fixture(scope="module")
def sampled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """One server with sample data, for all tests of a module that change nothing."""
    running = Running(tmp_path_factory.mktemp("sample") / "data", "--sample")
    yield running
    assert running.stop() == 0, running.log
    assert "Traceback" not in running.log


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """One server without a sample, for all tests of a module that share its counts alone."""
    running = Running(tmp_path_factory.mktemp("served") / "data")
    yield running
    assert running.stop() == 0, running.log
    assert "Traceback" not in running.log, running.log


@pytest.fixture(scope="module", params=["wire", "tornado"])
def each_server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Running]:
    """A server with the sample, of each kind, for all tests of a module that change nothing."""
    data = tmp_path_factory.mktemp(request.param) / "data"
    running = Running(data, "--sample", "--no-traffic", "--server", request.param, "--json")
    yield running
    assert running.stop() == 0, running.log
    assert "Traceback" not in running.log, running.log


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory):
    """One browser for all tests of a module."""
    driver = chromium(tmp_path_factory.mktemp("profile"))
    yield driver
    driver.quit()
