"""A real server under load, backed up, killed, and put back elsewhere."""

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


def run(*words: str | Path) -> dict[str, object]:
    done = subprocess.run(
        [sys.executable, "server.py", *words, "--json"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert isinstance(said, dict)
    return said


def asked(server: KillableServer, path: str, token: str) -> bytes:
    with closing(http.client.HTTPConnection(server.host, server.port, timeout=60)) as connection:
        connection.request("GET", path, headers={"Authorization": f"Bearer {token}"})
        response = connection.getresponse()
        assert response.status == 200, response.read()
        return response.read()


@pytest.mark.parametrize("to", ["backups", "backup.tar"])
def test_every_event_acknowledged_before_a_backup_began_is_in_it(tmp_path: Path, to: str) -> None:
    data = tmp_path / "data"
    load = new_load(data)
    server = KillableServer(data)
    before: list[SendTranscript] = []
    places: list[str] = []

    def back_up() -> None:
        for _ in range(2):
            enough = len(load.transcript.acknowledged) + 150
            wait_until(lambda: len(load.transcript.acknowledged) >= enough)  # noqa: B023
            before.append(SendTranscript("".join(lines for _, lines in list(load.timed_lines))))
            places.append(str(run("backup", "--data", data, "--to", tmp_path / to)["place"]))

    backing = threading.Thread(target=back_up)
    backing.start()
    load.run(server, until=lambda: not backing.is_alive())  # and then it is killed
    backing.join()
    assert len(before[1].acknowledged) > len(before[0].acknowledged) > 100

    other = tmp_path / "other"
    restored = run("restore", places[1], "--data", other)
    with closing(sqlite3.connect(other / "marquee.db")) as connection:
        # What came during the backup may be in it too; nothing else is.
        before[1].sent |= load.transcript.sent
        assert count_missing(connection, before[1]) == 0

    server = KillableServer(other)
    try:
        counts = server.event_counts()
        assert counts.pop("received") == sum(counts.values())
        lines = asked(server, "/events/export?format=ndjson", load.token).splitlines()
        found = {event["session_id"]: int(event["id"]) for event in map(json.loads, lines)}
        assert len(found) == len(lines) == restored["events"]
        assert before[1].acknowledged.items() <= found.items()
    finally:
        server.kill()


def test_events_are_taken_while_a_backup_stands_still(tmp_path: Path) -> None:
    """Stopped in its middle by a signal, it holds up nobody; nor does its kill."""
    data = tmp_path / "data"
    load = new_load(data)
    server = KillableServer(data)
    code = (
        "import os, signal, sys; from pathlib import Path; "
        "from store.sqlite.backup.backup import create_backup; "
        "create_backup(Path(sys.argv[1]), Path(sys.argv[2]), "
        "lambda *_: os.kill(os.getpid(), signal.SIGSTOP))"
    )
    with subprocess.Popen([sys.executable, "-c", code, data, tmp_path / "to"], cwd=ROOT) as backing:
        while "T (stopped)" not in Path(f"/proc/{backing.pid}/status").read_text():
            assert backing.poll() is None
            time.sleep(0.01)
        load.run_until_acknowledged(server, 100)
        backing.kill()
    assert not list((tmp_path / "to").glob("[!.]*"))
    assert load.count_missing(data) == 0
