"""The deadline of client reads does not apply to the server's internal reads."""

import contextlib
import http.client
import json
import subprocess
import sys
import time
from pathlib import Path

from tests.support import ROOT
from tests.support.faults.server_load import KillableServer, load_event, new_load, run_json_command

CSV_HEADERS = {
    "clicks_1.csv": "click_id,banner_id,campaign_id\n",
    "conversions_1.csv": "conversion_id,click_id,revenue\n",
    "impressions_1.csv": "banner_id,campaign_id\n",
}


def test_requests_get_503_with_retry_after_if_their_read_expires(tmp_path: Path) -> None:
    data = tmp_path / "data"
    load = new_load(data)
    public_token = run_json_command(data, "app", "create", "site", "--hosts", "www.example.com")[
        "public_token"
    ]
    for options in ((), ("--server", "tornado")):
        server = KillableServer(data, *options, changes="expire_client_reads")
        try:
            for method, path, body in (
                ("POST", "/events", json.dumps(load_event("k"))),
                ("GET", "/events", ""),
                ("GET", "/api/v1/campaigns/1/candidates", ""),
                ("GET", f"/api/v1/stories/{public_token}", ""),
                ("GET", f"/api/v1/stories/cached/{public_token}", ""),
                ("POST", f"/api/v1/event/{public_token}", '{"story_id": 1, "event_type": "x"}'),
                ("GET", f"/api/v1/dau/{public_token}?date=2026-01-01", ""),
                ("GET", "/banners/1", ""),
            ):
                connection = http.client.HTTPConnection(server.host, server.port, timeout=120)
                with contextlib.closing(connection):
                    headers = {"Authorization": f"Bearer {load.token}"}
                    connection.request(method, path, body, headers)
                    response = connection.getresponse()
                    assert response.status in (404, 503), (path, response.status, response.read())
                    if response.status == 503:
                        assert response.headers["Retry-After"], path
                        assert response.headers["Cache-Control"] == "no-store", path
        finally:
            server.kill()


def test_internal_reads_have_no_deadline(
    tmp_path: Path,
) -> None:
    data, folder = tmp_path / "data", tmp_path / "folder"
    (folder / "1").mkdir(parents=True)
    run_json_command(data, "app", "create", "one")
    load = new_load(data)
    pairs = [(banner, campaign) for campaign in range(1, 40) for banner in range(100, 120)]
    lines = "".join(f"{banner},{campaign}\n" for banner, campaign in pairs)
    for name, header in CSV_HEADERS.items():
        (folder / "1" / name).write_text(header + lines * name.startswith("impressions"))
    run_json_command(data, "import", str(folder))
    server = KillableServer(data, changes="expire_client_reads")
    try:
        assert json.loads(server.get_body("/readyz"))["ready"]
        assert server.get_body("/campaigns/39/").count(b"<img") == 1
        assert server.get("/api/v1/campaigns/39/candidates")[0] == 503
        (folder / "1" / "impressions_1.csv").write_text(
            CSV_HEADERS["impressions_1.csv"] + "7,40\n" * 9
        )
        assert run_json_command(data, "import", str(folder))["number"] == 2
        assert server.get_body("/campaigns/40/").count(b"<img") == 1
        assert "faults" in str(run_json_command(data, "app", "list"))
        for each in ("stories", "user"):
            run_json_command(data, each, "list")
    finally:
        server.kill()
    server = KillableServer(data)  # without the change, since it must read an app's token
    try:
        load.run(server, 1.0)
    finally:
        server.kill()
    server = KillableServer(data, changes="expire_client_reads")
    try:
        deadline = time.monotonic() + 60
        while b"marquee_projection_lag_events 0.0" not in server.get_body("/metrics"):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert (
            run_json_command(data, "rebuild")["events"]
            == load.count_missing(data) + server.event_counts()["stored"]
        )
    finally:
        server.kill()
    done = subprocess.run(
        [sys.executable, "server.py", "doctor", "--data", str(data), "--json"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    findings = {each["check"]: each for each in json.loads(done.stdout)["findings"]}
    assert findings["projections"]["state"] == "ok", findings
