"""A Marquee server in a process of its own, on a free port."""

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
from typing import IO, Any

from tests.support import ROOT

URL = re.compile(r"(https?)://([\w.\[\]:]+):(\d+)/")


class ServerResponse:
    """An HTTP response whose body has been read."""

    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.status = response.status
        self.headers = response.headers
        self.body = response.read()

    @property
    def text(self) -> str:
        return self.body.decode()

    def json(self) -> Any:
        return json.loads(self.body)


class MarqueeProcess:
    """A server process that prints its URL before the constructor returns."""

    program = (sys.executable, "server.py")

    def __init__(self, data: Path, *arguments: str, **environment: str) -> None:
        self.data = data
        self.process = subprocess.Popen(
            [*self.program, "serve", "--port", "0", "--data", str(data), *arguments],
            cwd=ROOT,
            env={**os.environ, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None and self.process.stderr is not None
        self._stdout: IO[str] = self.process.stdout
        self._stderr: IO[str] = self.process.stderr
        self.stdout_lines: list[str] = []
        self.stderr_lines: list[str] = []
        self._stderr_thread = threading.Thread(target=self._read_stderr, daemon=True)
        self._stderr_thread.start()
        for line in self._stdout:
            self.stdout_lines.append(line)
            if url := URL.search(line):
                self.port = int(url[3])
                break
        else:
            self.process.wait(60)
            self._stderr_thread.join(60)
            self._stdout.close()
            self._stderr.close()
            raise AssertionError(f"the server did not start: {''.join(self.stderr_lines)}")
        self._stdout_thread = threading.Thread(target=self._read_stdout, daemon=True)
        self._stdout_thread.start()

    def _read_stderr(self) -> None:
        self.stderr_lines.extend(self._stderr)

    def _read_stdout(self) -> None:
        self.stdout_lines.extend(self._stdout)

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)

    def request(
        self, path: str, method: str = "GET", body: bytes | None = None, **headers: str
    ) -> ServerResponse:
        """Send a request on a new connection; header names have `_` for `-`."""
        with contextlib.closing(self.connect()) as connection:
            fields = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, path, body, fields)
            return ServerResponse(connection.getresponse())

    def stop(self, signal_number: int = signal.SIGTERM) -> int:
        """Send a signal and return the exit status."""
        if self.process.poll() is None:
            self.process.send_signal(signal_number)
        return self.wait()

    def wait(self) -> int:
        """Wait for the end of the process and return its exit status."""
        status = self.process.wait(120)
        self._stderr_thread.join(60)
        self._stdout_thread.join(60)
        self._stdout.close()
        self._stderr.close()
        return status

    @property
    def log(self) -> str:
        return "".join(self.stderr_lines)
