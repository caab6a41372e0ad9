"""Backups of a server under load, restored after it was killed."""

import http.client
import json
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing
from pathlib import Path

import pytest

from tests.support import ROOT
from tests.support.faults.server_load import KillableServer, new_load, wait_until
from tests.support.programs.log_sender import SendTranscript, count_missing


def run_json(*arguments: str | Path) -> dict[str, object]:
    """Run a command and return its JSON output."""
    done = subprocess.run(
        [sys.executable, "server.py", *arguments, "--json"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    output = json.loads(done.stdout)
    assert isinstance(output, dict)
    return output


def get_body(server: KillableServer, path: str, token: str) -> bytes:
    with closing(http.client.HTTPConnection(server.host, server.port, timeout=60)) as connection:
        connection.request("GET", path, headers={"Authorization": f"Bearer {token}"})
        response = connection.getresponse()
        assert response.status == 200, response.read()
        return response.read()


@pytest.mark.parametrize("to", ["backups", "backup.tar"])
def test_backup_contains_every_event_acknowledged_before(tmp_path: Path, to: str) -> None:
    data = tmp_path / "data"
    load = new_load(data)
    server = KillableServer(data)
    before: list[SendTranscript] = []
    backups: list[str] = []

    def back_up() -> None:
        for _ in range(2):
            target = len(load.transcript.acknowledged) + 150
            wait_until(lambda: len(load.transcript.acknowledged) >= target)  # noqa: B023
            before.append(SendTranscript("".join(lines for _, lines in list(load.timed_lines))))
            backups.append(str(run_json("backup", "--data", data, "--to", tmp_path / to)["place"]))

    backup_thread = threading.Thread(target=back_up)
    backup_thread.start()
    load.run(server, until=lambda: not backup_thread.is_alive())  # then it kills the server
    backup_thread.join()
    assert len(before[1].acknowledged) > len(before[0].acknowledged) > 100

    other = tmp_path / "other"
    restored = run_json("restore", backups[1], "--data", other)
    with closing(sqlite3.connect(other / "marquee.db")) as connection:
        # Events sent during the backup may be in it too.
        before[1].sent |= load.transcript.sent
        assert count_missing(connection, before[1]) == 0

    server = KillableServer(other)
    try:
        counts = server.event_counts()
        assert counts.pop("received") == sum(counts.values())
        lines = get_body(server, "/events/export?format=ndjson", load.token).splitlines()
        found = {event["session_id"]: int(event["id"]) for event in map(json.loads, lines)}
        assert len(found) == len(lines) == restored["events"]
        assert before[1].acknowledged.items() <= found.items()
    finally:
        server.kill()


def test_events_are_stored_while_backup_is_stopped(tmp_path: Path) -> None:
    """Neither SIGSTOP nor SIGKILL of a backup delays the server."""
    data = tmp_path / "data"
    load = new_load(data)
    server = KillableServer(data)
    code = (
        "import os, signal, sys; from pathlib import Path; "
        "from store.sqlite.backup.backup import create_backup; "
        "create_backup(Path(sys.argv[1]), Path(sys.argv[2]), "
        "lambda *_: os.kill(os.getpid(), signal.SIGSTOP))"
    )
    with subprocess.Popen([sys.executable, "-c", code, data, tmp_path / "to"], cwd=ROOT) as backup:
        while "T (stopped)" not in Path(f"/proc/{backup.pid}/status").read_text():
            assert backup.poll() is None
            time.sleep(0.01)
        load.run_until_acknowledged(server, 100)
        backup.kill()
    assert not list((tmp_path / "to").glob("[!.]*"))
    assert load.count_missing(data) == 0
