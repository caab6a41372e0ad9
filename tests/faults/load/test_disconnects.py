"""Clients that disconnect at any stage of a request leave nothing behind.

The tests send every method to every documented URL, disconnect at each stage, and check that the
server frees connections, memory, files and listeners, and stops at once.
"""

import contextlib
import http.client
import itertools
import json
import re
import secrets
import signal
import socket
import struct
import time
import urllib.parse
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from demo import demo_traffic
from tests.support.faults.server_load import KillableServer, run_json_command

SHORT_TIMEOUTS = ("idle", "header", "body", "write")  # set to one second
# A stop waits so long for open connections; without any it must take much less.
DRAIN_SECONDS, MAX_STOP_SECONDS = 600, 120
STREAM_URL = f"/api/v1/audience/{demo_traffic.DEMO_HOST}/stream?apikey={demo_traffic.DEMO_TOKEN}"
METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS")
FORM = b"--x\r\nContent-Disposition: form-data; name=files; filename=1/impressions_1.csv\r\n\r\n"


def close(client: socket.socket) -> None:
    client.close()


def half_close(client: socket.socket) -> None:
    with contextlib.suppress(OSError):
        client.shutdown(socket.SHUT_WR)


def reset(client: socket.socket) -> None:
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()


DISCONNECTS: tuple[Callable[[socket.socket], None], ...] = (close, half_close, reset)


class DisconnectTarget(NamedTuple):
    """A server, its log, and credentials for every route."""

    server: KillableServer
    data: Path
    log: Path
    headers: str  # session cookie of an owner, and a token with all scopes

    def metrics(self) -> dict[str, float]:
        text = self.server.get_body("/metrics").decode()
        names = ("connections", "request_body_bytes", "sse_listeners")
        return {
            name: float(value)
            for name, value in re.findall(r"^marquee_(\w+) (\S+)$", text, re.MULTILINE)
            if name in names
        }

    def uploads(self) -> list[Path]:
        folder = self.data / "uploads"
        return list(folder.iterdir()) if folder.exists() else []


@contextlib.contextmanager
def running_server(folder: Path, changes: str = "") -> Iterator[DisconnectTarget]:
    data, log = folder / "data", folder / "log"
    limits = [word for name in SHORT_TIMEOUTS for word in (f"--{name}-seconds", "1")]
    limits += ["--drain-seconds", str(DRAIN_SECONDS)]
    server = KillableServer(data, "--sample", "--no-traffic", *limits, changes=changes, log=log)
    try:
        token = run_json_command(data, "app", "token", "token_1", "--scopes", "read,write,admin")
        password = secrets.token_urlsafe(20)
        run_json_command(data, "user", "create", "leaver", stdin=f"{password}\n{password}\n")
        form = urllib.parse.urlencode({"name": "leaver", "password": password})
        connection = http.client.HTTPConnection(server.host, server.port, timeout=120)
        headers = {
            "Content-Type": "application/x-www-form-urlencoded",
            "Sec-Fetch-Site": "same-origin",
        }
        connection.request("POST", "/admin/login", form, headers)
        cookie = connection.getresponse().headers["Set-Cookie"].partition(";")[0]
        connection.close()
        bearer = f"Authorization: Bearer {token['secret_token']}\r\n"
        owner = f"Cookie: {cookie}\r\nSec-Fetch-Site: same-origin\r\n"
        yield DisconnectTarget(server, data, log, bearer + owner)
    finally:
        server.kill()


def documented_urls(server: KillableServer) -> list[str]:
    """Return every URL of the OpenAPI document, with example values."""
    document = json.loads(server.get_body("/api/v1/openapi.json"))
    found = []
    for path, operations in document["paths"].items():
        queries = {}
        for operation in operations.values():
            for each in operation.get("parameters", ()) if isinstance(operation, dict) else ():
                value = urllib.parse.quote(str(each.get("example", 1)), safe="")
                if each["in"] == "path":
                    path = path.replace("{" + each["name"] + "}", value)
                elif each["in"] == "query" and each["required"]:
                    queries[each["name"]] = value
        query = "&".join(f"{name}={value}" for name, value in queries.items())
        found.append(path + ("?" + query) * bool(query))
    return [*found, "/nowhere", "/events/export?format=csv"]


def partial_requests(method: str, path: str, headers: str) -> Iterator[tuple[str, list[bytes]]]:
    """Yield names and pieces of complete and partial requests."""

    def head(*lines: str) -> bytes:
        kind = "multipart/form-data; boundary=x" if "upload" in path else "application/x-ndjson"
        first = f"{method} {path} HTTP/1.1\r\nHost: a\r\nContent-Type: {kind}\r\n{headers}"
        return "".join((first, *(f"{line}\r\n" for line in lines), "\r\n")).encode()

    behind = b"GET /api/v1/stories/token_1 HTTP/1.1\r\nHost: a\r\n\r\n"
    if method in ("GET", "HEAD", "OPTIONS"):
        yield "whole", [head()]
        yield "behind another", [behind + head()]
        yield "ahead of another", [head() + behind]
    elif "upload" in path or path.endswith(
        "/events"
    ):  # others would log the owner out or revoke the token
        form = FORM + b"banner_id,campaign_id\n1,1\n\r\n--x--\r\n"
        yield "a whole body", [head(f"Content-Length: {len(form)}"), form]
    yield "half a head", [head()[:40]]
    yield "no body", [head("Content-Length: 50000")]
    yield "half a body", [head("Content-Length: 1000"), FORM]
    yield "half a large body", [head("Content-Length: 200000"), FORM + b"x" * 20_000]
    yield "asked before", [head("Content-Length: 50000", "Expect: 100-continue")]
    yield "half in chunks", [head("Transfer-Encoding: chunked"), b"100\r\n" + FORM]


def disconnect_everywhere(target: DisconnectTarget, rounds: int, paths: list[str]) -> int:
    """Send partial requests and disconnect; return the number of connections."""
    half_closed: list[socket.socket] = []
    disconnects = itertools.cycle(DISCONNECTS)
    count = 0
    for round_number in range(rounds):
        for path, method, headers in itertools.product(paths, METHODS, (target.headers, "")):
            for _, pieces in partial_requests(method, path, headers):
                client = socket.create_connection(
                    (target.server.host, target.server.port), timeout=60
                )
                with contextlib.suppress(OSError):
                    for piece in pieces:
                        client.sendall(piece)
                        time.sleep(round_number % 4 / 2_000)
                disconnect = next(disconnects)
                disconnect(client)
                count += 1
                if disconnect is half_close:
                    half_closed.append(client)
                if len(half_closed) > 300:
                    half_closed.pop(0).close()
    for client in half_closed:
        client.close()
    return count


def assert_nothing_left(target: DisconnectTarget, files: int, patience: float = 120) -> None:
    """Wait until metrics and files are as before, and check that the server stops at once."""
    expected = {"connections": 1.0, "request_body_bytes": 0.0, "sse_listeners": 0.0}
    end = time.monotonic() + patience
    # SQLite may have opened a few more files for readers.
    while (
        (left := target.metrics()) != expected
        or target.server.open_files() > files + 8
        or target.uploads()
    ):
        assert time.monotonic() < end, (left, target.server.open_files(), files, target.uploads())
        time.sleep(0.2)
    target.server.process.send_signal(signal.SIGTERM)
    assert target.server.process.wait(MAX_STOP_SECONDS) == 0
    log = target.log.read_text()
    assert not re.search(r"Traceback|ERROR|CRITICAL|connections aborted|never retrieved", log), log[
        -3_000:
    ]


@pytest.mark.parametrize("rounds", [1, pytest.param(20, marks=pytest.mark.long)])
def test_disconnects_leave_nothing_behind(tmp_path: Path, rounds: int) -> None:
    with running_server(tmp_path) as target:
        paths, files = documented_urls(target.server), target.server.open_files()
        assert len(paths) > 70
        count = disconnect_everywhere(target, rounds, paths)
        print(f"{count:,} disconnects")
        assert count > 5_000 * rounds
        assert_nothing_left(target, files)


@pytest.mark.parametrize(
    ("changes", "path"),
    [("report_disconnects_early", "/events"), ("ignore_stream_disconnects", STREAM_URL)],
)
def test_leftovers_of_disconnects_are_detected(tmp_path: Path, changes: str, path: str) -> None:
    with running_server(tmp_path, changes) as target:
        files = target.server.open_files()
        disconnect_everywhere(target, 4, [path])
        with pytest.raises(AssertionError):
            assert_nothing_left(target, files, patience=3)
