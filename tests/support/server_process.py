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
from pathlib import Path

from tests.support import ROOT

ADDRESS = re.compile(r"(https?)://([\w.\[\]:]+):(\d+)/")


class ServerResponse:
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


class MarqueeProcess:
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
        self.stdout_lines: list[str] = []
        self.stderr_lines: list[str] = []
        self._stderr_thread = threading.Thread(target=self._read_stderr, daemon=True)
        self._stderr_thread.start()
        for line in self.process.stdout:
            self.stdout_lines.append(line)
            if found := ADDRESS.search(line):
                self.port = int(found[3])
                break
        else:
            self.process.wait(60)
            self._stderr_thread.join(60)
            self.process.stdout.close()
            self.process.stderr.close()
            raise AssertionError(f"it did not start: {''.join(self.stderr_lines)}")
        self._stdout_thread = threading.Thread(target=self._read_stdout, daemon=True)
        self._stdout_thread.start()

    def _read_stderr(self) -> None:
        self.stderr_lines.extend(self.process.stderr)

    def _read_stdout(self) -> None:
        self.stdout_lines.extend(self.process.stdout)

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)

    def request(self, path: str, method: str = "GET", body: bytes | None = None, **headers: str):
        """One request on a connection of its own; header names with _ for -."""
        with contextlib.closing(self.connect()) as connection:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, path, body, named)
            return ServerResponse(connection.getresponse())

    def stop(self, by: int = signal.SIGTERM) -> int:
        """Stop it; its exit status."""
        if self.process.poll() is None:
            self.process.send_signal(by)
        return self.wait()

    def wait(self) -> int:
        """Its exit status, when it has ended."""
        status = self.process.wait(120)
        self._stderr_thread.join(60)
        self._stdout_thread.join(60)
        self.process.stdout.close()
        self.process.stderr.close()
        return status

    @property
    def log(self) -> str:
        return "".join(self.stderr_lines)
