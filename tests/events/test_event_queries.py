"""Search and export of events, on a real server."""

import csv
import io
import json
import re
from urllib.parse import quote

import pytest

from tests.support.events.event_queries_api import (
    event_at_second,
    event_ids,
    find_events,
    send_events,
)
from tests.support.events.events_api import EventsApp
from tests.support.events.hostile_bodies import event_body

ID = re.compile(r"\d{19}")
SEEN = {
    "id", "sender_id", "app", "source", "session_id", "category", "name", "data",
    "timestamp", "received_at",
}  # fmt: skip


@pytest.fixture
def app(empty_server):
    return EventsApp(empty_server)


@pytest.mark.parametrize("path", ["/events", "/events/", "/api/v1/events"])
def test_an_event_is_visible_to_the_next_request(app, path):
    for number in range(20):
        answer = app.send(
            event_body(sender_id=f"s{number}", data={"host": "h", "path": "/é", "element": "e"})
        )
        page = app.request(
            f"{path}?session_id=e2085be5-9137-4e4e-80b5-f1ffddc25423&limit=1000"
        ).json()
        assert page["cursor"] is None
        assert len(page["events"]) == number + 1
        last = page["events"][-1]
    assert set(last) == SEEN
    assert last["id"] == answer.json()["id"]
    assert last["data"] == {"host": "h", "path": "/é", "element": "e"}
    assert (last["app"], last["source"], last["sender_id"]) == (app.id, "app", "s19")
    assert last["timestamp"] == "2021-01-01T09:15:27.243860Z"
    assert re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", last["received_at"])
    assert app.request(f"/events/{last['id']}").json() == last


def test_pages_are_ordered_by_occurrence_then_arrival(app):
    sent = send_events(app, *(event_at_second(second) for second in (5, 3, 5, 1, 9, 3)))
    order = [sent[index] for index in (3, 1, 5, 0, 2, 4)]
    assert event_ids(find_events(app)) == order
    assert event_ids(find_events(app, "order=asc")) == order
    assert event_ids(find_events(app, "order=desc")) == order[::-1]
    for direction in ("asc", "desc"):
        seen, cursor = [], ""
        while cursor is not None:
            page = app.request(
                f"/events?limit=2&order={direction}{cursor and '&cursor=' + quote(cursor)}"
            )
            seen += event_ids(page.json()["events"])
            cursor = page.json()["cursor"]
        assert seen == (order if direction == "asc" else order[::-1])


def test_each_filter_selects_events(app):
    a, b, c, d = send_events(
        app,
        event_at_second(1, session_id="a"),
        event_at_second(2, session_id="b", category="other"),
        event_at_second(3, session_id="a", category="other"),
        event_body(timestamp="2021-01-01 00:00:04", session_id="a", category="other", name="z"),
    )
    assert event_ids(find_events(app, "session_id=a")) == [a, c, d]
    assert event_ids(find_events(app, "category=other")) == [b, c, d]
    assert event_ids(find_events(app, "category=other&name=asked")) == [b, c]
    assert event_ids(find_events(app, "name=z")) == [d]
    assert event_ids(find_events(app, "session_id=a&category=other&name=z")) == [d]
    assert event_ids(find_events(app, "from=2021-01-01T00:00:02Z&to=2021-01-01T00:00:04Z")) == [
        b,
        c,
    ]
    assert event_ids(find_events(app, "from=2021-01-01+00:00:03.5")) == [d]
    assert event_ids(find_events(app, "to=2021-01-01")) == []
    assert event_ids(find_events(app, "source=app&limit=1")) == [a]
    assert find_events(app, "source=click") == find_events(app, "session_id=") == []


def test_a_read_token_sees_own_events_and_admin_all(app, empty_server):
    other = EventsApp(empty_server)
    (mine,), (theirs,) = (
        send_events(app, event_at_second(1, session_id="both")),
        send_events(other, event_at_second(2, session_id="both")),
    )
    assert event_ids(find_events(app, "session_id=both")) == [mine]
    assert event_ids(find_events(other, "session_id=both")) == [theirs]
    admin = app.create_token("admin")
    assert {mine, theirs} <= set(event_ids(find_events(app, "session_id=both", token=admin)))
    assert event_ids(find_events(app, f"session_id=both&app={other.id}", token=admin)) == [theirs]
    assert app.request(f"/events?app={other.id}").status == 403
    assert app.request(f"/events/{theirs}").status == 404
    assert app.request(f"/events/{theirs}", token=admin).status == 200
    assert app.request("/events", token=app.create_token("write")).status == 403
    assert empty_server.request("/events").status == 401


@pytest.mark.parametrize(
    ("method", "path", "meant"),
    [
        ("GET", "/events?categry=a", "category"),
        ("GET", "/events/export?formatt=csv", "format"),
        ("DELETE", "/events?session_id=s&ap=1", "app"),
    ],
)
def test_a_misspelt_argument_is_422_and_changes_nothing(app, method, path, meant):
    app.send(event_body(session_id="s"))
    answer = app.request(path, method, token=app.create_token("admin"))
    assert answer.status == 422
    assert f"is unknown: did you mean `{meant}`?" in answer.json()["detail"]
    assert event_ids(find_events(app, "session_id=s"))


@pytest.mark.parametrize(
    "query",
    ["limit=0", "limit=1001", "limit=a", "order=up", "source=x", "app=x", "from=x", "to=1",
     "cursor=x", "cursor=%00", "cursor=" + "A" * 300, "cursor=", "cursor=" + "A" * 22 + "!",
     "cursor=" + "A" * 21 + "%2B"],
)  # fmt: skip
def test_an_invalid_query_argument_is_422_with_its_pointer(app, query):
    answer = app.request(f"/events?{query}")
    assert answer.status == 422
    assert answer.json()["errors"][0]["pointer"] == "/" + query.partition("=")[0]


def test_an_unknown_event_is_404(app):
    for number in ("0", "1", "9" * 19):
        assert app.request(f"/events/{number}").status == 404
    assert app.request("/events/x").status == 404


def test_an_export_contains_the_filtered_events_as_ndjson_and_csv(app):
    wild = ['=1+1"', "+a", "-b", "@c", "\ttab", "d,e", "é"]
    sent = send_events(
        app, *(event_at_second(second, session_id=each) for second, each in enumerate(wild))
    )
    plain = app.request("/events/export")
    assert plain.headers["Content-Type"] == "application/x-ndjson"
    events = [json.loads(line) for line in plain.text.splitlines()]
    assert events == find_events(app)
    assert event_ids(events) == sent
    table = app.request("/events/export?format=csv&order=desc")
    assert table.headers["Content-Type"] == "text/csv; charset=utf-8"
    assert 'filename="events.csv"' in table.headers["Content-Disposition"]
    head, *rows = csv.reader(io.StringIO(table.text, newline=""))
    assert head[:5] == ["id", "sender_id", "app", "source", "session_id"]
    assert [row[0] for row in rows] == sent[::-1]
    # No cell is a spreadsheet formula.
    assert [row[4] for row in rows[::-1]] == [f"'{each}" for each in wild[:5]] + wild[5:]
    assert json.loads(rows[0][-1]) == events[0]["data"]
    assert app.request("/events/export?session_id=none").text == ""
    assert app.request("/events/export?format=xml").status == 422
    assert app.request("/events/export?format=").status == 422
    assert app.request("/events/export", token=app.create_token("write")).status == 403


def test_an_export_has_no_page_limit(app):
    send_events(app, *(event_at_second(second % 60) for second in range(1_800)))
    assert len(app.request("/events/export").text.splitlines()) == 1_800
    assert len(app.request("/events/export?from=2021-01-01T00:00:30Z").text.splitlines()) == 900
