"""Replacing, deleting and erasing events, on a real server."""

import json
import re
from uuid import uuid4

import pytest

from tests.support.events.event_queries_api import (
    event_at_second,
    event_ids,
    find_events,
    send_events,
)
from tests.support.events.events_api import EventsApp
from tests.support.events.hostile_bodies import VALID_EVENT, event_body

JSON = "application/json"
CLICK = re.compile(r"/campaigns/1/banners/\d+/click")


@pytest.fixture
def app(empty_server):
    return EventsApp(empty_server)


def files_of(server):
    return b"".join(file.read_bytes() for file in sorted(server.data.glob("*.db*")))


@pytest.mark.parametrize("base", ["/events", "/api/v1/events"])
def test_a_replacement_is_validated_by_the_same_schemas(app, base):
    (number,) = send_events(app, event_at_second(1, sender_id="mine"))
    put = event_at_second(9, data={"host": "h", "path": "/new", "element": "e"}, session_id="other")
    answer = app.request(f"{base}/{number}", "PUT", put, Content_Type=JSON)
    assert answer.status == 200, answer.text
    event = answer.json()
    assert event == app.request(f"/events/{number}").json()
    assert (event["id"], event["sender_id"]) == (number, "mine")
    assert (event["session_id"], event["data"]["path"]) == ("other", "/new")
    assert event["timestamp"] == "2021-01-01T00:00:09.000000Z"
    assert event_ids(find_events(app, "session_id=other")) == [number]
    assert find_events(app, f"session_id={VALID_EVENT['session_id']}") == []


def test_an_event_from_get_can_be_put_unchanged(app):
    data = {"host": "h", "path": "/", "element": "e", "n": [1.0, -0.5, 2**53 + 1, None, "\u00e9"]}
    for sent in (event_at_second(1, sender_id="mine", data=data), event_at_second(2, data=data)):
        (number,) = send_events(app, sent)
        shown = app.request(f"/events/{number}")
        answer = app.request(f"/events/{number}", "PUT", shown.body, Content_Type=JSON)
        assert answer.status == 200, answer.text
        assert answer.body == shown.body
        assert app.request(f"/events/{number}").body == shown.body


@pytest.mark.parametrize("name", ["id", "app", "source", "received_at"])
def test_members_set_by_the_server_cannot_change(app, name):
    (number,) = send_events(app, event_at_second(1))
    shown = app.request(f"/events/{number}").json()
    for other in (999_999, None, "other"):
        put = json.dumps({**shown, name: other, "name": "another"}).encode()
        answer = app.request(f"/events/{number}", "PUT", put, Content_Type=JSON)
        assert answer.status == 422
        assert [each["pointer"] for each in answer.json()["errors"]] == [f"/{name}"]
    assert app.request(f"/events/{number}").json() == shown


WRONG = [
    (400, b"{", ""),
    (422, event_body(data={"host": "h"}), "/data/path"),
    (422, event_body(session_id=5), "/session_id"),
    (422, event_body(timestamp="2999-01-01"), "/timestamp"),
    (409, event_body(sender_id="another"), None),
]


@pytest.mark.parametrize(("status", "put", "pointer"), WRONG, ids=[str(w[0]) for w in WRONG])
def test_an_invalid_replacement_changes_nothing(app, status, put, pointer):
    (number,) = send_events(app, event_body(sender_id="one"))
    before, counts = app.request(f"/events/{number}").json(), app.counts()
    answer = app.request(f"/events/{number}", "PUT", put, Content_Type=JSON)
    assert answer.status == status, answer.text
    assert answer.headers["Content-Type"] == "application/problem+json"
    if pointer is not None:
        assert answer.json()["errors"][0]["pointer"] == pointer
    assert app.request(f"/events/{number}").json() == before
    assert app.counts() == counts
    assert app.request("/rejected-events").json()["rejected_events"] == []


def test_a_replacement_in_a_strict_app_needs_a_schema(empty_server):
    strict = EventsApp(empty_server, strict=True)
    (number,) = send_events(strict, event_body())
    put = event_body(category="free", name="form")
    assert strict.request(f"/events/{number}", "PUT", put, Content_Type=JSON).status == 422
    admin = EventsApp(empty_server).create_token("admin")
    answer = strict.request(f"/events/{number}", "PUT", put, token=admin, Content_Type=JSON)
    assert answer.status == 422


def test_a_retry_of_a_deleted_event_stores_nothing(app):
    mark = f"mark-{uuid4()}"
    sent = event_at_second(1, sender_id="gone", data={"host": "h", "path": mark, "element": "e"})
    first, other = send_events(app, sent, event_at_second(2))
    assert mark.encode() in files_of(app.server)
    assert app.request(f"/events/{first}", "DELETE").status == 204
    assert app.request(f"/events/{first}").status == 404
    assert app.request(f"/events/{first}", "DELETE").status == 404
    assert app.request(f"/events/{first}", "PUT", event_body(), Content_Type=JSON).status == 404
    assert event_ids(find_events(app)) == [other]
    assert mark.encode() not in files_of(app.server)
    again = app.send(sent)
    assert (again.status, again.json()) == (202, {"id": first})
    assert app.send(event_body(sender_id="gone")).status == 409
    assert event_ids(find_events(app)) == [other]


def test_erasing_a_session_leaves_no_byte_in_the_files(empty_server):
    one, other = EventsApp(empty_server), EventsApp(empty_server)
    who, mark = str(uuid4()), f"jane-{uuid4()}"
    theirs = {"session_id": who, "data": {"host": "h", "path": "/", "element": mark}}
    for app in (one, other):
        send_events(
            app, *(event_at_second(second, **theirs) for second in range(5)), event_at_second(9)
        )
    wrong = {**VALID_EVENT, **theirs, "timestamp": "never", "more": mark}
    assert one.send(json.dumps(wrong).encode()).status == 422
    counts = one.counts()

    answer = one.request(f"/events?session_id={who}", "DELETE")
    assert (answer.status, answer.json()) == (200, {"events": 5, "rejected_events": 1})
    assert one.request(f"/events?session_id={who}", "DELETE").json() == {
        "events": 0,
        "rejected_events": 0,
    }
    assert find_events(one, f"session_id={who}") == []
    assert len(find_events(one)) == 1
    assert one.request("/rejected-events").json()["rejected_events"] == []
    # Events of the other app remain; an admin token erases those of all apps.
    assert len(find_events(other, f"session_id={who}")) == 5
    assert one.request(f"/events?session_id={who}&app={other.id}", "DELETE").status == 403
    admin = one.create_token("admin")
    answer = one.request(f"/events?session_id={who}&app={one.id}", "DELETE", token=admin)
    assert answer.json() == {"events": 0, "rejected_events": 0}
    answer = one.request(f"/events?session_id={who}", "DELETE", token=admin)
    assert answer.json() == {"events": 5, "rejected_events": 0}
    files = files_of(empty_server)
    assert who.encode() not in files
    assert mark.encode() not in files
    assert one.counts() == counts


def test_changes_need_a_scope_and_an_event_of_the_own_app(app):
    stranger = EventsApp(app.server)
    (number,) = send_events(app, event_body())
    for method, sent in (("PUT", event_body()), ("DELETE", None)):
        path = f"/events/{number}"
        assert app.server.request(path, method, sent).status == 401
        assert app.request(path, method, sent, token=app.create_token("read")).status == 403
        assert stranger.request(path, method, sent).status == 404
        for unknown in ("1", "9999999999999999999"):
            assert app.request(f"/events/{unknown}", method, sent).status == 404
    path = "/events?session_id=x"
    assert app.server.request(path, "DELETE").status == 401
    assert app.request(path, "DELETE", token=app.create_token("read")).status == 403
    for missing in ("/events", "/events?session_id="):
        answer = app.request(missing, "DELETE")
        assert answer.status == 422
        assert answer.json()["errors"][0]["pointer"] == "/session_id"
    assert app.request(f"/events/{number}").status == 200


def test_a_click_event_can_be_deleted_but_not_replaced(start_server):
    server = start_server("--sample")
    app = EventsApp(server)
    admin = app.create_token("admin")
    where = CLICK.search(server.request("/campaigns/1/").text)[0]
    clicked = server.request(where)
    assert clicked.status == 302
    (click,) = find_events(app, "source=click", token=admin)
    answer = app.request(
        f"/events/{click['id']}", "PUT", event_body(), token=admin, Content_Type=JSON
    )
    assert answer.status == 409
    assert app.request(f"/events/{click['id']}", "DELETE", token=admin).status == 204
    assert find_events(app, "source=click", token=admin) == []


def test_a_too_short_retention_is_refused_with_the_reason(run_command, tmp_path):
    done = run_command("serve", "--port", "0", "--data", str(tmp_path), "--retention-days", "7")
    assert done.returncode == 2
    assert "31 or more" in done.stderr.replace("\n", " ")
