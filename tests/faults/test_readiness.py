"""`/readyz`, `/metrics` and `doctor` report failing parts of a server and lost events."""

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


def get_readiness(server: KillableServer) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(server.get("/readyz")[1])
    return document


def send(server: KillableServer, token: str, *keys: str) -> None:
    connection = http.client.HTTPConnection(server.host, server.port, timeout=120)
    with contextlib.closing(connection):
        for key in keys:
            headers = {"Authorization": f"Bearer {token}"}
            connection.request("POST", "/events", json.dumps(load_event(key)), headers)
            response = connection.getresponse()
            assert (response.status, bool(response.read())) == (202, True)


def run_command(data: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "server.py", *arguments, "--data", str(data)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_server_is_not_ready_while_projections_cannot_be_opened(tmp_path: Path) -> None:
    data, marker = tmp_path / "data", tmp_path / "failing"
    load = new_load(data)
    server = KillableServer(
        data, changes="fail_while_marker_exists,check_retention_often", FAILING=str(marker)
    )
    try:
        assert get_readiness(server)["checks"]["projections"]
        send(server, load.token, "k1")
        marker.touch()
        failed = run_command(data, "rebuild")
        assert failed.returncode == 1
        assert "No space left" in failed.stderr
        for _ in range(3):  # between retries of the projection worker
            assert server.get(SESSION, load.token)[0] == 503
            send(server, load.token, "k2")
            time.sleep(0.3)
        status, _ = server.get("/readyz")
        readiness = get_readiness(server)
        assert (status, readiness["ready"], readiness["checks"]["projections"]) == (
            503,
            False,
            False,
        )
        wait_until(lambda: "retention failed" in str(get_readiness(server)["notes"]))
        assert "views.db cannot be opened" in str(get_readiness(server)["notes"])
        assert server.metric("marquee_projections_failing") == 1
        assert server.metric("marquee_retention_failing") == 1
        assert run_command(data, "rebuild").returncode == 1
        marker.unlink()
        wait_until(lambda: bool(get_readiness(server)["ready"]))
        wait_until(lambda: "retention failed" not in str(get_readiness(server)["notes"]))
        assert len(json.loads(server.get_body(SESSION, load.token))["events"]) == 1
        assert run_command(data, "rebuild").returncode == 0
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
    findings = json.loads(run_command(data, "doctor", "--json").stdout)["findings"]
    assert ("loss", "problem") in {(each["check"], each["state"]) for each in findings}
    for _ in range(2):
        server = KillableServer(data)
        try:
            assert "acknowledged events were missing" in str(get_readiness(server)["notes"])
            assert get_readiness(server)["ready"]
        finally:
            server.kill()
    findings = json.loads(run_command(data, "doctor", "--json").stdout)["findings"]
    assert ("loss", "note") in {(each["check"], each["state"]) for each in findings}
