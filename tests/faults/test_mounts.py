"""A file system that fills up and is relieved, and one that is read-only, mounted for the test."""

import http.client
import json
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from load import ROOT, Load, Server, event, new_load
from sender import missing_from

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount"),
]


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Callable[..., Path]]:
    """Mounts a tmpfs of a size."""
    place = tmp_path / "mounted"
    place.mkdir()

    def mounted(size: str) -> Path:
        words = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(place)]
        if subprocess.run(words, capture_output=True).returncode:
            pytest.skip("a tmpfs cannot be mounted here")
        return place

    yield mounted
    subprocess.run(["umount", "-l", str(place)], check=False)


def post(server: Server, load: Load, key: str) -> int:
    """Send an event; the status of the answer, which is our own words if it is not 202."""
    connection = http.client.HTTPConnection(server.host, server.port, timeout=10)
    headers = {"Authorization": f"Bearer {load.token}", "Content-Type": "application/json"}
    load.told.add(f"s {key}\n")
    connection.request("POST", "/events", json.dumps(event(key)), headers)
    answer = connection.getresponse()
    body = json.loads(answer.read())
    connection.close()
    if answer.status == 202:
        load.told.add(f"a {key} {body['id']}\n")
    else:
        assert answer.status == 503 and answer.headers["Retry-After"], body
        assert "full" in body["detail"], body
    return answer.status


def test_a_full_disk_is_told_of_and_survived_and_its_relief_is_noticed(
    mount: Callable[..., Path],
) -> None:
    folder = mount("16m")
    data = folder / "data"
    load = new_load(data)
    server = Server(data)
    try:
        ballast = folder / "ballast"
        with ballast.open("wb") as file:
            while True:
                try:
                    file.write(b"x" * 65_536)
                    file.flush()
                except OSError:
                    break
        turn, statuses = 0, []
        end = time.monotonic() + 30
        while 503 not in statuses[-3:] and time.monotonic() < end:
            statuses.append(post(server, load, f"full {turn}".replace(" ", "")))
            turn += 1
        assert statuses[-1] == 503
        assert server.ask("/healthz")
        ballast.unlink()
        time.sleep(1)
        assert [post(server, load, f"room{number}") for number in range(20)] == [202] * 20
        assert server.process.poll() is None
    finally:
        server.kill()
    connection = sqlite3.connect(data / "marquee.db")
    try:
        assert missing_from(connection, load.told) == 0
    finally:
        connection.close()


def test_a_read_only_folder_is_told_of_at_the_start(mount: Callable[..., Path]) -> None:
    folder = mount("16m")
    data = folder / "data"
    new_load(data)
    subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
    done = subprocess.run(
        [sys.executable, "server.py", "serve", "--port", "0", "--data", str(data)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=20,
    )
    assert done.returncode == 1
    assert "Read-only file system" in done.stderr and "Traceback" not in done.stderr
