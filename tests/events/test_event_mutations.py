"""Replacing, deleting and erasing events, on a real server."""

import json
import re
from uuid import uuid4

import pytest

from tests.support.events.event_queries_api import at, found, ids, send
from tests.support.events.events_api import App
from tests.support.events.hostile_bodies import GOOD, body

JSON = "application/json"
CLICK = re.compile(r"/campaigns/1/banners/\d+/click")


@pytest.fixture
def app(served):
    return App(served)


def files_of(server):
    return b"".join(file.read_bytes() for file in sorted(server.data.glob("*.db*")))


@pytest.mark.parametrize("base", ["/events", "/api/v1/events"])
def test_a_replacement_is_validated_by_the_same_schemas(app, base):
    (number,) = send(app, at(1, sender_id="mine"))
    put = at(9, data={"host": "h", "path": "/new", "element": "e"}, session_id="other")
    answer = app.ask(f"{base}/{number}", "PUT", put, Content_Type=JSON)
    assert answer.status == 200, answer.text
    event = answer.json()
    assert event == app.ask(f"/events/{number}").json()
    assert (event["id"], event["sender_id"]) == (number, "mine")
    assert (event["session_id"], event["data"]["path"]) == ("other", "/new")
    assert event["timestamp"] == "2021-01-01T00:00:09.000000Z"
    assert ids(found(app, "session_id=other")) == [number]
    assert found(app, f"session_id={GOOD['session_id']}") == []


def test_an_event_from_get_can_be_put_unchanged(app):
    data = {"host": "h", "path": "/", "element": "e", "n": [1.0, -0.5, 2**53 + 1, None, "\u00e9"]}
    for sent in (at(1, sender_id="mine", data=data), at(2, data=data)):
        (number,) = send(app, sent)
        shown = app.ask(f"/events/{number}")
        answer = app.ask(f"/events/{number}", "PUT", shown.body, Content_Type=JSON)
        assert answer.status == 200, answer.text
        assert answer.body == shown.body
        assert app.ask(f"/events/{number}").body == shown.body


@pytest.mark.parametrize("name", ["id", "app", "source", "received_at"])
def test_members_set_by_the_server_cannot_change(app, name):
    (number,) = send(app, at(1))
    shown = app.ask(f"/events/{number}").json()
    for other in (999_999, None, "other"):
        put = json.dumps({**shown, name: other, "name": "another"}).encode()
        answer = app.ask(f"/events/{number}", "PUT", put, Content_Type=JSON)
        assert answer.status == 422
        assert [each["pointer"] for each in answer.json()["errors"]] == [f"/{name}"]
    assert app.ask(f"/events/{number}").json() == shown


WRONG = [
    (400, b"{", ""),
    (422, body(data={"host": "h"}), "/data/path"),
    (422, body(session_id=5), "/session_id"),
    (422, body(timestamp="2999-01-01"), "/timestamp"),
    (409, body(sender_id="another"), None),
]


@pytest.mark.parametrize(("status", "put", "pointer"), WRONG, ids=[str(w[0]) for w in WRONG])
def test_an_invalid_replacement_changes_nothing(app, status, put, pointer):
    (number,) = send(app, body(sender_id="one"))
    before, counts = app.ask(f"/events/{number}").json(), app.counts()
    answer = app.ask(f"/events/{number}", "PUT", put, Content_Type=JSON)
    assert answer.status == status, answer.text
    assert answer.headers["Content-Type"] == "application/problem+json"
    if pointer is not None:
        assert answer.json()["errors"][0]["pointer"] == pointer
    assert app.ask(f"/events/{number}").json() == before
    assert app.counts() == counts
    assert app.ask("/rejected-events").json()["rejected_events"] == []


def test_a_replacement_in_a_strict_app_needs_a_schema(served):
    strict = App(served, strict=True)
    (number,) = send(strict, body())
    put = body(category="free", name="form")
    assert strict.ask(f"/events/{number}", "PUT", put, Content_Type=JSON).status == 422
    admin = App(served).token("admin")
    answer = strict.ask(f"/events/{number}", "PUT", put, token=admin, Content_Type=JSON)
    assert answer.status == 422


def test_a_retry_of_a_deleted_event_stores_nothing(app):
    mark = f"mark-{uuid4()}"
    sent = at(1, sender_id="gone", data={"host": "h", "path": mark, "element": "e"})
    first, other = send(app, sent, at(2))
    assert mark.encode() in files_of(app.server)
    assert app.ask(f"/events/{first}", "DELETE").status == 204
    assert app.ask(f"/events/{first}").status == 404
    assert app.ask(f"/events/{first}", "DELETE").status == 404
    assert app.ask(f"/events/{first}", "PUT", body(), Content_Type=JSON).status == 404
    assert ids(found(app)) == [other]
    assert mark.encode() not in files_of(app.server)
    again = app.send(sent)
    assert (again.status, again.json()) == (202, {"id": first})
    assert app.send(body(sender_id="gone")).status == 409
    assert ids(found(app)) == [other]


def test_erasing_a_session_leaves_no_byte_in_the_files(served):
    one, other = App(served), App(served)
    who, mark = str(uuid4()), f"jane-{uuid4()}"
    theirs = {"session_id": who, "data": {"host": "h", "path": "/", "element": mark}}
    for app in (one, other):
        send(app, *(at(second, **theirs) for second in range(5)), at(9))
    wrong = {**GOOD, **theirs, "timestamp": "never", "more": mark}
    assert one.send(json.dumps(wrong).encode()).status == 422
    counts = one.counts()

    answer = one.ask(f"/events?session_id={who}", "DELETE")
    assert (answer.status, answer.json()) == (200, {"events": 5, "rejected_events": 1})
    assert one.ask(f"/events?session_id={who}", "DELETE").json() == {
        "events": 0,
        "rejected_events": 0,
    }
    assert found(one, f"session_id={who}") == []
    assert len(found(one)) == 1
    assert one.ask("/rejected-events").json()["rejected_events"] == []
    # Events of the other app remain; an admin token erases those of all apps.
    assert len(found(other, f"session_id={who}")) == 5
    assert one.ask(f"/events?session_id={who}&app={other.id}", "DELETE").status == 403
    admin = one.token("admin")
    answer = one.ask(f"/events?session_id={who}&app={one.id}", "DELETE", token=admin)
    assert answer.json() == {"events": 0, "rejected_events": 0}
    answer = one.ask(f"/events?session_id={who}", "DELETE", token=admin)
    assert answer.json() == {"events": 5, "rejected_events": 0}
    files = files_of(served)
    assert who.encode() not in files
    assert mark.encode() not in files
    assert one.counts() == counts


def test_changes_need_a_scope_and_an_event_of_the_own_app(app):
    stranger = App(app.server)
    (number,) = send(app, body())
    for method, sent in (("PUT", body()), ("DELETE", None)):
        path = f"/events/{number}"
        assert app.server.ask(path, method, sent).status == 401
        assert app.ask(path, method, sent, token=app.token("read")).status == 403
        assert stranger.ask(path, method, sent).status == 404
        for unknown in ("1", "9999999999999999999"):
            assert app.ask(f"/events/{unknown}", method, sent).status == 404
    path = "/events?session_id=x"
    assert app.server.ask(path, "DELETE").status == 401
    assert app.ask(path, "DELETE", token=app.token("read")).status == 403
    for missing in ("/events", "/events?session_id="):
        answer = app.ask(missing, "DELETE")
        assert answer.status == 422
        assert answer.json()["errors"][0]["pointer"] == "/session_id"
    assert app.ask(f"/events/{number}").status == 200


def test_a_click_event_can_be_deleted_but_not_replaced(start):
    server = start("--sample")
    app = App(server)
    admin = app.token("admin")
    where = CLICK.search(server.ask("/campaigns/1/").text)[0]
    clicked = server.ask(where)
    assert clicked.status == 302
    (click,) = found(app, "source=click", token=admin)
    answer = app.ask(f"/events/{click['id']}", "PUT", body(), token=admin, Content_Type=JSON)
    assert answer.status == 409
    assert app.ask(f"/events/{click['id']}", "DELETE", token=admin).status == 204
    assert found(app, "source=click", token=admin) == []


def test_a_too_short_retention_is_refused_with_the_reason(run, tmp_path):
    done = run("serve", "--port", "0", "--data", str(tmp_path), "--retention-days", "7")
    assert done.returncode == 2
    assert "31 or more" in done.stderr.replace("\n", " ")
