"""systemd: notifications, restarts with an inherited socket, the units' settings."""

import asyncio
import itertools
import json
import os
import random
import re
import shlex
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from app import sd_notify
from app.sd_notify import SystemdNotifier
from commands import options
from commands.parser import build_parser
from tests.support import ROOT

DEPLOY = ROOT / "deploy"
SERVICES = ["marquee.service", "marquee-backup.service"]
NEED = "systemd-analyze is of Debian's package systemd"


class NotificationSocket:
    """A supervisor that receives notifications."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.line = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.line.bind(address.replace("@", "\0"))
        self.line.settimeout(120)

    def receive(self) -> str:
        return self.line.recv(4096).decode()

    def until(self, start: str) -> list[str]:
        """Return messages up to the first that begins with `start`."""
        received = [self.receive()]
        while not received[-1].startswith(start):
            received.append(self.receive())
        return received

    def waiting(self) -> list[str]:
        """Return the messages received by now."""
        received = []
        self.line.setblocking(False)
        try:
            while True:
                received.append(self.receive())
        except BlockingIOError:
            return received
        finally:
            self.line.settimeout(120)


@pytest.fixture(params=["file", "name"])
def listening(request, tmp_path) -> Iterator[NotificationSocket]:
    path = tmp_path / "notify"
    one = NotificationSocket(
        str(path) if request.param == "file" else f"@marquee-{os.getpid()}-{path.name}"
    )
    yield one
    one.line.close()


def test_the_server_notifies_systemd_of_ready_watchdog_and_stopping(start_server, listening):
    server = start_server(NOTIFY_SOCKET=listening.address, WATCHDOG_USEC="300000")
    ready = listening.until("READY=1")[-1]
    assert ready == f"READY=1\nSTATUS=serving on http://127.0.0.1:{server.port}"
    assert server.request("/readyz").status == 200
    assert [listening.receive() for _ in range(4)] == ["WATCHDOG=1"] * 4
    # Watchdog messages continue while requests in flight are answered.
    slow = socket.create_connection(("127.0.0.1", server.port))
    slow.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n")
    time.sleep(0.2)
    server.process.send_signal(signal.SIGTERM)
    assert "STOPPING=1" in listening.until("STOPPING=1")[-1]
    assert [listening.receive() for _ in range(3)] == ["WATCHDOG=1"] * 3
    slow.sendall(b"\r\n")
    assert slow.recv(100).startswith(b"HTTP/1.1 200 ")
    slow.close()
    assert server.wait() == 0, server.log


def test_a_blocked_event_loop_sends_no_watchdog_messages(listening):
    environ = {"NOTIFY_SOCKET": listening.address, "WATCHDOG_USEC": "60000"}

    async def live() -> None:
        watching = asyncio.create_task(SystemdNotifier(environ, 1).watch())
        await asyncio.sleep(0.3)
        assert len(listening.waiting()) >= 4
        time.sleep(0.5)  # noqa: ASYNC251 — it hangs
        assert listening.waiting() == []
        await asyncio.sleep(0.1)
        assert listening.waiting()
        watching.cancel()

    asyncio.run(live())


HANDED = (
    "import os, sys; os.dup2(int(sys.argv[1]), 3); os.set_inheritable(3, True); "
    "os.environ.update(LISTEN_FDS='1', LISTEN_PID=str(os.getpid())); "
    "os.execv(sys.executable, [sys.executable, 'server.py', 'serve', '--data', sys.argv[2]])"
)


def missing(data: Path, acked: dict[str, str]) -> list[object]:
    """Return acknowledged events that are not in the log under their id."""
    with closing(sqlite3.connect(data / "marquee.db")) as connection:
        found = connection.execute("SELECT session, id FROM event").fetchall()
    kept = {session: str(number) for session, number in found}
    return [each for each in acked.items() if kept.get(each[0]) != each[1]]


def run_restarts(
    folder: Path, restarts: int, by: int, held: bool, token: str
) -> tuple[list[object], int]:
    """What went wrong for visitors and senders over so many restarts, and how many were answered
    well. Senders take their time over a body, so that stops come in the middle of many.
    """
    acked: dict[str, str] = {}
    numbers = itertools.count()
    listening = socket.create_server(("127.0.0.1", 0), backlog=128)
    address = listening.getsockname()
    faults: list[object] = []
    answered: list[bytes] = []
    ending = threading.Event()

    def visit() -> None:
        while not ending.is_set():
            try:
                with socket.create_connection(address, timeout=120) as peer:
                    peer.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                    response = b"".join(iter(lambda peer=peer: peer.recv(4096), b""))
                (answered if response.startswith(b"HTTP/1.1 200 ") else faults).append(response)
            except OSError as error:
                faults.append(error)

    def send() -> None:
        while not ending.is_set():
            session = f"s{next(numbers)}"
            event = {"session_id": session, "category": "a", "name": "b", "data": {}}
            body = json.dumps(event | {"timestamp": "2021-01-01 09:15:27.243860"}).encode()
            head = (
                f"POST /events HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
                f"Authorization: Bearer {token}\r\nContent-Type: application/json\r\n"
                f"Content-Length: {len(body)}\r\n\r\n"
            )
            try:
                with socket.create_connection(address, timeout=120) as peer:
                    peer.sendall(head.encode() + body[:20])
                    time.sleep(random.uniform(0, 0.05))
                    peer.sendall(body[20:])
                    response = b"".join(iter(lambda peer=peer: peer.recv(4096), b""))
                if response.startswith(b"HTTP/1.1 202 "):
                    answered.append(response)
                    acked[session] = json.loads(response.partition(b"\r\n\r\n")[2])["id"]
                else:
                    faults.append(response)
            except OSError as error:
                faults.append(error)

    def begin() -> "subprocess.Popen[bytes]":
        data, files = str(folder / "data"), []
        words = [sys.executable, "server.py", "serve", "--port", str(address[1]), "--data", data]
        if held:
            words = [sys.executable, "-c", HANDED, str(listening.fileno()), data]
            files = [listening.fileno()]
        process = subprocess.Popen(words, cwd=ROOT, pass_fds=files, stdout=subprocess.PIPE)
        assert process.stdout.readline()
        return process

    if not held:
        listening.close()
    visitors = [threading.Thread(target=each) for each in [visit] * 6 + [send] * 12]
    process = begin()
    for visitor in visitors:
        visitor.start()
    try:
        for _ in range(restarts):
            time.sleep(0.2)
            process.send_signal(by)
            process.communicate(timeout=120)
            assert process.returncode == (0 if by == signal.SIGTERM else -by)
            process = begin()
        time.sleep(0.2)
    finally:
        ending.set()
        for visitor in visitors:
            visitor.join(120)
        process.terminate()
        process.communicate(timeout=120)
        listening.close()
    return [*faults, *missing(folder / "data", acked)], len(answered)


@pytest.fixture
def token(run_command, tmp_path) -> str:
    made = run_command("app", "create", "handed", "--data", str(tmp_path / "data"), "--json")
    return json.loads(made.stdout)["secret_token"]


@pytest.mark.parametrize("restarts", [5, pytest.param(100, marks=pytest.mark.long)])
def test_restarts_with_an_inherited_socket_refuse_no_request_and_lose_no_event(
    tmp_path, token, restarts
):
    """As with marquee.socket: clients that connect between two processes wait for the second."""
    faults, answered = run_restarts(tmp_path, restarts, signal.SIGTERM, held=True, token=token)
    assert faults == []
    assert answered > 30 * restarts


@pytest.mark.parametrize(("by", "held"), [(signal.SIGKILL, True), (signal.SIGTERM, False)])
def test_control_a_kill_or_an_own_socket_fails_requests(tmp_path, token, by, held):
    """Control of the test above."""
    faults, _ = run_restarts(tmp_path, 6, by, held=held, token=token)
    assert faults


@pytest.mark.parametrize(
    ("environ", "seconds"),
    [
        ({}, 0),
        ({"WATCHDOG_USEC": "3000000"}, 0),  # no supervisor
        ({"NOTIFY_SOCKET": "@x", "WATCHDOG_USEC": "3000000"}, 3),
        ({"NOTIFY_SOCKET": "@x", "WATCHDOG_USEC": "3000000", "WATCHDOG_PID": "7"}, 3),
        ({"NOTIFY_SOCKET": "@x", "WATCHDOG_USEC": "3000000", "WATCHDOG_PID": "8"}, 0),
        ({"NOTIFY_SOCKET": "@x", "WATCHDOG_USEC": "soon"}, 0),
    ],
)
def test_the_watchdog_interval_follows_the_environment(environ, seconds):
    assert SystemdNotifier(environ, 7).watchdog_seconds == seconds


def test_an_unreachable_supervisor_is_logged_once_and_the_server_runs(start_server, tmp_path):
    server = start_server(NOTIFY_SOCKET=str(tmp_path / "nobody"), WATCHDOG_USEC="100000")
    time.sleep(0.5)
    assert server.request("/healthz").status == 200
    assert server.stop() == 0
    assert server.log.count("cannot notify the supervisor") == 1


def unit(name: str) -> dict[str, str]:
    """Return a unit's settings; the values of a repeated key are joined by line ends."""
    settings: dict[str, list[str]] = {}
    for key, value in re.findall(r"(?m)^(\w+)=(.*)$", (DEPLOY / name).read_text()):
        settings.setdefault(key, []).append(value)
    return {key: "\n".join(values) for key, values in settings.items()}


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason=NEED)
@pytest.mark.parametrize("name", SERVICES)
def test_systemd_rates_the_exposure_of_a_service_as_low(name):
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--threshold=20", "--no-pager",
         DEPLOY / name],
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    found = re.search(r"exposure level for \S+: ([\d.]+)", done.stdout)
    assert float(found[1]) <= 2.0


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason=NEED)
def test_systemd_verifies_the_units(tmp_path):
    for path in DEPLOY.glob("marquee*.*"):
        text = path.read_text().replace("/opt/marquee/.venv/bin/python", sys.executable)
        (tmp_path / path.name).write_text(text)
    units = sorted(tmp_path.iterdir())
    assert len(units) == 4
    command = ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", *units]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("name", SERVICES)
def test_the_command_line_and_environment_of_a_unit_are_valid_settings(name, monkeypatch):
    of = unit(name)
    words = shlex.split(of["ExecStart"])
    assert words[:2] == ["/opt/marquee/.venv/bin/python", "/opt/marquee/server.py"]
    arguments = build_parser().parse_args(words[2:])
    for line in of["Environment"].splitlines():
        for pair in shlex.split(line):
            monkeypatch.setenv(*pair.split("=", 1))
    settings = options.parse_settings(arguments)
    assert settings.data == f"/var/lib/{of['StateDirectory'].split()[0]}"


def allowed(of) -> set[str]:
    """Return the system calls that a unit allows."""
    sets: dict[str, set[str]] = {}
    text = subprocess.run(
        ["systemd-analyze", "syscall-filter", "--no-pager"],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    for line in re.sub(r"\x1b\[[\d;]*m", "", text).splitlines():
        if line.startswith("@"):
            name = line.strip()
            sets[name] = set()
        elif line.startswith("    ") and not line.strip().startswith("#"):
            sets[name].add(line.strip())

    def calls(name: str) -> set[str]:
        if not name.startswith("@"):
            return {name}
        return {call for each in sets[name] for call in calls(each)}

    found: set[str] = set()
    for line in of["SystemCallFilter"].splitlines():
        names = line.lstrip("~").split()
        several = {call for each in names for call in calls(each)}
        found = found - several if line.startswith("~") else found | several
    return found | calls("@default")


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason=NEED)
@pytest.mark.skipif(not shutil.which("strace"), reason="strace is not here")
@pytest.mark.parametrize("name", SERVICES)
def test_a_unit_allows_every_system_call_of_the_program(name, tmp_path):
    """Tests have no systemd, so the traced calls are compared with the unit's filter."""
    trace, data = tmp_path / "trace", str(tmp_path / "data")
    strace = ["strace", "-f", "-o", str(trace), "-e", "signal=none", sys.executable, "server.py"]
    if name == "marquee.service":
        serving = [*strace, "serve", "--sample", "--port", "0", "--data", data]
        with subprocess.Popen(serving, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
            line = next(line for line in process.stdout if " campaign " in line)
            host, port = re.search(r"//([\d.]+):(\d+)/", line).groups()
            with socket.create_connection((host, int(port))) as peer:
                peer.sendall(b"GET /campaigns/1/ HTTP/1.0\r\n\r\n")
                assert peer.recv(20).startswith(b"HTTP/1.")
            children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text()
            os.kill(int(children), signal.SIGTERM)
            process.stdout.read()
        assert process.returncode == 0
    else:
        words = [sys.executable, "server.py", "app", "create", "a", "--data", data]
        subprocess.run(words, cwd=ROOT, check=True, capture_output=True)
        backing = [*strace, "backup", "--data", data, "--to", str(tmp_path / "to"), "--keep", "1"]
        subprocess.run(backing, cwd=ROOT, check=True, capture_output=True)
    lines = trace.read_text()
    of = unit(name)
    called = set(re.findall(r"(?m)^\d+ +(?:<\.\.\. )?(\w+)(?:\(| resumed)", lines))
    # SQLite calls fchown only as root, as tests may run.
    assert called - allowed(of) - {"execve", "fchown"} == set()
    assert of["MemoryDenyWriteExecute"] == "yes"
    assert "PROT_WRITE|PROT_EXEC" not in lines
    families = set(re.findall(r"socket\((AF_\w+)", lines))
    assert families <= set(of["RestrictAddressFamilies"].replace("none", "").split())


def test_a_long_start_extends_its_timeout(listening, monkeypatch):
    monkeypatch.setattr(sd_notify, "START_TIMEOUT_SECONDS", 0.03)

    async def main() -> list[str]:
        starting = asyncio.create_task(
            SystemdNotifier({"NOTIFY_SOCKET": listening.address}, 1).start()
        )
        received = [await asyncio.to_thread(listening.receive) for _ in range(3)]
        starting.cancel()
        return received

    assert asyncio.run(main()) == ["EXTEND_TIMEOUT_USEC=30000"] * 3
