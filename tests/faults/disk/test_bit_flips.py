"""Bits of the data folder are flipped: that is found, or harms nothing, and is told in words.

SQLite has no checksums, so that a flipped bit of a value stays unseen; what is shown here is that
whatever is flipped leads to an answer in our own words, from a server that runs or a start that
says why it does not.
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
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A folder with something of everything, and a token for it."""
    data = tmp_path_factory.mktemp("whole") / "data"
    server = KillableServer(data, "--sample", "--no-traffic")
    load = new_load(data)
    connection = http.client.HTTPConnection(server.host, server.port)
    headers = {"Authorization": f"Bearer {load.token}", "Content-Type": "application/x-ndjson"}
    lines = "\n".join(json.dumps(load_event(f"k{number}")) for number in range(2_000)) + "\n{}\n"
    connection.request("POST", "/events", lines.encode(), headers)
    assert connection.getresponse().status == 202
    connection.close()
    # The lag that /metrics shows is that of the last step, which may be older than the events.
    wait_until(lambda: min((data / name).stat().st_size for name in FILES) > 20_000)
    wait_until(lambda: b"marquee_projection_lag_events 0.0" in server.get_body("/metrics"))
    server.kill()  # so that there are write-ahead logs
    (data / "marquee.sock").unlink(missing_ok=True)  # which cannot be copied
    for path in data.glob("*-shm"):
        path.unlink()
    assert all((data / name).stat().st_size > 20_000 for name in FILES)
    return data, load.token


def flip(path: Path, chance: random.Random) -> None:
    content = bytearray(path.read_bytes())
    for _ in range(chance.choice((1, 8, 64))):
        content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    path.write_bytes(content)


def judge_answers(server: KillableServer, token: str) -> list[str]:
    """What it said, until it was killed, that it should not have."""
    wrong = []
    try:
        for path in PATHS:
            try:
                _, body = server.get(path, token)
                if b"Traceback" in body or b"sqlite3." in body:
                    wrong.append(f"{path}: {body[:300]!r}")
            except (OSError, http.client.HTTPException) as error:
                # It ends when it finds that its database is broken, and says so.
                status = server.process.wait(10)
                if status != 1:
                    wrong.append(f"{path}: {error!r}, status {status}")
                break
    finally:
        server.kill()
    return wrong


def judge(whole: tuple[Path, str], folder: Path, seed: int) -> list[str]:
    """What a server on a harmed copy said that it should not have; also what the log holds."""
    data, token = folder / "data", whole[1]
    shutil.copytree(whole[0], data)
    chance = random.Random(seed)
    name = chance.choice(FILES)
    flip(data / name, chance)
    wrong = []
    path = data.with_name("log")
    path.unlink(missing_ok=True)
    try:
        server = KillableServer(data, log=path)
    except StartFailed as error:
        if error.status != 1:
            wrong.append(f"the start ended with {error.status}")
        if "\nmarquee: " not in f"\n{path.read_text()}":
            wrong.append("a start that failed does not say why")
    else:
        wrong += judge_answers(server, token)
    log = path.read_text()
    if "\nTraceback" in f"\n{log}":
        wrong.append(log[-2_000:])
    done = subprocess.run(
        [sys.executable, "server.py", "doctor", "--data", str(data)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    if "Traceback" in done.stderr:
        wrong.append(done.stderr[-2_000:])
    shutil.rmtree(data)
    return [f"{name}, seed {seed}: {each}" for each in wrong]


@pytest.mark.parametrize(
    "seeds", [range(4), pytest.param(range(4, 104), marks=pytest.mark.long)], ids=["few", "many"]
)
def test_flipped_bits_are_answered_in_words(
    whole: tuple[Path, str], tmp_path: Path, seeds: range
) -> None:
    assert [each for seed in seeds for each in judge(whole, tmp_path, seed)] == []


def test_an_answer_that_told_all_would_be_seen(whole: tuple[Path, str], tmp_path: Path) -> None:
    """The test above can fail: with pages gone from the views, and errors told as they are."""
    data = tmp_path / "data"
    harmed_in_the_middle(whole[0], data)
    server = KillableServer(data, changes="send_tracebacks,leave_projections_damaged")
    try:
        bodies = [server.get(path, whole[1])[1] for path in PATHS]
    finally:
        server.kill()
    assert any(b"Traceback" in body for body in bodies)


def harmed_in_the_middle(whole: Path, data: Path) -> None:
    """A copy in whose views nothing is left after what is read at the start."""
    shutil.copytree(whole, data)
    with contextlib.closing(sqlite3.connect(data / "views.db")) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        sql = "SELECT pageno FROM dbstat WHERE name IN ('by_app', 'by_kind', 'minute')"
        try:
            pages = {page for (page,) in connection.execute(sql)}
        except sqlite3.Error:  # an SQLite without it
            pages = set(range(20, (data / "views.db").stat().st_size // 4_096))
    with (data / "views.db").open("r+b") as file:
        for page in pages:
            file.seek((page - 1) * 4_096)
            file.write(bytes(4_096))


def healed(server: KillableServer, token: str, seconds: float) -> bool:
    """Whether a question for events is answered well in the end; until then, by 503."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        status, body = server.get("/events?limit=1000&category=faults", token)
        if status == 200 and len(json.loads(body)["events"]) == 1_000:
            return True
        assert status in (200, 503), body
        time.sleep(0.1)
    return False


@pytest.mark.parametrize("changes", ["", "leave_projections_damaged"])
def test_views_that_are_harmed_are_made_anew_while_it_serves(
    whole: tuple[Path, str], tmp_path: Path, changes: str
) -> None:
    data, log = tmp_path / "data", tmp_path / "log"
    harmed_in_the_middle(whole[0], data)
    server = KillableServer(data, changes=changes, log=log)
    try:
        assert healed(server, whole[1], 120 if not changes else 1.5) == (not changes)
    finally:
        server.kill()
    assert "Traceback" not in log.read_text()
    assert changes or "views.db is harmed" in log.read_text()


def test_a_bit_of_the_write_ahead_log_that_costs_events_is_told_of(
    whole: tuple[Path, str], tmp_path: Path
) -> None:
    data, log = tmp_path / "data", tmp_path / "log"
    shutil.copytree(whole[0], data)
    wal = data / "marquee.db-wal"
    content = bytearray(wal.read_bytes())
    content[32 + 24 + 100] ^= 1  # of its first frame
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


def test_views_that_are_harmed_where_all_begins_are_made_anew(
    whole: tuple[Path, str], tmp_path: Path
) -> None:
    data = tmp_path / "data"
    shutil.copytree(whole[0], data)
    content = bytearray((data / "views.db").read_bytes())
    content[:100] = bytes(100)
    (data / "views.db").write_bytes(content)
    server = KillableServer(data)
    try:
        wait_until(lambda: b"marquee_projection_lag_events 0.0" in server.get_body("/metrics"))
        page = json.loads(server.get_body("/events?limit=1000&category=faults", whole[1]))
        assert len(page["events"]) == 1_000
    finally:
        server.kill()


def test_doctor_finds_a_table_that_is_gone_from_the_middle(
    whole: tuple[Path, str], tmp_path: Path
) -> None:
    data = tmp_path / "data"
    shutil.copytree(whole[0], data)
    content = bytearray((data / "marquee.db").read_bytes())
    middle = len(content) // 2 // 4096 * 4096
    content[middle : middle + 8 * 4096] = bytes(8 * 4096)
    (data / "marquee.db").write_bytes(content)
    words = [sys.executable, "server.py", "doctor", "--data", str(data)]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "marquee.db" in done.stdout
