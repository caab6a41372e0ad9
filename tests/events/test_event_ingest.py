"""Event ingest, schemas, rejected events and replays over HTTP, on a real server."""

import json
import re
import threading
import time
from urllib.parse import quote

import pytest

from store.sqlite.admin.tokens import RevokeToken
from tests.support.events.events_api import EventsApp, count_changes
from tests.support.events.hostile_bodies import VALID_EVENT, event_body, hostile_bodies

NAMED = {"first_name": "a", "last_name": "b"}


@pytest.fixture
def app(empty_server):
    return EventsApp(empty_server)


@pytest.mark.parametrize("path", ["/events", "/events/", "/api/v1/events", "/api/v1/events/"])
def test_an_event_is_accepted_at_each_path_and_gets_an_id(app, path):
    answer = app.send(event_body(), path)
    assert answer.status == 202
    assert answer.headers["Content-Type"] == "application/json"
    assert re.fullmatch(r'\{"id":"\d{19}"\}', answer.text)


def test_event_ids_increase(app):
    ids = [int(app.send(event_body()).json()["id"]) for _ in range(5)]
    assert ids == sorted(set(ids))


@pytest.mark.parametrize(
    ("headers", "status", "words"),
    [
        ({}, 401, "A token is required"),
        ({"Authorization": ""}, 401, "The token is unknown"),
        ({"Authorization": "Bearer"}, 401, "The token is unknown"),
        ({"Authorization": "Bearer mq_1_" + "x" * 43}, 401, "The token is unknown"),
        ({"Authorization": "Bearer mq_999999_" + "x" * 43}, 401, "The token is unknown"),
        ({"Authorization": "Bearer \xe9"}, 401, "The token is unknown"),
        ({"Authorization": "Basic bXFfMTp4"}, 401, "The token is unknown"),
    ],
)
def test_a_missing_or_unknown_token_is_401(app, headers, status, words):
    before = app.counts()
    answer = app.server.request(
        "/events", "POST", event_body(), Content_Type="application/json", **headers
    )
    assert answer.status == status
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.json()["detail"].startswith(words)
    assert app.counts() == before


def test_the_bearer_scheme_is_case_insensitive(app):
    assert app.send(event_body(), Authorization=f"bearer  {app.secret_token}").status == 202


def test_a_token_without_write_is_403(app):
    before = app.counts()
    answer = app.send(event_body(), token=app.create_token("read"))
    assert (answer.status, answer.json()["detail"]) == (403, "This token lacks the scope `write`.")
    assert app.counts() == before


def test_a_revoked_token_is_refused_within_a_second(app):
    assert app.send(event_body()).status == 202
    app.run_command(RevokeToken(app.secret_token))
    time.sleep(1)
    assert app.send(event_body()).status == 401


def test_an_invalid_event_is_rejected_with_pointers(app):
    before = app.counts()
    sent = event_body(session_id="", data={"host": 1}, timestamp="yesterday", user=7)
    answer = app.send(sent)
    assert answer.status == 422
    assert answer.headers["Content-Type"] == "application/problem+json"
    problem = answer.json()
    assert (problem["status"], problem["type"]) == (422, "about:blank")
    assert [each["pointer"] for each in problem["errors"]] == [
        "/session_id", "/timestamp", "/user", "/data/path", "/data/element", "/data/host",
    ]  # fmt: skip
    assert count_changes(before, app.counts()) == {"received": 1, "rejected": 1}
    (kept,) = app.request("/rejected-events").json()["rejected_events"]
    assert (kept["app"], kept["body"], kept["errors"]) == (app.id, sent.decode(), problem["errors"])
    assert re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", kept["received_at"])


def test_invalid_json_is_rejected_and_binary_is_listed_in_base64(app):
    for sent, shown in (
        (b"{", {"body": "{"}),
        (b"", {"body": ""}),
        (b"\xff", {"body": "/w==", "encoding": "base64"}),
    ):
        answer = app.send(sent)
        assert answer.status == 400
        assert answer.json()["errors"][0]["pointer"] == ""
        kept = app.request("/rejected-events?limit=1").json()["rejected_events"][0]
        assert {name: kept[name] for name in shown} == shown
        assert ("encoding" in kept) == ("encoding" in shown)


@pytest.mark.parametrize(
    "kind",
    [
        "text/plain",
        "application/x-www-form-urlencoded",
        "application/json; charset=latin-1",
        "x",
        "",
    ],
)
def test_an_unsupported_media_type_is_rejected(app, kind):
    before = app.counts()
    assert app.send(event_body(), kind=kind).status == 415
    assert count_changes(before, app.counts()) == {"received": 1, "rejected": 1}
    assert (
        app.request("/rejected-events").json()["rejected_events"][0]["body"]
        == event_body().decode()
    )


@pytest.mark.parametrize(
    "kind",
    ["application/json", "Application/JSON; charset=UTF-8", 'application/json;charset="utf-8"'],
)
def test_json_media_types_are_accepted_in_every_notation(app, kind):
    assert app.send(event_body(), kind=kind).status == 202


def test_a_body_without_content_type_is_json(app):
    who = {"Authorization": f"Bearer {app.secret_token}"}
    assert app.server.request("/events", "POST", event_body(), **who).status == 202


def test_a_body_over_the_limit_is_413(app):
    answer = app.send(b"[" + b" " * 300_000 + b"]")
    assert answer.status == 413
    assert answer.headers["Content-Type"] == "application/problem+json"


def test_an_unsupported_method_is_405_with_allow(app):
    answer = app.request("/events", "PATCH")
    assert answer.status == 405
    assert "POST" in answer.headers["Allow"]


def test_a_retry_with_a_sender_id_gets_the_first_response(app):
    before = app.counts()
    first = app.send(event_body(sender_id="a"))
    again = app.send(json.dumps(dict(reversed({**VALID_EVENT, "sender_id": "a"}.items()))).encode())
    assert (again.status, again.text) == (202, first.text)
    other = app.send(event_body(sender_id="a", name="other"))
    assert (other.status, other.json()["errors"][0]["pointer"]) == (409, "/sender_id")
    assert count_changes(before, app.counts()) == {
        "received": 3, "stored": 1, "duplicate": 1, "rejected": 1,
    }  # fmt: skip
    (kept,) = app.request("/rejected-events").json()["rejected_events"]
    assert kept["body"] == event_body(sender_id="a", name="other").decode()


def test_two_apps_may_use_the_same_sender_id(app, empty_server):
    first = app.send(event_body(sender_id="b")).json()
    assert EventsApp(empty_server).send(event_body(sender_id="b")).json() != first


def test_an_invalid_item_does_not_affect_the_rest_of_its_batch(app):
    before = app.counts()
    sent = [
        event_body(),
        b"{}",
        event_body(sender_id="c"),
        b"5",
        event_body(sender_id="c"),
        event_body(sender_id="c", name="x"),
    ]
    for joined, kind in (
        (b"[" + b" ,\n".join(sent) + b"]", "application/json"),
        (b"\n".join(sent), "application/x-ndjson"),
        (b"\r\n\r\n".join(sent) + b"\n", "application/x-ndjson; charset=utf-8"),
        (b"\n \n" + b"\n".join(sent), "application/jsonl"),
    ):
        answer = app.send(joined, kind=kind)
        assert answer.status == 202
        results = answer.json()["results"]
        first = "accepted" if kind == "application/json" else "duplicate"
        assert [each["status"] for each in results] == [
            "accepted", "rejected", first, "rejected", "duplicate", "rejected",
        ]  # fmt: skip
        assert results[2]["id"] == results[4]["id"]
        assert len(results[1]["errors"]) == 5
        assert results[5]["errors"][0]["pointer"] == "/sender_id"
    assert count_changes(before, app.counts()) == {
        "received": 24, "stored": 5, "duplicate": 7, "rejected": 12,
    }  # fmt: skip
    kept = app.request("/rejected-events?limit=1000").json()["rejected_events"]
    assert len(kept) == 12
    assert {each["body"].strip() for each in kept} == {sent[at].decode() for at in (1, 3, 5)}


@pytest.mark.parametrize(
    ("sent", "kind"),
    [
        (b"[]", "application/json"),
        (b"", "application/x-ndjson"),
        (b" \n\n", "application/x-ndjson"),
    ],
)
def test_an_empty_batch_has_no_results(app, sent, kind):
    before = app.counts()
    answer = app.send(sent, kind=kind)
    assert (answer.status, answer.json()) == (202, {"results": []})
    assert app.counts() == before


def test_a_batch_of_a_thousand_has_ordered_results(app):
    sent = [event_body(sender_id=f"{n:04}") for n in range(1_000)]
    first = app.send(b"\n".join(sent[:600]), kind="application/x-ndjson").json()["results"]
    every = app.send(b"\n".join(sent), kind="application/x-ndjson").json()["results"]
    assert [each["status"] for each in every] == ["duplicate"] * 600 + ["accepted"] * 400
    assert [each["id"] for each in every[:600]] == [each["id"] for each in first]
    ids = [int(each["id"]) for each in every]
    assert ids == sorted(set(ids))


def test_a_malformed_batch_is_one_rejected_event(app):
    before = app.counts()
    for sent, kind, status in (
        (b"[1,]", "application/json", 400),
        (b"[" + event_body() + b",", "application/json", 400),
        (b"[" + b"1," * 50_000 + b"1]", "application/json", 422),
        (b"1\n" * 50_000, "application/x-ndjson", 422),
    ):
        assert app.send(sent, kind=kind).status == status
    assert count_changes(before, app.counts()) == {"received": 4, "rejected": 4}


def test_a_strict_app_sends_only_types_with_a_schema(empty_server):
    strict = EventsApp(empty_server, strict=True)
    assert strict.send(event_body()).status == 202
    answer = strict.send(event_body(name="unheard of"))
    assert (answer.status, answer.json()["errors"][0]["pointer"]) == (422, "/name")
    assert EventsApp(empty_server).send(event_body(name="unheard of")).status == 202


@pytest.mark.parametrize(
    ("name", "category", "data"),
    [
        ("pageview", "page interaction", {"host": "h", "path": "/"}),
        ("cta click", "page interaction", {"host": "h", "path": "/", "element": "e"}),
        ("submit", "form interaction", {"host": "h", "path": "/", "form": NAMED}),
    ],
)  # fmt: skip
def test_three_common_event_types_have_built_in_schemas(app, name, category, data):
    assert app.send(event_body(name=name, category=category, data=data)).status == 202
    for missing in data:
        less = {each: part for each, part in data.items() if each != missing}
        answer = app.send(event_body(name=name, category=category, data=less))
        assert answer.json()["errors"] == [{"pointer": f"/data/{missing}", "message": "is missing"}]


def rule(name, more=""):
    return f"/api/v1/schemas/{quote('a/b c', safe='')}/{quote(name, safe='')}{more}"


def test_a_schema_applies_from_its_put_to_its_delete(app):
    admin = app.create_token("admin")
    typed = {"category": "a/b c", "name": f"näme {app.id}", "data": {"n": 1}}
    address = rule(typed["name"])
    assert app.send(event_body(**typed)).status == 202
    assert app.request(address, token=admin).status == 404
    schema = {"properties": {"n": {"type": "string"}}}
    answer = app.request(address, "PUT", json.dumps(schema).encode(), token=admin)
    assert answer.status == 201
    assert answer.json()["schema"] == schema
    assert {name: answer.json()[name] for name in ("category", "name", "app")} == {
        "category": "a/b c", "name": typed["name"], "app": None,
    }  # fmt: skip
    wrong = app.send(event_body(**typed))
    assert (wrong.status, wrong.json()["errors"][0]["pointer"]) == (422, "/data/n")
    assert app.request(address, "PUT", b"{}", token=admin).status == 200
    assert app.send(event_body(**typed)).status == 202
    assert app.request(address, "PUT", b"false", token=admin).status == 200
    assert app.send(event_body(**typed)).status == 422
    assert app.request(address, token=admin).json()["schema"] is False
    assert typed["name"] in {
        each["name"] for each in app.request("/api/v1/schemas", token=admin).json()["schemas"]
    }
    assert app.request(address, "DELETE", token=admin).status == 204
    assert app.request(address, "DELETE", token=admin).status == 404
    assert app.send(event_body(**typed)).status == 202


@pytest.mark.parametrize("schema", [{"required": ["a"], "x-team": 1}, {}, True, False])
@pytest.mark.parametrize("own", [False, True])
def test_a_schema_from_get_can_be_put_unchanged(app, schema, own):
    admin, more = app.create_token("admin"), f"?app={app.id}" if own else ""
    address = rule(f"back {app.id}", more)
    assert app.request(address, "PUT", json.dumps(schema).encode(), token=admin).status == 201
    shown = app.request(address, token=admin)
    again = app.request(address, "PUT", shown.body, token=admin)
    assert (again.status, again.body) == (200, shown.body)
    assert app.request(address, token=admin).body == shown.body
    tried = app.request(rule(f"back {app.id}", f"/dry-run{more}"), "POST", shown.body, token=admin)
    assert tried.status == 200


def test_a_built_in_schema_from_get_can_be_put_unchanged(app):
    admin, address = app.create_token("admin"), "/api/v1/schemas/page%20interaction/pageview"
    shown = app.request(address, token=admin)
    assert shown.json()["changed_at"] is None
    assert app.request(address, "PUT", shown.body, token=admin).body == shown.body


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"category": "other"}, "/category"),
        ({"name": "other"}, "/name"),
        ({"app": 1}, "/app"),
        ({"other": 1}, "/other"),
        ({"properties": {}}, "/properties"),
        ({"schema": {"propertes": {}}}, "/schema/propertes"),
        ({"schema": {"schema": {}}}, "/schema/schema"),
        ({"schema": 5}, ""),
    ],
)
def test_a_schema_in_its_envelope_must_match_the_path(app, change, pointer):
    admin, name = app.create_token("admin"), f"kept {app.id}"
    assert app.request(rule(name), "PUT", b"false", token=admin).status == 201
    shown = app.request(rule(name), token=admin)
    sent = json.dumps({**shown.json(), **change}).encode()
    answer = app.request(rule(name), "PUT", sent, token=admin)
    assert answer.status == 422
    assert answer.json()["errors"][0]["pointer"] == pointer
    assert app.request(rule(name), token=admin).body == shown.body


@pytest.mark.parametrize("word", ["propertes", "id", "nullable", "category", "Required", ""])
def test_an_unknown_schema_keyword_is_refused(app, word):
    sent = json.dumps({"type": "object", word: {}}).encode()
    for path, method in ((rule("typo"), "PUT"), (rule("typo", "/dry-run"), "POST")):
        answer = app.request(path, method, sent, token=app.create_token("admin"))
        assert answer.status == 422
        (error,) = answer.json()["errors"]
        assert error["pointer"] == f"/{word}"
        assert error["message"].startswith("is not a keyword of JSON Schema 2020-12")
        assert word != "propertes" or "did you mean properties?" in error["message"]
    assert app.request(rule("typo"), token=app.create_token("admin")).status == 404


def test_a_schema_of_one_app_overrides_that_of_all_apps(app, empty_server):
    admin, other = app.create_token("admin"), EventsApp(empty_server)
    typed = {"category": "a/b c", "name": f"own {app.id}"}
    assert app.request(rule(typed["name"]), "PUT", b"false", token=admin).status == 201
    assert (
        app.request(rule(typed["name"], f"?app={app.id}"), "PUT", b"true", token=admin).status
        == 201
    )
    assert app.send(event_body(**typed)).status == 202
    assert other.send(event_body(**typed)).status == 422
    assert app.request(rule(typed["name"], f"?app={app.id}"), "DELETE", token=admin).status == 204
    assert app.send(event_body(**typed)).status == 422


@pytest.mark.parametrize(
    ("more", "sent", "status", "pointer"),
    [
        ("", b"", 400, ""),
        ("", b"{", 400, ""),
        ("", b"5", 422, ""),
        ("", b'{"type":"strng"}', 422, "/type"),
        ("", b'{"$ref":"http://127.0.0.1:1/"}', 422, "/$ref"),
        ("?app=99999", b"{}", 422, None),
        ("?app=x", b"{}", 422, None),
        ("?app=-1", b"{}", 422, None),
        ("?app=%FF", b"{}", 400, None),
    ],
)
def test_an_unsupported_schema_is_refused_with_the_reason(app, more, sent, status, pointer):
    answer = app.request(rule("bad", more), "PUT", sent, token=app.create_token("admin"))
    assert answer.status == status
    if pointer is not None:
        assert answer.json()["errors"][0]["pointer"] == pointer
    assert app.request(rule("bad"), token=app.create_token("admin")).status == 404


def test_schemas_need_an_admin_token(app):
    for method, more in (("GET", ""), ("PUT", ""), ("DELETE", ""), ("POST", "/dry-run")):
        sent = b"true" if method in ("PUT", "POST") else None
        assert app.request(rule("x", more), method, sent).status == 403
        assert app.server.request(rule("x", more), method, sent).status == 401


def test_a_dry_run_counts_the_events_that_a_schema_rejects(app):
    admin, name = app.create_token("admin"), f"dry {app.id}"
    for number in range(30):
        assert app.send(event_body(category="a/b c", name=name, data={"n": number})).status == 202
    schema = json.dumps({"properties": {"n": {"maximum": 9}}}).encode()
    found = app.request(rule(name, "/dry-run"), "POST", schema, token=admin).json()
    assert (found["looked_at"], found["rejected"], len(found["examples"])) == (30, 20, 10)
    assert found["examples"][0]["data"] == {"n": 29}
    assert found["examples"][0]["errors"][0]["pointer"] == "/data/n"
    other = app.request(rule(name, "/dry-run?app=999999"), "POST", schema, token=admin).json()
    assert (other["looked_at"], other["rejected"]) == (0, 0)
    assert app.send(event_body(category="a/b c", name=name, data={"n": 99})).status == 202


def test_a_dry_run_reads_the_newest_events_of_its_type(app):
    admin, name = app.create_token("admin"), f"dry {app.id}"
    # The later events arrived first.
    lines = [
        event_body(
            category="dry",
            name=f"{name}{'' if number % 2 else ' other'}",
            timestamp=f"2021-01-01 {number // 3600:02}:{number // 60 % 60:02}:{number % 60:02}",
            data={"n": number},
        )
        for number in reversed(range(24_000))
    ]
    for start in range(0, len(lines), 1_000):
        sent = b"\n".join(lines[start : start + 1_000])
        assert app.send(sent, kind="application/x-ndjson").status == 202
    path = f"/api/v1/schemas/dry/{quote(name)}/dry-run"
    for least, wrong in ((4_000, 0), (4_002, 1), (23_999, 9_999)):
        schema = json.dumps({"properties": {"n": {"minimum": least}}}).encode()
        found = app.request(path, "POST", schema, token=admin).json()
        assert (found["looked_at"], found["rejected"]) == (10_000, wrong)
    # Acknowledged events count even before the projections contain them.
    sent = event_body(category="dry", name=name, data={"n": -1})
    assert app.send(sent).status == 202
    schema = json.dumps({"properties": {"n": {"minimum": 0}}}).encode()
    found = app.request(path, "POST", schema, token=admin).json()
    assert (found["rejected"], [each["data"] for each in found["examples"]]) == (1, [{"n": -1}])


def test_rejected_events_are_listed_newest_first_in_pages(app, empty_server):
    other = EventsApp(empty_server)
    other.send(b"0")
    for number in range(7):
        app.send(b"%d" % number)
    seen, cursor = [], ""
    while cursor is not None:
        page = app.request(f"/rejected-events?limit=3{cursor and '&cursor=' + cursor}").json()
        assert len(page["rejected_events"]) <= 3
        seen += [each["body"] for each in page["rejected_events"]]
        cursor = page["cursor"]
    assert seen == ["6", "5", "4", "3", "2", "1", "0"]
    admin = app.create_token("admin")
    every = app.request("/rejected-events?limit=8", token=admin).json()["rejected_events"]
    assert [each["app"] for each in every] == [app.id] * 7 + [other.id]
    of_other = app.request(f"/rejected-events?app={other.id}", token=admin).json()[
        "rejected_events"
    ]
    assert [each["body"] for each in of_other] == ["0"]
    assert app.request(f"/rejected-events?app={other.id}").status == 403
    moment = every[3]["received_at"]
    later = app.request(f"/rejected-events?from={moment}").json()["rejected_events"]
    earlier = app.request(f"/rejected-events?to={moment}").json()["rejected_events"]
    assert [each["body"] for each in later] == ["6", "5", "4", "3"]
    assert [each["body"] for each in earlier] == ["2", "1", "0"]


@pytest.mark.parametrize(
    "query",
    ["limit=0", "limit=1001", "limit=x", "limit=", "cursor=x", "cursor=-1", "app=x", "from=x",
     "to=2021", "from=2021-02-30", "cursor=99999999999999999999"],
)  # fmt: skip
def test_an_invalid_query_argument_is_422_with_its_pointer(app, query):
    answer = app.request(f"/rejected-events?{query}")
    assert answer.status == 422
    assert answer.json()["errors"][0]["pointer"] == "/" + query.partition("=")[0]


def test_a_rejected_event_is_replayed_once_after_its_schema_changed(app):
    admin, name = app.create_token("admin"), f"replay {app.id}"
    address = rule(name)
    app.request(address, "PUT", b"false", token=admin)
    assert app.send(event_body(category="a/b c", name=name)).status == 422
    before = app.counts()
    (kept,) = app.request("/rejected-events").json()["rejected_events"]
    replay = f"/rejected-events/{kept['id']}/replay"
    still = app.request(replay, "POST", b"")
    assert (still.status, still.json()["errors"][0]["pointer"]) == (422, "/data")
    app.request(address, "DELETE", token=admin)
    answers = []
    threads = [
        threading.Thread(target=lambda: answers.append(app.request(replay, "POST", b"")))
        for _ in range(8)
    ]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert sorted(each.status for each in answers) == [200] + [404] * 7
    (done,) = (each.json() for each in answers if each.status == 200)
    assert done["status"] == "stored"
    assert count_changes(before, app.counts()) == {"stored": 1, "rejected": -1}
    assert app.request("/rejected-events").json()["rejected_events"] == []


def test_a_replay_needs_write_and_an_event_of_the_own_app(app, empty_server):
    app.send(b"{}")
    (kept,) = app.request("/rejected-events").json()["rejected_events"]
    replay = f"/rejected-events/{kept['id']}/replay"
    assert app.server.request(replay, "POST", b"").status == 401
    assert app.request(replay, "POST", b"", token=app.create_token("read")).status == 403
    assert EventsApp(empty_server).request(replay, "POST", b"").status == 404
    assert app.request(replay, "POST", b"", token=app.create_token("admin")).status == 422
    assert app.request("/rejected-events/1/replay", "POST", b"").status == 404
    assert app.request(f"/rejected-events/{'9' * 19}/replay", "POST", b"").status == 404


def test_a_replay_of_an_event_that_was_sent_again_is_a_duplicate(app):
    app.send(event_body(sender_id="r"), kind="text/plain")
    (kept,) = app.request("/rejected-events").json()["rejected_events"]
    first = app.send(event_body(sender_id="r")).json()["id"]
    before = app.counts()
    answer = app.request(f"/rejected-events/{kept['id']}/replay", "POST", b"").json()
    assert answer == {"id": first, "status": "duplicate"}
    assert count_changes(before, app.counts()) == {"duplicate": 1, "rejected": -1}


def test_a_thousand_hostile_bodies_are_refused_with_a_reason(app):
    sent = [*hostile_bodies()]
    assert len(sent) > 1_000
    before = app.counts()
    connection = app.server.connect()
    headers = {"Authorization": f"Bearer {app.secret_token}", "Content-Type": "application/json"}
    items = 0
    for each in sent:
        connection.request("POST", "/events", each, headers)
        response = connection.getresponse()
        answer = json.loads(response.read())
        if response.status == 202:
            assert {one["status"] for one in answer["results"]} == {"rejected"}, each[:80]
            items += len(answer["results"])
        else:
            assert response.status in (400, 422), each[:80]
            assert answer["errors"] and all(one["message"] for one in answer["errors"])
            items += 1
    connection.close()
    assert count_changes(before, app.counts()) == {"received": items, "rejected": items}
    assert app.send(event_body()).status == 202


def test_event_counts_survive_a_restart(start_server):
    server = start_server()
    app = EventsApp(server)
    app.send(
        b"\n".join([event_body(sender_id="a"), event_body(sender_id="a"), b"{}"]),
        kind="application/x-ndjson",
    )
    before = app.counts()
    assert before == {"received": 3, "stored": 1, "duplicate": 1, "rejected": 1, "refused": 0}
    assert server.stop() == 0
    app.server = start_server(data=server.data)
    assert app.counts() == before
    assert app.send(event_body(sender_id="a")).json()["id"]
    assert app.counts()["duplicate"] == 2


def test_fast_routes_respond_the_same_on_tornados_http_server(start_server):
    app = EventsApp(start_server("--server", "tornado"))
    assert app.send(event_body()).status == 202
    assert app.send(b"{}").status == 422
    assert app.send(b"[" + event_body() + b",{}]").json()["results"][1]["status"] == "rejected"
    assert app.server.request("/events", "POST", event_body()).status == 401
    assert app.request("/events", "PATCH").status == 405
