"""Commands, with a server beside them and without."""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from store.sqlite.core.folder_lock import FolderLock
from tests.support import ROOT
from tests.support.events.events_api import EventsApp
from tests.support.events.hostile_bodies import event_body

BANNER = re.compile(r'src="/banners/(\d+)"')


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """One campaign, 7, in which banners 1 to 3 converted in each quarter, 3 earning the most."""
    for slot in range(1, 5):
        place = tmp_path / "campaigns" / str(slot)
        place.mkdir(parents=True)
        clicks = [f"{slot}{banner},{banner},7" for banner in (1, 2, 3, 4, 5)]
        conversions = [f"{slot}{banner},{slot}{banner},{banner}.5" for banner in (1, 2, 3)]
        # Not alike in two quarters: the same bytes again would be a known file.
        shown = [f"{banner},7" for banner in (*range(1, 8), *range(1, slot + 1))]
        for name, head, rows in (
            ("clicks", "click_id,banner_id,campaign_id", clicks),
            ("conversions", "conversion_id,click_id,revenue", conversions),
            ("impressions", "banner_id,campaign_id", shown),
        ):
            (place / f"{name}_{slot}.csv").write_text("\n".join([head, *rows]) + "\n")
    return tmp_path / "campaigns"


def test_an_import_beside_a_server_is_on_its_pages_when_the_command_ends(
    start_server, run_command, folder
):
    server = start_server()
    assert server.request("/campaigns/7/").status == 404
    answer = run_command("import", str(folder), "--data", str(server.data), "--json")
    assert answer.returncode == 0, answer.stderr
    result = json.loads(answer.stdout)
    assert (result["read"], result["stored"], result["rejected"]) == (70, 70, 0)
    page = server.request("/campaigns/7/")
    assert page.status == 200
    found = server.request("/api/v1/campaigns/7/candidates").json()
    assert [each["banner"] for each in found["banners"]] == [3, 2, 1, 4, 5]
    assert int(BANNER.search(page.text)[1]) in {1, 2, 3, 4, 5}


def test_importing_again_changes_nothing_and_says_so(run_command, folder, tmp_path):
    data = str(tmp_path / "data")
    assert run_command("import", str(folder), "--data", data).returncode == 0
    again = run_command("import", str(folder), "--data", data)
    assert again.returncode == 0
    assert "Nothing was changed" in again.stdout
    assert (
        json.loads(run_command("import", str(folder), "--data", data, "--json").stdout)["stored"]
        == 0
    )


@pytest.mark.parametrize("beside", [True, False])
def test_an_import_replaces_and_is_taken_back(start_server, run_command, folder, tmp_path, beside):
    server = start_server() if beside else None
    data = ["--data", str(tmp_path / "data")]

    def candidates():
        if server is None:
            return None
        found = server.request("/api/v1/campaigns/7/candidates?slot=1")
        return [each["banner"] for each in found.json()["banners"]] if found.status == 200 else []

    first = run_command("import", str(folder), *data)
    assert first.returncode == 0 and "import undo 1 --data" in first.stdout
    assert candidates() in (None, [3, 2, 1, 4, 5])
    for slot in (2, 3, 4):
        shutil.rmtree(folder / str(slot))
    earned = "conversion_id,click_id,revenue\n" + "".join(f"1{n},1{n},{9 - n}\n" for n in (1, 2, 3))
    (folder / "1" / "conversions_1.csv").write_text(earned)
    done = run_command("import", str(folder), "--replace", *data, "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["replaced"] == {"impressions": 8, "clicks": 5, "conversions": 3}
    assert (told["number"], told["stored"], told["duplicate"]) == (2, 16, 0)
    assert candidates() in (None, [1, 2, 3, 4, 5])
    refused = run_command("import", "undo", "2", *data)
    assert refused.returncode == 1 and "--yes" in refused.stderr
    undone = run_command("import", "undo", "2", "--yes", "--json", *data)
    assert undone.returncode == 0, undone.stderr
    assert json.loads(undone.stdout)["undone"] == 2
    assert candidates() in (None, [3, 2, 1, 4, 5])
    again = run_command("import", "undo", "2", "--yes", *data)
    assert again.returncode == 1 and "was undone already, by import 3" in again.stderr
    assert run_command("import", "undo", "1", "--yes", *data).returncode == 0
    assert candidates() in (None, [])
    wrong = (["undo", "x", "--yes"], ["undo"], ["undo", "1", "--replace"], ["--rejected", "1"])
    for words in wrong:
        assert run_command("import", *words, *data).returncode == 2


def test_pages_go_on_while_an_import_runs(start_server, run_command, folder):
    server = start_server("--sample")
    (folder / "1" / "impressions_1.csv").write_text(
        "banner_id,campaign_id\n" + "".join(f"{i % 4000},{i % 90}\n" for i in range(200_000))
    )
    answered, go_on = [0], threading.Event()

    def visit() -> None:
        while not go_on.is_set():
            assert server.request("/campaigns/1/").status == 200
            answered[0] += 1

    visitor = threading.Thread(target=visit)
    visitor.start()
    answer = run_command("import", str(folder), "--data", str(server.data))
    meanwhile = answered[0]
    go_on.set()
    visitor.join()
    assert answer.returncode == 0, answer.stderr
    assert meanwhile > 10
    assert server.request("/campaigns/89/").status == 200


@pytest.mark.parametrize("beside", [True, False])
def test_what_is_rejected_is_told_with_file_line_reason_and_row(
    start_server, run_command, folder, tmp_path, beside
):
    data = str(start_server().data if beside else tmp_path / "data")
    with (folder / "2" / "conversions_2.csv").open("a") as file:
        file.write("90,999999,1.0\n91,21,-3\n92,21,nan\n")
    answer = run_command("import", str(folder), "--data", data, "--json")
    assert answer.returncode == 0
    assert json.loads(answer.stdout)["rejected"] == 3
    page = json.loads(run_command("import", "--rejected", "--data", data, "--json").stdout)
    assert {(each["file"], each["line"]) for each in page["rejected"]} == {
        ("2/conversions_2.csv", line) for line in (5, 6, 7)
    }
    assert all(each["reason"] for each in page["rejected"])
    assert "92,21,nan" in {each["row"] for each in page["rejected"]}
    assert "conversions_2.csv:6" in run_command("import", "--rejected", "--data", data).stdout


@pytest.mark.parametrize("content", [b"\x89PNG\r\n\x00\x00", b"campaign,banner\n1,2\n", b""])
def test_a_file_that_is_not_what_it_should_be_is_refused_and_nothing_changes(
    run_command, folder, tmp_path, content
):
    data = str(tmp_path / "data")
    (folder / "3" / "clicks_3.csv").write_bytes(content)
    answer = run_command("import", str(folder), "--data", data)
    assert answer.returncode == 1
    assert "clicks_3.csv" in answer.stderr
    assert "Traceback" not in answer.stderr
    (folder / "3" / "clicks_3.csv").unlink()
    (folder / "3" / "conversions_3.csv").unlink()
    assert (
        json.loads(run_command("import", str(folder), "--data", data, "--json").stdout)["stored"]
        == 62
    )


def waits(pid: int) -> bool:
    """Whether a process has got as far as a loop of events."""
    for each in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):  # it was closed meanwhile
            if "eventpoll" in os.readlink(each):
                return True
    return False


def test_ctrl_c_ends_a_command_in_a_line(tmp_path):
    with FolderLock(tmp_path / "data"):  # which the command waits for
        waiting = subprocess.Popen(
            # Who runs the tests may have told it to be ignored.
            [
                *("env", "--default-signal=INT", sys.executable, "server.py"),
                *("app", "list", "--data", str(tmp_path / "data")),
            ],
            cwd=ROOT,
            stderr=subprocess.PIPE,
            text=True,
        )
        while not waits(waiting.pid):
            time.sleep(0.02)
        time.sleep(0.5)  # until the loop is told of signals, too
        waiting.send_signal(signal.SIGINT)
        said = waiting.communicate(timeout=120)[1]
    assert (waiting.returncode, said) == (130, "marquee: interrupted\n")


@pytest.mark.parametrize("beside", [True, False])
def test_an_app_is_made_listed_and_its_token_revoked(start_server, run_command, tmp_path, beside):
    data = str(start_server().data if beside else tmp_path / "data")
    made = run_command(
        "app", "create", "My site", "--public-token", "pub", "--data", data, "--json"
    )
    app = json.loads(made.stdout)
    assert set(app) == {"id", "name", "public_token", "secret_token"}
    assert app["public_token"] == "pub"
    listed = json.loads(run_command("app", "list", "--data", data, "--json").stdout)["apps"]
    assert [each["name"] for each in listed] == ["My site"]
    assert app["secret_token"] not in json.dumps(listed)
    moment = r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z"
    assert re.fullmatch(moment, listed[0]["created_at"])
    assert re.fullmatch(moment, listed[0]["tokens"][0]["created_at"])
    assert listed[0]["tokens"][0]["revoked_at"] is None
    made = run_command("app", "token", "pub", "--scopes", "read", "--data", data, "--json")
    token = json.loads(made.stdout)
    assert token["scopes"] == ["read"]
    gone = run_command("app", "revoke", str(token["id"]), "--data", data)
    assert gone.returncode == 0, gone.stderr
    assert re.search(f"revoked at +{moment}", gone.stdout)
    refused = run_command("app", "token", "pub", "--scopes", "fly", "--data", data)
    assert refused.returncode == 1
    assert "write, read, admin" in refused.stderr


def test_a_token_opens_what_its_scope_names_until_it_is_revoked(start_server, run_command, folder):
    server = start_server()
    data = str(server.data)
    run_command("import", str(folder), "--data", data)
    app = json.loads(run_command("app", "create", "a", "--data", data, "--json").stdout)
    made = run_command("app", "token", "a", "--scopes", "write", "--data", data, "--json")
    writing = json.loads(made.stdout)

    def ask(token: str):
        path = "/api/v1/campaigns/7/candidates?slot=1"
        return server.request(path, Authorization=f"Bearer {token}")

    best = ask(app["secret_token"]).json()["banners"][0]
    assert best == {"banner": 3, "revenue": 3.5, "clicks": 1, "impressions": 1, "why": "revenue"}
    assert ask(writing["secret_token"]).status == 403
    assert run_command("app", "revoke", app["secret_token"], "--data", data).returncode == 0
    time.sleep(1)
    assert ask(app["secret_token"]).status == 401


def test_a_secret_token_is_in_no_file(run_command, tmp_path):
    data = tmp_path / "data"
    app = json.loads(run_command("app", "create", "a", "--data", str(data), "--json").stdout)
    secret = app["secret_token"].rpartition("_")[2].encode()[-20:]
    for file in data.iterdir():
        assert file.is_dir() or secret not in file.read_bytes(), file


def test_views_are_rebuilt_beside_a_server_that_answers_meanwhile(start_server, run_command):
    server = start_server()
    app = EventsApp(server)
    sent = [event_body(sender_id=f"s{number}") for number in range(500)]
    assert app.send(b"\n".join(sent), kind="application/x-ndjson").status == 202
    (first, *_) = app.request("/events?limit=1").json()["events"]
    assert app.request(f"/events/{first['id']}", "DELETE").status == 204
    ending, lost = threading.Event(), []

    def keep_asking():
        while not ending.is_set():
            page = app.request("/events?limit=1000").json()
            lost.append(499 - len(page["events"]))

    asking = threading.Thread(target=keep_asking)
    asking.start()
    for _ in range(3):
        done = run_command("rebuild", "--data", str(server.data), "--json")
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["events"] == 500
    ending.set()
    asking.join()
    assert set(lost) == {0}
    app.send(event_body())
    assert len(app.request("/events?limit=1000").json()["events"]) == 500
    assert sorted(file.name for file in server.data.glob("views*")) == [
        "views.db",
        "views.db-shm",
        "views.db-wal",
    ]
    assert server.stop() == 0, server.log
    assert "Traceback" not in server.log


def test_views_are_rebuilt_without_a_server_whatever_they_were(start_server, run_command, tmp_path):
    server = start_server()
    app = EventsApp(server)
    for _ in range(3):
        app.send(event_body())
    assert server.stop() == 0
    views = tmp_path / "data" / "views.db"
    for spoil in (lambda: views.write_bytes(b"x" * 9_999), views.unlink, lambda: None):
        spoil()
        done = run_command("rebuild", "--data", str(tmp_path / "data"))
        assert done.returncode == 0, done.stderr
        assert re.fullmatch(r"events\s+3\nseconds\s+[\d.]+\n", done.stdout)
    app.server = start_server()
    assert len(app.request("/events").json()["events"]) == 3


RULE = "/api/v1/schemas/page%20interaction/cta%20click"
SHORT = {"type": "object", "properties": {"element": {"maxLength": 3}}}


@pytest.mark.parametrize("serving", [True, False])
def test_events_are_exported_beside_a_server_and_without_one(
    start_server, run_command, tmp_path, serving
):
    server = start_server()
    app = EventsApp(server)
    sent = [
        event_body(
            sender_id=f"s{number}",
            session_id=f"{number % 2}",
            timestamp=f"2021-01-0{1 + number % 3}T00:00:00Z",
            data={"host": "h", "path": "=1+1", "element": "é"},
        )
        for number in range(1_200)
    ]
    assert app.send(b"\n".join(sent), kind="application/x-ndjson").status == 202
    asked = app.request("/events/export?format=ndjson").text
    if not serving:
        assert server.stop() == 0
    data = ["--data", str(server.data)]
    done = run_command("events", "export", *data)
    assert (done.returncode, done.stdout) == (0, asked), done.stderr
    some = run_command(
        *("events", "export", *data, "--session-id", "1", "--from", "2021-01-02"),
        *("--to", "2021-01-03T00:00:00Z", "--order", "desc"),
    )
    found = [json.loads(line) for line in some.stdout.splitlines()]
    assert {(each["session_id"], each["timestamp"][:10]) for each in found} == {("1", "2021-01-02")}
    assert len(found) == 200
    assert run_command("events", "export", *data, "--source", "click").stdout == ""
    file = tmp_path / "events.csv"
    done = run_command(
        "events", "export", *data, "--format", "csv", "--output", str(file), "--json"
    )
    assert json.loads(done.stdout) == {"file": str(file), "bytes": file.stat().st_size}
    head, *rows = file.read_text("utf-8").splitlines()
    assert head.startswith("id,sender_id,app,source") and len(rows) == 1_200
    assert run_command("events", "export", *data, "--from", "soon").returncode == 2


@pytest.mark.parametrize("serving", [True, False])
def test_rejects_are_listed_and_taken_again_at_the_terminal(start_server, run_command, serving):
    server = start_server()
    app, other = EventsApp(server), EventsApp(server)
    admin = app.create_token("admin")
    assert app.request(RULE, "PUT", json.dumps(SHORT).encode(), token=admin).status == 200
    for number in range(3):
        assert app.send(event_body(sender_id=f"s{number}")).status == 422
    assert other.send(b"\xff{").status == 400
    if not serving:
        assert server.stop() == 0
    data = ["--data", str(server.data)]
    told = json.loads(run_command("events", "rejected", *data, "--json").stdout)["rejected_events"]
    assert [each["app"] for each in told] == [other.id, *[app.id] * 3]
    assert told[0]["encoding"] == "base64"
    assert json.loads(told[1]["body"])["sender_id"] == "s2"
    assert told[1]["errors"][0]["pointer"] == "/data/element"
    lines = run_command("events", "rejected", *data, "--app", str(app.id), "--limit", "2").stdout
    assert lines.count(f"app {app.id}") == 2 and "/data/element" in lines

    done = run_command("events", "replay", *data, told[3]["id"])
    assert done.returncode == 1
    assert re.fullmatch(rf"{told[3]['id']}  wrong  /data/element .*\n", done.stdout)
    if not serving:
        server = app.server = other.server = start_server()
    assert app.request(RULE, "DELETE", token=admin).status == 204
    if not serving:
        assert server.stop() == 0
    done = run_command("events", "replay", *data, "--all", "--json")
    assert done.returncode == 1  # what is no JSON will never be right
    became = {each["reject"]: each["status"] for each in json.loads(done.stdout)["replayed"]}
    assert became == {each["id"]: "stored" for each in told[1:]} | {told[0]["id"]: "wrong"}
    assert run_command("events", "replay", *data, "--all", "--app", str(app.id)).returncode == 0
    gone = run_command("events", "replay", *data, told[3]["id"], "--json")
    assert gone.returncode == 1
    assert json.loads(gone.stdout)["replayed"][0]["status"] == "gone"
    assert run_command("events", "replay", *data).returncode == 1
    if not serving:
        app.server = start_server()
    assert len(app.request("/events").json()["events"]) == 3
    counts = app.counts()
    assert (counts["stored"], counts["rejected"]) == (3, 1)


def test_a_backup_that_lacks_an_image_names_it_and_exits_1(run_command, folder, tmp_path):
    (folder / "images").mkdir()
    (folder / "images" / "image_5.gif").write_bytes(b"GIF89a" + bytes(20))
    data = tmp_path / "data"
    assert run_command("import", str(folder), "--data", str(data)).returncode == 0
    backup = ["backup", "--data", str(data), "--to", str(tmp_path / "to")]
    assert run_command(*backup).returncode == 0
    (image,) = (data / "images").iterdir()
    os.truncate(image, 10)
    done = run_command(*backup)
    assert done.returncode == 1
    assert f"{image} is missing or damaged (of banner 5)" in done.stderr
    assert "restore   " in done.stdout  # all else is in it
    # The older backup, which has the image, stays.
    assert run_command(*backup, "--keep", "1").returncode == 1
    assert len(list((tmp_path / "to").iterdir())) == 3
    image.unlink()
    assert run_command("import", str(folder), "--data", str(data)).returncode == 0
    assert run_command(*backup, "--keep", "1").returncode == 0
    assert len(list((tmp_path / "to").iterdir())) == 1
