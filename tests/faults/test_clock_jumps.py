"""Clock jumps lose, hide or delete no event, and cause no busy loop."""

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
# Seconds ahead of the real time, in this order.
JUMPS = (HOUR, 0, -HOUR, YEARS, 0)


class ShiftedClock:
    """The clock of processes with this environment."""

    def __init__(self, shim: Path, path: Path) -> None:
        self._path = path
        self.jump(0)
        self.environment = {"LD_PRELOAD": str(shim), "CLOCK_AHEAD": str(path)}

    def jump(self, ahead: int) -> None:
        """Set the clock `ahead` seconds ahead of the real time."""
        with self._path.open("r+b" if self._path.exists() else "wb") as file:
            file.write(struct.pack("=q", ahead))


@pytest.fixture(scope="module")
def clock_shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("gcc") is None:
        pytest.skip("gcc is missing, which compiles the shim")
    library = tmp_path_factory.mktemp("clock") / "clock.so"
    source = ROOT / "tests/support/faults/clock_shim.c"
    command = ["gcc", "-shared", "-fPIC", "-O2", "-o", str(library), str(source), "-ldl"]
    subprocess.run(command, check=True, timeout=60)
    return library


@pytest.fixture
def clock(clock_shim: Path, tmp_path: Path) -> ShiftedClock:
    return ShiftedClock(clock_shim, tmp_path / "ahead")


@pytest.fixture
def start_server() -> Iterator[Callable[..., KillableServer]]:
    servers: list[KillableServer] = []

    def start(*arguments: object, **options: str) -> KillableServer:
        servers.append(KillableServer(*arguments, **options))  # type: ignore[arg-type]
        return servers[-1]

    yield start
    for server in servers:
        server.kill()


def find_event_ids(server: KillableServer, token: str) -> set[str]:
    """Return the ids of all events, which are read page by page."""
    ids: set[str] = set()
    cursor = ""
    while True:
        page = json.loads(server.get_body(f"/events?limit=1000{cursor}", token))
        ids |= {each["id"] for each in page["events"]}
        if page["cursor"] is None:
            return ids
        cursor = f"&cursor={page['cursor']}"


def wait_for_projections(server: KillableServer) -> None:
    """Wait until the projections have every event."""
    wait_until(lambda: b"marquee_projection_lag_events 0.0" in server.get_body("/metrics"))


def send_while_clock_jumps(
    folder: Path, clock: ShiftedClock, changes: str
) -> tuple[set[str], set[str]]:
    """Return the ids acknowledged while the clock jumped, and the ids found afterwards."""
    data = folder / "data"
    load = new_load(data)
    server = KillableServer(data, changes=changes, **clock.environment)

    def jump() -> None:
        wait_for_more_events()
        for ahead in JUMPS:
            clock.jump(ahead)
            wait_for_more_events()
            if ahead == JUMPS[0]:
                catch_up()

    def catch_up() -> None:
        """Wait for the projections, since they would still include lower ids until then."""
        acknowledged = len(load.transcript.acknowledged)
        wait_until(lambda: server.process.poll() is not None or count_projected() >= acknowledged)

    def count_projected() -> float:
        """Return the number of projected events, 0 if the server has ended."""
        with contextlib.suppress(OSError, http.client.HTTPException):
            return server.metric("marquee_projected_events_total")
        return 0

    def wait_for_more_events() -> None:
        """Wait for 100 more acknowledged events, for at most 30 s."""
        target = len(load.transcript.acknowledged) + 100
        end = time.monotonic() + 30
        while len(load.transcript.acknowledged) < target and time.monotonic() < end:
            time.sleep(0.02)

    jumper = threading.Thread(target=jump)
    jumper.start()
    load.run(server, until=lambda: not jumper.is_alive())
    jumper.join()
    assert load.count_missing(data) == 0
    token = create_read_token(data)
    server = KillableServer(data)
    try:
        wait_for_projections(server)
        ids = find_event_ids(server, token)
    finally:
        server.kill()
    return {str(number) for number in load.transcript.acknowledged.values()}, ids


def create_read_token(data: Path) -> str:
    """Create a token that reads the events of all apps."""
    return str(
        run_json_command(data, "app", "token", "faults", "--scopes", "admin,read")["secret_token"]
    )


def test_events_are_stored_and_found_while_clock_jumps(tmp_path: Path, clock: ShiftedClock) -> None:
    acknowledged, ids = send_while_clock_jumps(tmp_path, clock, "")
    assert len(acknowledged) > 500
    assert acknowledged <= ids


def test_events_are_missed_if_ids_fall_with_clock(tmp_path: Path, clock: ShiftedClock) -> None:
    try:
        acknowledged, ids = send_while_clock_jumps(tmp_path, clock, "let_ids_fall_with_clock")
    except AssertionError:
        return  # an id is repeated, or lower than an earlier one
    assert not acknowledged <= ids


def is_clock_distrusted(server: KillableServer) -> bool:
    """Return whether the server has detected the jump and stopped retention."""
    return b"nothing goes for its age" in server.get_body("/readyz")


def wait_for_distrust_or_loss(server: KillableServer, token: str, events: int) -> None:
    wait_until(lambda: is_clock_distrusted(server) or len(find_event_ids(server, token)) < events)


@pytest.mark.parametrize(
    "changes", ["check_retention_often", "check_retention_often,trust_any_clock"]
)
def test_retention_deletes_nothing_after_clock_jump(
    tmp_path: Path, clock: ShiftedClock, start_server: Callable[..., KillableServer], changes: str
) -> None:
    data = tmp_path / "data"
    load = new_load(data)
    load.run_until_acknowledged(KillableServer(data), 100)
    token = create_read_token(data)
    server = start_server(data, "--retention-days", "31", changes=changes, **clock.environment)
    wait_for_projections(server)
    before = find_event_ids(server, token)
    assert len(before) > 50
    clock.jump(YEARS)
    wait_until(lambda: is_clock_distrusted(server) or find_event_ids(server, token) != before)
    assert (find_event_ids(server, token) == before) == (changes == "check_retention_often")
    assert is_clock_distrusted(server) == (changes == "check_retention_often")


@pytest.mark.parametrize(
    "changes", ["check_retention_often", "check_retention_often,trust_any_clock"]
)
def test_start_with_clock_ten_years_ahead_deletes_nothing(
    tmp_path: Path, clock: ShiftedClock, start_server: Callable[..., KillableServer], changes: str
) -> None:
    """A machine may start with a wrong clock more than once before anyone notices."""
    data, log = tmp_path / "data", tmp_path / "log"
    load = new_load(data)
    load.run_until_acknowledged(KillableServer(data), 100)
    token = create_read_token(data)
    clock.jump(YEARS)
    for _ in range(2):
        server = start_server(
            data, "--retention-days", "31", changes=changes, log=log, **clock.environment
        )
        wait_for_projections(server)
        acknowledged = len(load.transcript.acknowledged)
        wait_for_distrust_or_loss(server, token, acknowledged)
        found, is_distrusted = find_event_ids(server, token), is_clock_distrusted(server)
        server.kill()
    assert (len(found) >= acknowledged > 50) == (changes == "check_retention_often")
    assert is_distrusted == (changes == "check_retention_often")


def test_slot_follows_clock(
    tmp_path: Path, clock: ShiftedClock, start_server: Callable[..., KillableServer]
) -> None:
    server = start_server(tmp_path / "data", "--sample", "--no-traffic", **clock.environment)
    for ahead in (900, 0, -HOUR, HOUR + 1_800, YEARS, 0):
        clock.jump(ahead)
        end = time.monotonic() + 60
        while True:
            expected = int((time.time() + ahead) // 900 % 4) + 1
            candidates = json.loads(server.get_body("/api/v1/campaigns/1/candidates"))
            page = server.get_body("/campaigns/1/")
            banners = [str(each["banner"]).encode() for each in candidates["banners"]]
            is_shown = any(b"/banners/" + each + b'"' in page for each in banners)
            if candidates["slot"] == expected and is_shown:
                break
            assert time.monotonic() < end, (ahead, candidates["slot"], expected, is_shown)
            time.sleep(0.1)


def test_login_session_survives_one_hour_but_not_ten_years(
    tmp_path: Path, clock: ShiftedClock, start_server: Callable[..., KillableServer]
) -> None:
    data = tmp_path / "data"
    start_server(data, "--sample", "--no-traffic").kill()
    token = "session"
    with contextlib.closing(sqlite3.connect(data / "marquee.db")) as connection, connection:
        connection.execute("UPDATE user SET given_at = 0")
        row = (hashlib.sha256(token.encode()).digest(), *[time.time_ns() // 1_000] * 2)
        connection.execute("INSERT INTO login SELECT ?, id, ?, ? FROM user", row)
    server = start_server(data, **clock.environment)

    def status() -> int:
        connection = http.client.HTTPConnection(server.host, server.port, timeout=60)
        with contextlib.closing(connection):
            cookie = {"Cookie": f"mq_owner={token}"}
            connection.request("GET", "/admin/health", headers=cookie)
            return connection.getresponse().status

    statuses = []
    for ahead in (0, HOUR, -HOUR, YEARS):
        clock.jump(ahead)
        statuses.append(status())
    assert statuses[:3] == [200] * 3
    assert statuses[3] != 200


def is_idle(server: KillableServer) -> bool:
    """Return whether the server uses less than a fifth of a core for half a second."""
    before = server.cpu_seconds()
    time.sleep(0.5)
    return server.cpu_seconds() - before < 0.1


def test_server_is_idle_after_clock_jump(
    tmp_path: Path, clock: ShiftedClock, start_server: Callable[..., KillableServer]
) -> None:
    server = start_server(tmp_path / "data", "--sample", "--no-traffic", **clock.environment)
    for ahead in JUMPS:
        clock.jump(ahead)
        wait_until(lambda: is_idle(server), 60)
        assert server.get_body("/readyz") and server.get_body("/campaigns/1/")


def test_visitors_are_counted_after_clock_is_set_back(
    tmp_path: Path, clock: ShiftedClock, start_server: Callable[..., KillableServer]
) -> None:
    data = tmp_path / "data"
    app = run_json_command(data, "app", "create", "site", "--hosts", "www.example.com")
    server = start_server(data, **clock.environment)

    def view(session: str) -> None:
        """Send a page view as the beacon does."""
        body = {"kind": "view", "session": session, "host": "www.example.com", "path": "/"}
        connection = http.client.HTTPConnection(server.host, server.port, timeout=120)
        with contextlib.closing(connection):
            path = f"/api/v1/beacon/{app['public_token']}"
            connection.request("POST", path, json.dumps(body).encode())
            response = connection.getresponse()
            assert (response.status, response.read()) == (204, b"")

    def visitors() -> int:
        query = f"apikey={app['public_token']}&host=www.example.com"
        return sum(
            each["visitors"] for each in json.loads(server.get_body(f"/live/toppages/?{query}"))
        )

    for jump in (HOUR, 24 * HOUR, YEARS):
        clock.jump(jump)
        time.sleep(2.5)  # the server reads new events once a second
        clock.jump(0)
        before = visitors()
        view(f"after {jump}")
        end = time.monotonic() + 60
        while visitors() <= before:
            assert time.monotonic() < end
            time.sleep(0.1)
