"""Whoever leaves, in whatever way and at whatever moment, leaves nothing behind.

Every address is asked with every method in each of its stages, and left there: nothing that the
server holds for somebody stays, and a stop has nobody to wait for.
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

QUICK = ("idle", "header", "body", "write")  # limits, to be as short as a second
# Seconds that a stop waits for somebody who has not left, and much less than that.
DRAIN, STOPPED = 600, 120
LIVE = f"/api/v1/audience/{demo_traffic.DEMO_HOST}/stream?apikey={demo_traffic.DEMO_TOKEN}"
METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS")
FORM = b"--x\r\nContent-Disposition: form-data; name=files; filename=1/impressions_1.csv\r\n\r\n"


def close(peer: socket.socket) -> None:
    peer.close()


def half(peer: socket.socket) -> None:
    with contextlib.suppress(OSError):
        peer.shutdown(socket.SHUT_WR)


def reset(peer: socket.socket) -> None:
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    peer.close()


ENDS: tuple[Callable[[socket.socket], None], ...] = (close, half, reset)


class House(NamedTuple):
    """A server, what it logged, and who may ask it for everything."""

    server: KillableServer
    data: Path
    log: Path
    headers: str  # of an owner who is logged in, with a token of all scopes

    def figures(self) -> dict[str, float]:
        text = self.server.get_body("/metrics").decode()
        names = ("connections", "held_bytes", "listeners")
        return {
            name: float(value)
            for name, value in re.findall(r"^marquee_(\w+) (\S+)$", text, re.MULTILINE)
            if name in names
        }

    def uploads(self) -> list[Path]:
        folder = self.data / "uploads"
        return list(folder.iterdir()) if folder.exists() else []


@contextlib.contextmanager
def served(folder: Path, changes: str = "") -> Iterator[House]:
    data, log = folder / "data", folder / "log"
    limits = [word for name in QUICK for word in (f"--{name}-seconds", "1")]
    limits += ["--drain-seconds", str(DRAIN)]
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
        yield House(server, data, log, bearer + owner)
    finally:
        server.kill()


def addresses(server: KillableServer) -> list[str]:
    """All that the API's document names, with its examples."""
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


def stages(method: str, path: str, headers: str) -> Iterator[tuple[str, list[bytes]]]:
    """What is sent until one leaves, in pieces, by name."""

    def head(*lines: str) -> bytes:
        kind = "multipart/form-data; boundary=x" if "upload" in path else "application/x-ndjson"
        first = f"{method} {path} HTTP/1.1\r\nHost: a\r\nContent-Type: {kind}\r\n{headers}"
        return "".join((first, *(f"{line}\r\n" for line in lines), "\r\n")).encode()

    behind = b"GET /api/v1/stories/token_1 HTTP/1.1\r\nHost: a\r\n\r\n"
    if method in ("GET", "HEAD", "OPTIONS"):
        yield "whole", [head()]
        yield "behind another", [behind + head()]
        yield "ahead of another", [head() + behind]
    elif "upload" in path or path.endswith("/events"):  # others would undo what they are let in by
        form = FORM + b"banner_id,campaign_id\n1,1\n\r\n--x--\r\n"
        yield "a whole body", [head(f"Content-Length: {len(form)}"), form]
    yield "half a head", [head()[:40]]
    yield "no body", [head("Content-Length: 50000")]
    yield "half a body", [head("Content-Length: 1000"), FORM]
    yield "half a large body", [head("Content-Length: 200000"), FORM + b"x" * 20_000]
    yield "asked before", [head("Content-Length: 50000", "Expect: 100-continue")]
    yield "half in chunks", [head("Transfer-Encoding: chunked"), b"100\r\n" + FORM]


def leave(house: House, rounds: int, paths: list[str]) -> int:
    """Come and leave; how often that was."""
    waiting: list[socket.socket] = []
    ends = itertools.cycle(ENDS)
    count = 0
    for turn in range(rounds):
        for path, method, headers in itertools.product(paths, METHODS, (house.headers, "")):
            for _, pieces in stages(method, path, headers):
                peer = socket.create_connection((house.server.host, house.server.port), timeout=60)
                with contextlib.suppress(OSError):
                    for piece in pieces:
                        peer.sendall(piece)
                        time.sleep(turn % 4 / 2_000)
                end = next(ends)
                end(peer)
                count += 1
                if end is half:
                    waiting.append(peer)
                if len(waiting) > 300:
                    waiting.pop(0).close()
    for peer in waiting:
        peer.close()
    return count


def nothing_is_left(house: House, files: int, patience: float = 120) -> None:
    """As before, soon; and a stop has nobody to wait for."""
    expected = {"connections": 1.0, "held_bytes": 0.0, "listeners": 0.0}
    end = time.monotonic() + patience
    # SQLite's readers may have opened a file or two more.
    while (
        (left := house.figures()) != expected
        or house.server.open_files() > files + 8
        or house.uploads()
    ):
        assert time.monotonic() < end, (left, house.server.open_files(), files, house.uploads())
        time.sleep(0.2)
    house.server.process.send_signal(signal.SIGTERM)
    assert house.server.process.wait(STOPPED) == 0
    log = house.log.read_text()
    assert not re.search(r"Traceback|ERROR|CRITICAL|were cut|never retrieved", log), log[-3_000:]


@pytest.mark.parametrize("rounds", [1, pytest.param(20, marks=pytest.mark.long)])
def test_whoever_leaves_leaves_nothing_behind(tmp_path: Path, rounds: int) -> None:
    with served(tmp_path) as house:
        paths, files = addresses(house.server), house.server.open_files()
        assert len(paths) > 70
        count = leave(house, rounds, paths)
        print(f"left {count:,} times")
        assert count > 5_000 * rounds
        nothing_is_left(house, files)


@pytest.mark.parametrize(
    ("changes", "path"),
    [("report_disconnects_early", "/events"), ("ignore_stream_disconnects", LIVE)],
)
def test_what_would_be_left_behind_is_seen(tmp_path: Path, changes: str, path: str) -> None:
    with served(tmp_path, changes) as house:
        files = house.server.open_files()
        leave(house, 4, [path])
        with pytest.raises(AssertionError):
            nothing_is_left(house, files, patience=3)
