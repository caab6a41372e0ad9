"""File systems that fill up and are relieved, or turn read-only, mounted for the test.

The kernel makes a file system read-only under those who write to it when its disk fails; ext4's
`abort` has it do so at will. An owner cannot: `mount -o remount,ro` is refused then.
"""

import contextlib
import http.client
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from load import ROOT, Load, Server, event, new_load

# The second one takes no other way, and its seconds are spared.
UNGUARDED = ["settles_what_failed", pytest.param("overlooks_the_disk", marks=pytest.mark.long)]
pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount")


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


class Image:
    """A disk in a file, with ext4 on it."""

    def __init__(self, folder: Path) -> None:
        self.place = folder / "mounted"
        self.place.mkdir()
        self._image = folder / "image"
        self._image.write_bytes(b"")
        os.truncate(self._image, 48 * 1_048_576)
        subprocess.run(["mkfs.ext4", "-q", "-F", str(self._image)], check=True)

    def mount(self) -> None:
        words = ["mount", "-o", "loop", str(self._image), str(self.place)]
        if subprocess.run(words, capture_output=True).returncode:
            pytest.skip("no file can be mounted here")

    def fail(self) -> None:
        """Read-only from now on, also for who has files open to write."""
        subprocess.run(["mount", "-o", "remount,abort", str(self.place)], check=True)

    def umount(self) -> None:
        subprocess.run(["umount", "-l", str(self.place)], check=False, capture_output=True)

    def repair(self) -> None:
        subprocess.run(["e2fsck", "-fy", str(self._image)], capture_output=True)


@pytest.fixture
def image(tmp_path: Path) -> Iterator[Image]:
    if shutil.which("mkfs.ext4") is None:
        pytest.skip("mkfs.ext4 is of Debian's package e2fsprogs")
    made = Image(tmp_path)
    made.mount()
    yield made
    made.umount()


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


def filled_and_relieved(folder: Path, changed: str = "") -> tuple[list[int], list[int], int]:
    """The answers on a file system that fills up, those when there is room again, and how many
    events that were acknowledged are missing then.
    """
    data = folder / "data"
    load = new_load(data)
    server = Server(data, changed=changed)
    try:
        ballast = folder / "ballast"
        with ballast.open("wb") as file, contextlib.suppress(OSError):
            while True:
                file.write(b"x" * 65_536)
                file.flush()
        full: list[int] = []
        end = time.monotonic() + 2
        while 503 not in full and time.monotonic() < end:
            full.append(post(server, load, f"full{len(full)}"))
        assert server.ask("/healthz")
        ballast.unlink()
        time.sleep(0.5)
        relieved = [post(server, load, f"room{number}") for number in range(20)]
        assert server.process.poll() is None
    finally:
        server.kill()
    return full, relieved, load.missing(data)


def test_a_full_disk_is_told_of_and_survived_and_its_relief_is_noticed(
    mount: Callable[..., Path],
) -> None:
    full, relieved, missing = filled_and_relieved(mount("16m"))
    assert full[-1] == 503
    assert relieved == [202] * 20
    assert missing == 0


@pytest.mark.parametrize("changed", UNGUARDED)
def test_a_full_disk_that_is_not_looked_at_loses_what_was_acknowledged(
    mount: Callable[..., Path], changed: str
) -> None:
    """The test above can fail."""
    full, _, missing = filled_and_relieved(mount("16m"), changed)
    assert 503 not in full
    assert missing > 0


def turned_read_only(image: Image, log: Path, changed: str = "") -> tuple[int, int, int]:
    """Under load, a file system turns read-only, and is repaired once the server has ended: its
    exit status, and how many events were acknowledged, and are missing then.
    """
    data = image.place / "data"
    load = new_load(data)
    load.may_refuse = True
    server = Server(data, changed=changed, log=log)
    failing = threading.Timer(0.7, image.fail)
    failing.start()
    load.run(server, 3)
    failing.join()
    image.umount()
    image.repair()
    image.mount()
    Server(data).kill()  # it starts again
    return server.process.returncode, len(load.told.acked), load.missing(data)


def test_a_file_system_that_turns_read_only_ends_the_server_and_loses_nothing(
    image: Image, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    status, acked, missing = turned_read_only(image, log)
    assert (status, missing) == (1, 0)
    assert acked > 100
    said = log.read_text()
    assert "CRITICAL marquee: marquee.db is broken" in said
    assert "Traceback" not in said


@pytest.mark.parametrize("changed", UNGUARDED)
def test_a_read_only_file_system_that_is_not_looked_at_loses_what_was_acknowledged(
    image: Image, tmp_path: Path, changed: str
) -> None:
    """The test above can fail."""
    _, _, missing = turned_read_only(image, tmp_path / "log", changed)
    assert missing > 0


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
