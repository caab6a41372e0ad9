"""Clicks on banners and their conversions."""

import json
import signal
import sqlite3
import time
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.support.events.events_api import EventsApp, count_changes

TARGETS = {
    1: "https://shop.example/a?x=1#top",
    2: "http://shop.example",
}


@pytest.fixture
def folder(tmp_path):
    """Campaign 7 with banners 1 to 5, of which two have a target."""
    for slot in range(1, 5):
        place = tmp_path / "campaigns" / str(slot)
        place.mkdir(parents=True)
        rows = [f"{banner},7" for banner in (*range(1, 6), *range(1, slot + 1))]
        (place / f"impressions_{slot}.csv").write_text("\n".join(["banner_id,campaign_id", *rows]))
    targets = "".join(f"{banner},{url}\n" for banner, url in TARGETS.items())
    (tmp_path / "campaigns" / "targets.csv").write_text("banner_id,url\n" + targets)
    return tmp_path / "campaigns"


@pytest.fixture
def app(start_server, run_command, folder):
    server = start_server()
    done = run_command("import", str(folder), "--data", str(server.data), "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    return EventsApp(server)


def click(app, banner=1, method="GET"):
    answer = app.server.request(f"/campaigns/7/banners/{banner}/click", method)
    assert answer.status == 302
    return answer.headers["Location"]


def log(app):
    with sqlite3.connect(f"file:{app.server.data}/marquee.db?mode=ro", uri=True) as connection:
        sql = "SELECT id, source, app, category, name, data FROM event ORDER BY id"
        return [(*row[:-1], json.loads(row[-1])) for row in connection.execute(sql)]


def convert(app, sent, **more):
    return app.request("/api/v1/conversions", "POST", json.dumps(sent).encode(), **more)


def test_a_click_is_logged_before_the_redirect_has_its_id(app):
    before = app.counts()
    where = click(app)
    number = int(parse_qs(urlsplit(where).query)["mq_click"][0])
    assert where == f"https://shop.example/a?x=1&mq_click={number}#top"
    ((event, source, owner, category, name, data),) = log(app)
    assert (event, source, owner, category, name) == (number, 3, 0, "banner", "click")
    assert (data["campaign"], data["banner"]) == (7, 1)
    assert data["slot"] in (1, 2, 3, 4)
    assert click(app, 2).startswith("http://shop.example?mq_click=")
    assert app.counts() == before


def test_a_click_without_a_target_redirects_back_and_is_recorded(app):
    assert click(app, 3) == "/campaigns/7/"
    assert len(log(app)) == 1


def test_head_requests_and_unknown_banners_are_no_clicks(app):
    assert click(app, 1, "HEAD") == TARGETS[1]
    assert app.server.request("/campaigns/7/banners/99/click").status == 404
    assert app.server.request("/campaigns/99/banners/1/click").status == 404
    assert log(app) == []


def test_a_conversion_of_a_click_is_stored_once(app):
    before = app.counts()
    number = click(app).partition("mq_click=")[2].partition("#")[0]
    sent = {"click_id": number, "revenue": 1.23, "sender_id": "order 5"}
    first = convert(app, sent)
    assert first.status == 202
    assert convert(app, sent).json() == first.json()
    assert convert(app, {**sent, "revenue": 2}).status == 409
    assert convert(app, {"click_id": int(number), "revenue": 2}).status == 202
    (_, clicked), *conversions = ((row[1], row[5]) for row in log(app))
    assert [(source, data["revenue_micros"]) for source, data in conversions] == [
        (4, 1_230_000),
        (4, 2_000_000),
    ]
    for _, data in conversions:
        assert data["click_id"] == number
        assert {name: data[name] for name in clicked} == clicked
    assert count_changes(before, app.counts()) == {
        "received": 4, "stored": 2, "duplicate": 1, "rejected": 1,
    }  # fmt: skip


def test_a_conversion_id_is_idempotent_across_a_kill(start_server, app):
    before = app.counts()
    number = click(app).partition("mq_click=")[2].partition("#")[0]
    sent = {"click_id": number, "revenue": 1.23, "conversion_id": 1001}
    first = convert(app, sent)
    assert first.status == 202
    assert convert(app, sent).json() == first.json()
    assert app.server.stop(signal.SIGKILL) == -signal.SIGKILL
    app.server = start_server()
    same = {"conversion_id": "1001", "revenue": 1.230, "click_id": int(number)}
    assert convert(app, same).json() == first.json()
    assert convert(app, {**sent, "sender_id": "another"}).json() == first.json()
    ((_, _, _, _, _, data),) = [row for row in log(app) if row[1] == 4]
    assert (data["conversion_id"], data["revenue_micros"]) == ("1001", 1_230_000)
    assert count_changes(before, app.counts()) == {"received": 4, "stored": 1, "duplicate": 3}


def test_another_conversion_with_the_same_id_is_409_and_rejected(app):
    number = click(app).partition("mq_click=")[2].partition("#")[0]
    sent = {"click_id": number, "revenue": 1.23, "conversion_id": "A-1"}
    assert convert(app, sent).status == 202
    answer = convert(app, {**sent, "revenue": 2})
    assert answer.status == 409
    assert "conversion_id" in answer.json()["detail"]
    assert answer.json()["errors"][0]["pointer"] == "/conversion_id"
    (kept,) = app.request("/rejected-events").json()["rejected_events"]
    assert kept["errors"][0]["pointer"] == "/conversion_id"
    # Conversion ids and sender ids are independent.
    assert convert(app, {"click_id": number, "revenue": 2, "sender_id": "A-1"}).status == 202
    assert convert(app, {**sent, "conversion_id": "A-2"}).status == 202


@pytest.mark.parametrize(
    ("sent", "status", "pointer"),
    [
        ({"click_id": "5", "revenue": 1}, 422, "/click_id"),
        ({"click_id": "x", "revenue": 1}, 422, "/click_id"),
        ({"click_id": "5", "revenue": -1}, 422, "/revenue"),
        ({"revenue": 1}, 422, "/click_id"),
        ([], 422, ""),
    ],
)
def test_an_invalid_conversion_is_rejected(app, sent, status, pointer):
    before = app.counts()
    answer = convert(app, sent)
    assert answer.status == status
    assert answer.json()["errors"][0]["pointer"] == pointer
    assert count_changes(before, app.counts()) == {"received": 1, "rejected": 1}
    (kept,) = app.request("/rejected-events").json()["rejected_events"]
    assert json.loads(kept["body"]) == sent
    replay = app.request(f"/rejected-events/{kept['id']}/replay", "POST", b"")
    assert (replay.status, replay.json()["errors"][0]["pointer"]) == (422, pointer)


def test_a_conversion_of_an_event_that_is_no_click_is_rejected(app):
    event = {
        "session_id": "a",
        "category": "banner",
        "name": "click",
        "timestamp": "2021-01-01 00:00:00",
        "data": {"campaign": 7, "banner": 1, "slot": 1},
    }
    number = app.send(json.dumps(event).encode()).json()["id"]
    assert convert(app, {"click_id": number, "revenue": 1}).status == 422


def test_conversions_need_a_write_token(app):
    assert app.server.request("/api/v1/conversions", "POST", b"{}").status == 401
    assert convert(app, {}, token=app.create_token("read", "admin")).status == 403


def candidates(app, query=""):
    found = app.request(f"/api/v1/campaigns/7/candidates?{query}").json()["banners"]
    return [(each["banner"], each["clicks"], each["revenue"]) for each in found]


def folded(app, rows):
    """Wait until the projections contain this many rows of the log."""
    end = time.monotonic() + 120
    while f"\nmarquee_projected_events_total {rows}.0\n" not in app.server.request("/metrics").text:
        assert time.monotonic() < end
        time.sleep(0.05)


def earn(app):
    """Add revenue to banner 2 and two clicks to banner 4; return a query for their slot."""
    left = 900 - time.time() % 900
    if left < 20:  # or it might end in between
        time.sleep(left)
    number = click(app, 2).partition("mq_click=")[2]
    assert convert(app, {"click_id": number, "revenue": 1.25}).status == 202
    assert click(app, 4) == click(app, 4) == "/campaigns/7/"
    folded(app, 4)
    (slot,) = {row[5]["slot"] for row in log(app)}
    return f"slot={slot}"


@pytest.mark.parametrize("live", [True, False])
def test_live_clicks_and_conversions_affect_the_ranking_if_enabled(start_server, app, live):
    slot = earn(app)
    assert app.server.stop() == 0
    app.server = start_server(*["--live-stats"] * live)
    found = candidates(app, slot)
    assert len(found) == 5
    if live:
        assert found[:2] == [(2, 1, 1.25), (4, 2, 0)]
    assert sum(clicks for _, clicks, _ in found) == (3 if live else 0)
    # Only in that slot.
    others = {f"slot={number}" for number in (1, 2, 3, 4)} - {slot}
    for other in others:
        assert sum(clicks for _, clicks, _ in candidates(app, other)) == 0
    pages = {app.server.request("/campaigns/7/").text for _ in range(60)}
    assert len(pages) == 5


def test_live_stats_add_to_imported_stats(start_server, run_command, app, folder):
    slot = earn(app)
    assert app.server.stop() == 0
    app.server = start_server("--live-stats")
    number = slot.removeprefix("slot=")
    clicks = "".join(f"{100 + count},{banner},7\n" for count, banner in enumerate((4, 5, 5, 5)))
    place = folder / number
    (place / f"clicks_{number}.csv").write_text("click_id,banner_id,campaign_id\n" + clicks)
    assert run_command("import", str(folder), "--data", str(app.server.data)).returncode == 0
    # A published import reloads all stats.
    assert candidates(app, slot)[:3] == [(2, 1, 1.25), (4, 3, 0), (5, 3, 0)]


def test_a_click_on_a_random_fill_does_not_add_it_to_the_campaign(start_server, run_command, app):
    lines = "banner_id,campaign_id\n900,8\n"
    other = app.server.data.parent / "other"
    for slot in range(1, 5):
        (other / str(slot)).mkdir(parents=True)
        rows = lines + "900,8\n" * slot
        (other / str(slot) / f"impressions_{slot}.csv").write_text(rows)
    assert run_command("import", str(other), "--data", str(app.server.data)).returncode == 0
    for _ in range(3):
        click(app, 900)
    folded(app, 3)
    assert app.server.stop() == 0
    app.server = start_server("--live-stats")
    assert {banner for banner, *_ in candidates(app)} == {1, 2, 3, 4, 5}


@pytest.mark.long
def test_a_running_server_ranks_by_new_clicks(start_server, run_command, folder):
    server = start_server("--live-stats")
    assert run_command("import", str(folder), "--data", str(server.data)).returncode == 0
    app = EventsApp(server)
    slot = earn(app)
    assert (2, 1, 1.25) not in candidates(app, slot)
    end = time.monotonic() + 240
    while candidates(app, slot)[:2] != [(2, 1, 1.25), (4, 2, 0)]:
        assert time.monotonic() < end
        time.sleep(1)


ADVANCE = [
    {"Sec_Purpose": "prefetch"},
    {"Sec_Purpose": "prefetch;prerender"},
    {"Sec_Purpose": "prefetch;anonymous-client-ip"},
    {"Purpose": "prefetch"},
    {"X_Moz": "prefetch"},
]


@pytest.mark.parametrize("headers", ADVANCE)
def test_a_prefetch_is_no_impression_and_no_click(app, headers):
    stored = len(log(app))
    for path in ("/campaigns/7/", "/campaigns/7/banners/1/click"):
        answer = app.server.request(path, **headers)
        assert (answer.status, answer.headers["Cache-Control"]) == (503, "no-store")
        assert answer.headers["Set-Cookie"] is answer.headers["Location"] is None
    assert len(log(app)) == stored
    # Other purposes are normal requests, whatever the query contains.
    assert app.server.request("/campaigns/7/?prefetch", Sec_Purpose="other").status == 200
