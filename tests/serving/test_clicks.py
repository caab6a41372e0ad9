"""Clicks on banners, and what they earn."""

import json
import sqlite3
from urllib.parse import parse_qs, urlsplit

import pytest
from test_events import App, gained

TARGETS = {
    1: "https://shop.example/a?x=1#top",
    2: "http://shop.example",
}


@pytest.fixture
def folder(tmp_path):
    """Campaign 7 with banners 1 to 5, of which two lead somewhere."""
    for slot in range(1, 5):
        place = tmp_path / "campaigns" / str(slot)
        place.mkdir(parents=True)
        rows = [f"{banner},7" for banner in (*range(1, 6), *range(1, slot + 1))]
        (place / f"impressions_{slot}.csv").write_text("\n".join(["banner_id,campaign_id", *rows]))
    targets = "".join(f"{banner},{url}\n" for banner, url in TARGETS.items())
    (tmp_path / "campaigns" / "targets.csv").write_text("banner_id,url\n" + targets)
    return tmp_path / "campaigns"


@pytest.fixture
def app(start, run, folder):
    server = start()
    done = run("import", str(folder), "--data", str(server.data), "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    return App(server)


def click(app, banner=1, method="GET"):
    answer = app.server.ask(f"/campaigns/7/banners/{banner}/click", method)
    assert answer.status == 302
    return answer.headers["Location"]


def log(app):
    with sqlite3.connect(f"file:{app.server.data}/marquee.db?mode=ro", uri=True) as connection:
        sql = "SELECT id, source, app, category, name, data FROM event ORDER BY id"
        return [(*row[:-1], json.loads(row[-1])) for row in connection.execute(sql)]


def convert(app, sent, **more):
    return app.ask("/api/v1/conversions", "POST", json.dumps(sent).encode(), **more)


def test_a_click_is_in_the_log_before_its_id_is_handed_on(app):
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


def test_a_click_on_a_banner_without_a_target_leads_back_and_is_recorded(app):
    assert click(app, 3) == "/campaigns/7/"
    assert len(log(app)) == 1


def test_what_only_looks_is_no_click(app):
    assert click(app, 1, "HEAD") == TARGETS[1]
    assert app.server.ask("/campaigns/7/banners/99/click").status == 404
    assert app.server.ask("/campaigns/99/banners/1/click").status == 404
    assert log(app) == []


def test_a_conversion_names_its_click_and_is_taken_once(app):
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
    assert gained(before, app.counts()) == {
        "received": 4, "stored": 2, "duplicate": 1, "rejected": 1,
    }  # fmt: skip


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
def test_a_conversion_that_is_wrong_is_refused_and_kept(app, sent, status, pointer):
    before = app.counts()
    answer = convert(app, sent)
    assert answer.status == status
    assert answer.json()["errors"][0]["pointer"] == pointer
    assert gained(before, app.counts()) == {"received": 1, "rejected": 1}
    (kept,) = app.ask("/events/rejected").json()["rejected"]
    assert json.loads(kept["body"]) == sent
    replay = app.ask(f"/events/rejected/{kept['id']}/replay", "POST", b"")
    assert (replay.status, replay.json()["errors"][0]["pointer"]) == (422, pointer)


def test_an_event_is_no_click(app):
    event = {
        "session_id": "a",
        "category": "banner",
        "name": "click",
        "timestamp": "2021-01-01 00:00:00",
        "data": {"campaign": 7, "banner": 1, "slot": 1},
    }
    number = app.send(json.dumps(event).encode()).json()["id"]
    assert convert(app, {"click_id": number, "revenue": 1}).status == 422


def test_conversions_need_a_token_that_may_write(app):
    assert app.server.ask("/api/v1/conversions", "POST", b"{}").status == 401
    assert convert(app, {}, token=app.token("read", "admin")).status == 403
