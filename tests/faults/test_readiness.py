"""`/readyz`, `/metrics` and `doctor` know what a server cannot do, and what it has lost."""

import contextlib
import http.client
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from tests.support import ROOT
from tests.support.faults.server_load import KillableServer, load_event, new_load, wait_until

SESSION = "/events?session_id=k1"


def ready(server: KillableServer) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(server.get("/readyz")[1])
    return told


def send(server: KillableServer, token: str, *keys: str) -> None:
    connection = http.client.HTTPConnection(server.host, server.port, timeout=120)
    with contextlib.closing(connection):
        for key in keys:
            headers = {"Authorization": f"Bearer {token}"}
            connection.request("POST", "/events", json.dumps(load_event(key)), headers)
            answer = connection.getresponse()
            assert (answer.status, bool(answer.read())) == (202, True)


def command(data: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "server.py", *words, "--data", str(data)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_a_server_whose_views_cannot_be_opened_is_not_ready_until_they_can(tmp_path: Path) -> None:
    data, marker = tmp_path / "data", tmp_path / "failing"
    load = new_load(data)
    server = KillableServer(
        data, changes="fail_while_marker_exists,check_retention_often", FAILING=str(marker)
    )
    try:
        assert ready(server)["checks"]["projections"]
        send(server, load.token, "k1")
        marker.touch()
        failed = command(data, "rebuild")
        assert failed.returncode == 1
        assert "No space left" in failed.stderr
        for _ in range(3):  # however often the folding loop has tried
            assert server.get(SESSION, load.token)[0] == 503
            send(server, load.token, "k2")
            time.sleep(0.3)
        status, _ = server.get("/readyz")
        told = ready(server)
        assert (status, told["ready"], told["checks"]["projections"]) == (503, False, False)
        wait_until(lambda: "retention failed" in str(ready(server)["notes"]))
        assert "views.db cannot be opened" in str(ready(server)["notes"])
        assert server.metric("marquee_projections_failing") == 1
        assert server.metric("marquee_retention_failing") == 1
        assert command(data, "rebuild").returncode == 1
        marker.unlink()
        wait_until(lambda: bool(ready(server)["ready"]))
        wait_until(lambda: "retention failed" not in str(ready(server)["notes"]))
        assert len(json.loads(server.get_body(SESSION, load.token))["events"]) == 1
        assert command(data, "rebuild").returncode == 0
        assert len(json.loads(server.get_body(SESSION, load.token))["events"]) == 1
        assert server.metric("marquee_projections_failing") == 0
    finally:
        server.kill()


def test_a_removed_wal_is_reported_as_a_loss_after_restarts_too(tmp_path: Path) -> None:
    data = tmp_path / "data"
    load = new_load(data)
    server = KillableServer(data)
    try:
        send(server, load.token, *(f"k{number}" for number in range(20)))
        wait_until(lambda: server.metric("marquee_projected_events_total") >= 20)
    finally:
        server.kill()
    (data / "marquee.db-wal").unlink()
    found = json.loads(command(data, "doctor", "--json").stdout)["findings"]
    assert ("loss", "problem") in {(each["check"], each["state"]) for each in found}
    for _ in range(2):
        server = KillableServer(data)
        try:
            assert "acknowledged events were missing" in str(ready(server)["notes"])
            assert ready(server)["ready"]
        finally:
            server.kill()
    found = json.loads(command(data, "doctor", "--json").stdout)["findings"]
    assert ("loss", "note") in {(each["check"], each["state"]) for each in found}
