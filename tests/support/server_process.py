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
