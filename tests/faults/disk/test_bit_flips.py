"""Flipped bits in the data folder cause no traceback, and are repaired or reported.

SQLite has no checksums, so a flipped bit of a value stays undetected. These tests check that the
server sends a proper response, or fails to start with a reason.
"""

import contextlib
import http.client
import json
import random
import shutil
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support import ROOT
from tests.support.faults.server_load import (
    KillableServer,
    StartFailed,
    load_event,
    new_load,
    wait_until,
)

FILES = ("marquee.db", "views.db", "marquee.db-wal", "views.db-wal")
PATHS = (
    "/healthz",
    "/readyz",
    "/metrics",
    "/events?limit=1000",
    "/events?session_id=k1",
    "/events?category=faults&order=desc",
    "/rejected-events",
    "/api/v1/schemas",
    "/api/v1/stories/token_1",
    "/api/v1/stories/token_1/counts?date=2021-01-01",
    "/api/v1/dau/token_1?date=2021-01-01&days=3",
    "/campaigns/1/",
    "/admin/",
)


@pytest.fixture(scope="module")
def healthy_folder(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Return a folder with data of every kind, and a token for it."""
    data = tmp_path_factory.mktemp("whole") / "data"
    server = KillableServer(data, "--sample", "--no-traffic")
    load = new_load(data)
    connection = http.client.HTTPConnection(server.host, server.port)
    headers = {"Authorization": f"Bearer {load.token}", "Content-Type": "application/x-ndjson"}
    lines = "\n".join(json.dumps(load_event(f"k{number}")) for number in range(2_000)) + "\n{}\n"
    connection.request("POST", "/events", lines.encode(), headers)
    assert connection.getresponse().status == 202
    connection.close()
    # /metrics shows the lag of the last projection step, which may precede the events.
    wait_until(lambda: min((data / name).stat().st_size for name in FILES) > 20_000)
    wait_until(lambda: b"marquee_projection_lag_events 0.0" in server.get_body("/metrics"))
    server.kill()  # leaves the write-ahead logs
    (data / "marquee.sock").unlink(missing_ok=True)  # cannot be copied
    for path in data.glob("*-shm"):
        path.unlink()
    assert all((data / name).stat().st_size > 20_000 for name in FILES)
    return data, load.token


def flip_bits(path: Path, rng: random.Random) -> None:
    content = bytearray(path.read_bytes())
    for _ in range(rng.choice((1, 8, 64))):
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    path.write_bytes(content)


def find_response_faults(server: KillableServer, token: str) -> list[str]:
    """Request every path and return the responses with internal details; kill the server."""
    faults = []
    try:
        for path in PATHS:
            try:
                _, body = server.get(path, token)
                if b"Traceback" in body or b"sqlite3." in body:
                    faults.append(f"{path}: {body[:300]!r}")
            except (OSError, http.client.HTTPException) as error:
                # The server exits when it finds its database damaged.
                status = server.process.wait(10)
                if status != 1:
                    faults.append(f"{path}: {error!r}, status {status}")
                break
    finally:
        server.kill()
    return faults


def find_faults(healthy_folder: tuple[Path, str], folder: Path, seed: int) -> list[str]:
    """Start a server on a copy with flipped bits; return faults of responses, log and doctor."""
    data, token = folder / "data", healthy_folder[1]
    shutil.copytree(healthy_folder[0], data)
    rng = random.Random(seed)
    name = rng.choice(FILES)
    flip_bits(data / name, rng)
    faults = []
    path = data.with_name("log")
    path.unlink(missing_ok=True)
    try:
        server = KillableServer(data, log=path)
    except StartFailed as error:
        if error.status != 1:
            faults.append(f"the start ended with {error.status}")
        if "\nmarquee: " not in f"\n{path.read_text()}":
            faults.append("a failed start gives no reason")
    else:
        faults += find_response_faults(server, token)
    log = path.read_text()
    if "\nTraceback" in f"\n{log}":
        faults.append(log[-2_000:])
    done = subprocess.run(
        [sys.executable, "server.py", "doctor", "--data", str(data)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    if "Traceback" in done.stderr:
        faults.append(done.stderr[-2_000:])
    shutil.rmtree(data)
    return [f"{name}, seed {seed}: {each}" for each in faults]


@pytest.mark.parametrize(
    "seeds", [range(4), pytest.param(range(4, 104), marks=pytest.mark.long)], ids=["few", "many"]
)
def test_flipped_bits_cause_no_traceback(
    healthy_folder: tuple[Path, str], tmp_path: Path, seeds: range
) -> None:
    assert [each for seed in seeds for each in find_faults(healthy_folder, tmp_path, seed)] == []


def test_traceback_in_response_is_detected(
    healthy_folder: tuple[Path, str], tmp_path: Path
) -> None:
    """The test above fails if responses contain tracebacks."""
    data = tmp_path / "data"
    copy_with_damaged_projections(healthy_folder[0], data)
    server = KillableServer(data, changes="send_tracebacks,leave_projections_damaged")
    try:
        bodies = [server.get(path, healthy_folder[1])[1] for path in PATHS]
    finally:
        server.kill()
    assert any(b"Traceback" in body for body in bodies)


def copy_with_damaged_projections(healthy_folder: Path, data: Path) -> None:
    """Copy a folder and zero the pages of projections that the start does not read."""
    shutil.copytree(healthy_folder, data)
    with contextlib.closing(sqlite3.connect(data / "views.db")) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        sql = "SELECT pageno FROM dbstat WHERE name IN ('by_app', 'by_kind', 'minute')"
        try:
            pages = {page for (page,) in connection.execute(sql)}
        except sqlite3.Error:  # SQLite without dbstat
            pages = set(range(20, (data / "views.db").stat().st_size // 4_096))
    with (data / "views.db").open("r+b") as file:
        for page in pages:
            file.seek((page - 1) * 4_096)
            file.write(bytes(4_096))


def recovers(server: KillableServer, token: str, seconds: float) -> bool:
    """Return whether a query of events succeeds within `seconds`, with 503 until then."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        status, body = server.get("/events?limit=1000&category=faults", token)
        if status == 200 and len(json.loads(body)["events"]) == 1_000:
            return True
        assert status in (200, 503), body
        time.sleep(0.1)
    return False


@pytest.mark.parametrize("changes", ["", "leave_projections_damaged"])
def test_damaged_projections_are_rebuilt_while_serving(
    healthy_folder: tuple[Path, str], tmp_path: Path, changes: str
) -> None:
    data, log = tmp_path / "data", tmp_path / "log"
    copy_with_damaged_projections(healthy_folder[0], data)
    server = KillableServer(data, changes=changes, log=log)
    try:
        assert recovers(server, healthy_folder[1], 120 if not changes else 1.5) == (not changes)
    finally:
        server.kill()
    assert "Traceback" not in log.read_text()
    assert changes or "views.db is harmed" in log.read_text()


def test_flipped_bit_in_wal_that_loses_commits_is_reported(
    healthy_folder: tuple[Path, str], tmp_path: Path
) -> None:
    data, log = tmp_path / "data", tmp_path / "log"
    shutil.copytree(healthy_folder[0], data)
    wal = data / "marquee.db-wal"
    content = bytearray(wal.read_bytes())
    content[32 + 24 + 100] ^= 1  # in its first frame
    wal.write_bytes(content)
    try:
        server = KillableServer(data, log=log)
    except StartFailed as error:
        assert error.status == 1
        assert "marquee: " in log.read_text()
    else:
        try:
            assert b"commits in marquee.db-wal were missing" in server.get_body("/readyz")
        finally:
            server.kill()
        assert "commits that were in it are gone" in log.read_text()


def test_projections_with_damaged_header_are_rebuilt(
    healthy_folder: tuple[Path, str], tmp_path: Path
) -> None:
    data = tmp_path / "data"
    shutil.copytree(healthy_folder[0], data)
    content = bytearray((data / "views.db").read_bytes())
    content[:100] = bytes(100)
    (data / "views.db").write_bytes(content)
    server = KillableServer(data)
    try:
        wait_until(lambda: b"marquee_projection_lag_events 0.0" in server.get_body("/metrics"))
        page = json.loads(server.get_body("/events?limit=1000&category=faults", healthy_folder[1]))
        assert len(page["events"]) == 1_000
    finally:
        server.kill()


def test_doctor_finds_zeroed_pages(healthy_folder: tuple[Path, str], tmp_path: Path) -> None:
    data = tmp_path / "data"
    shutil.copytree(healthy_folder[0], data)
    content = bytearray((data / "marquee.db").read_bytes())
    middle = len(content) // 2 // 4096 * 4096
    content[middle : middle + 8 * 4096] = bytes(8 * 4096)
    (data / "marquee.db").write_bytes(content)
    command = [sys.executable, "server.py", "doctor", "--data", str(data)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "marquee.db" in done.stdout
