"""The clock jumps: nothing is lost, found out of order, dropped, or done over and over."""

import contextlib
import hashlib
import http.client
import json
import shutil
import sqlite3
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support import ROOT
from tests.support.faults.server_load import KillableServer, new_load, run_json_command, wait_until

HOUR, YEARS = 3_600, 10 * 365 * 86_400
# Ahead by an hour, back, behind by an hour, ten years ahead, and right again.
JUMPS = (HOUR, 0, -HOUR, YEARS, 0)


class Clock:
    """The clock of programs that run with its environment."""

    def __init__(self, shim: Path, path: Path) -> None:
        self._path = path
        self.jump(0)
        self.environ = {"LD_PRELOAD": str(shim), "CLOCK_AHEAD": str(path)}

    def jump(self, ahead: int) -> None:
        with self._path.open("r+b" if self._path.exists() else "wb") as file:
            file.write(struct.pack("=q", ahead))


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("gcc") is None:
        pytest.skip("the shim is compiled by gcc, which is missing")
    made = tmp_path_factory.mktemp("clock") / "clock.so"
    source = ROOT / "tests/support/faults/clock_shim.c"
    words = ["gcc", "-shared", "-fPIC", "-O2", "-o", str(made), str(source), "-ldl"]
    subprocess.run(words, check=True, timeout=60)
    return made


@pytest.fixture
def clock(built: Path, tmp_path: Path) -> Clock:
    return Clock(built, tmp_path / "ahead")


@pytest.fixture
def serve() -> Iterator[Callable[..., KillableServer]]:
    begun: list[KillableServer] = []

    def begin(*words: object, **more: str) -> KillableServer:
        begun.append(KillableServer(*words, **more))  # type: ignore[arg-type]
        return begun[-1]

    yield begin
    for each in begun:
        each.kill()


def found(server: KillableServer, token: str) -> set[str]:
    """The ids of all events, page by page."""
    ids: set[str] = set()
    cursor = ""
    while True:
        page = json.loads(server.get_body(f"/events?limit=1000{cursor}", token))
        ids |= {each["id"] for each in page["events"]}
        if page["cursor"] is None:
            return ids
        cursor = f"&cursor={page['cursor']}"


def folded(server: KillableServer) -> None:
    """Wait until the views have all."""
    wait_until(lambda: b"marquee_projection_lag_events 0.0" in server.get_body("/metrics"))


def acknowledged_and_found(folder: Path, clock: Clock, changes: str) -> tuple[set[str], set[str]]:
    """Ids that were acknowledged while the clock jumped, and those that are found afterwards."""
    data = folder / "data"
    load = new_load(data)
    server = KillableServer(data, changes=changes, **clock.environ)

    def jump() -> None:
        some()
        for ahead in JUMPS:
            clock.jump(ahead)
            some()
            if ahead == JUMPS[0]:
                follow()

    def follow() -> None:
        """Wait until the views have all: lower ids that follow are found as long as they do not."""
        acked = len(load.transcript.acknowledged)
        wait_until(lambda: server.process.poll() is not None or in_views() >= acked)

    def in_views() -> float:
        """How many events are in the views; none if the server has ended."""
        with contextlib.suppress(OSError, http.client.HTTPException):
            return server.metric("marquee_projected_events_total")
        return 0

    def some() -> None:
        """Wait until some more are acknowledged, if the server goes on."""
        enough = len(load.transcript.acknowledged) + 100
        end = time.monotonic() + 30
        while len(load.transcript.acknowledged) < enough and time.monotonic() < end:
            time.sleep(0.02)

    jumping = threading.Thread(target=jump)
    jumping.start()
    load.run(server, until=lambda: not jumping.is_alive())
    jumping.join()
    assert load.count_missing(data) == 0
    token = reader_of(data)
    server = KillableServer(data)
    try:
        folded(server)
        ids = found(server, token)
    finally:
        server.kill()
    return {str(number) for number in load.transcript.acknowledged.values()}, ids


def reader_of(data: Path) -> str:
    """A token that reads all apps' events."""
    return str(
        run_json_command(data, "app", "token", "faults", "--scopes", "admin,read")["secret_token"]
    )


def test_events_are_taken_and_found_whatever_the_clock_does(tmp_path: Path, clock: Clock) -> None:
    acked, ids = acknowledged_and_found(tmp_path, clock, "")
    assert len(acked) > 500
    assert acked <= ids


def test_ids_that_fell_with_the_clock_would_not_be_found(tmp_path: Path, clock: Clock) -> None:
    try:
        acked, ids = acknowledged_and_found(tmp_path, clock, "let_ids_fall_with_clock")
    except AssertionError:
        return  # an id was given twice, or is lower than one before
    assert not acked <= ids


def doubted(server: KillableServer) -> bool:
    """Whether the server has judged its clock, and drops nothing for its age."""
    return b"nothing goes for its age" in server.get_body("/readyz")


@pytest.mark.parametrize(
    "changes", ["check_retention_often", "check_retention_often,trust_any_clock"]
)
def test_no_event_is_dropped_for_its_age_by_a_clock_that_has_leapt(
    tmp_path: Path, clock: Clock, serve: Callable[..., KillableServer], changes: str
) -> None:
    data = tmp_path / "data"
    load = new_load(data)
    load.run_until_acknowledged(KillableServer(data), 100)
    token = reader_of(data)
    server = serve(data, "--retention-days", "31", changes=changes, **clock.environ)
    folded(server)
    before = found(server, token)
    assert len(before) > 50
    clock.jump(YEARS)
    wait_until(lambda: doubted(server) or found(server, token) != before)
    assert (found(server, token) == before) == (changes == "check_retention_often")
    assert doubted(server) == (changes == "check_retention_often")


@pytest.mark.parametrize(
    "changes", ["check_retention_often", "check_retention_often,trust_any_clock"]
)
def test_a_start_by_a_clock_that_is_ten_years_ahead_drops_nothing(
    tmp_path: Path, clock: Clock, serve: Callable[..., KillableServer], changes: str
) -> None:
    """As a machine may start whose clock is wrong, and again, before anybody looks."""
    data, log = tmp_path / "data", tmp_path / "log"
    load = new_load(data)
    load.run_until_acknowledged(KillableServer(data), 100)
    token = reader_of(data)
    clock.jump(YEARS)
    for _ in range(2):
        server = serve(data, "--retention-days", "31", changes=changes, log=log, **clock.environ)
        folded(server)
        acked = len(load.transcript.acknowledged)
        wait_until(lambda: doubted(server) or len(found(server, token)) < acked)  # noqa: B023
        kept, told = found(server, token), doubted(server)
        server.kill()
    assert (len(kept) >= acked > 50) == (changes == "check_retention_often")
    assert told == (changes == "check_retention_often")


def test_the_quarter_of_the_hour_follows_the_clock(
    tmp_path: Path, clock: Clock, serve: Callable[..., KillableServer]
) -> None:
    server = serve(tmp_path / "data", "--sample", "--no-traffic", **clock.environ)
    for ahead in (900, 0, -HOUR, HOUR + 1_800, YEARS, 0):
        clock.jump(ahead)
        end = time.monotonic() + 60
        while True:
            expected = int((time.time() + ahead) // 900 % 4) + 1
            told = json.loads(server.get_body("/api/v1/campaigns/1/candidates"))
            page = server.get_body("/campaigns/1/")
            shown = [str(each["banner"]).encode() for each in told["banners"]]
            on = any(b"/banners/" + each + b'"' in page for each in shown)
            if told["slot"] == expected and on:
                break
            assert time.monotonic() < end, (ahead, told["slot"], expected, on)
            time.sleep(0.1)


def test_a_session_outlives_an_hour_and_ends_in_ten_years(
    tmp_path: Path, clock: Clock, serve: Callable[..., KillableServer]
) -> None:
    data = tmp_path / "data"
    serve(data, "--sample", "--no-traffic").kill()
    token = "session"
    with contextlib.closing(sqlite3.connect(data / "marquee.db")) as connection, connection:
        connection.execute("UPDATE user SET given_at = 0")
        row = (hashlib.sha256(token.encode()).digest(), *[time.time_ns() // 1_000] * 2)
        connection.execute("INSERT INTO login SELECT ?, id, ?, ? FROM user", row)
    server = serve(data, **clock.environ)

    def status() -> int:
        connection = http.client.HTTPConnection(server.host, server.port, timeout=60)
        with contextlib.closing(connection):
            cookie = {"Cookie": f"mq_owner={token}"}
            connection.request("GET", "/admin/health", headers=cookie)
            return connection.getresponse().status

    told = []
    for ahead in (0, HOUR, -HOUR, YEARS):
        clock.jump(ahead)
        told.append(status())
    assert told[:3] == [200] * 3
    assert told[3] != 200


def rests(server: KillableServer) -> bool:
    """Whether it uses little of a core for a while."""
    before = server.cpu_seconds()
    time.sleep(0.5)
    return server.cpu_seconds() - before < 0.1


def test_a_server_does_nothing_over_and_over_after_a_jump(
    tmp_path: Path, clock: Clock, serve: Callable[..., KillableServer]
) -> None:
    server = serve(tmp_path / "data", "--sample", "--no-traffic", **clock.environ)
    for ahead in JUMPS:
        clock.jump(ahead)
        wait_until(lambda: rests(server), 60)
        assert server.get_body("/readyz") and server.get_body("/campaigns/1/")


def test_visitors_are_counted_after_the_clock_was_ahead_and_was_put_right(
    tmp_path: Path, clock: Clock, serve: Callable[..., KillableServer]
) -> None:
    data = tmp_path / "data"
    made = run_json_command(data, "app", "create", "site", "--hosts", "www.example.com")
    server = serve(data, **clock.environ)

    def view(session: str) -> None:
        """A pageview, as the beacon sends it."""
        body = {"kind": "view", "session": session, "host": "www.example.com", "path": "/"}
        connection = http.client.HTTPConnection(server.host, server.port, timeout=120)
        with contextlib.closing(connection):
            path = f"/api/v1/beacon/{made['public_token']}"
            connection.request("POST", path, json.dumps(body).encode())
            answer = connection.getresponse()
            assert (answer.status, answer.read()) == (204, b"")

    def visitors() -> int:
        query = f"apikey={made['public_token']}&host=www.example.com"
        return sum(
            each["visitors"] for each in json.loads(server.get_body(f"/live/toppages/?{query}"))
        )

    for jump in (HOUR, 24 * HOUR, YEARS):
        clock.jump(jump)
        time.sleep(2.5)  # the log is looked at once a second
        clock.jump(0)
        before = visitors()
        view(f"after {jump}")
        end = time.monotonic() + 60
        while visitors() <= before:
            assert time.monotonic() < end
            time.sleep(0.1)
