"""SQL injection: what a request says is a value of a statement, never a part of it."""

import sqlite3
from urllib.parse import quote, urlencode

import pytest

from tests.support.audience.audience_site import wait_for
from tests.support.web.attack_target import attack_event
from tests.support.web.route_table import ROUTE_CASES

PAYLOADS = [
    "' OR '1'='1",
    "' OR 1=1 --",
    "x' OR 'a' LIKE 'a",
    "') OR ('1'='1",
    "x' UNION SELECT name FROM sqlite_master --",
    "'; DROP TABLE event; --",
    "'; DELETE FROM user; --",
    "1; ATTACH DATABASE '/tmp/evil-of-marquee.db' AS evil; --",
    "1 OR 1=1",
    "0 UNION SELECT digest FROM user",
    '" OR ""="',
    "`; --",
    "%' ESCAPE '%' OR 1=1 --",
    "' AND (SELECT count(*) FROM event a, event b, event c) > 0 --",
    "'||(SELECT digest FROM user)||'",
    "\\'; --",
    "\u2019 OR 1=1 --",
    "a\0' OR 1=1 --",
]
# What queries and forms take, wherever.
NAMES = ("session_id", "category", "name", "app", "source", "from", "to", "limit", "cursor",
         "order", "who", "before", "slot", "apikey", "host", "path", "date", "days", "story_id",
         "token", "id", "after", "start", "window")  # fmt: skip
ASKED = [row for row in ROUTE_CASES if row.method == "GET" and "stream" not in row.path
         and row.path != "/admin/live"]  # fmt: skip


@pytest.mark.parametrize("payload", PAYLOADS, ids=range(len(PAYLOADS)))
def test_no_address_is_a_part_of_a_statement(target, payload):
    said = quote(payload, safe="")
    for row in ASKED:
        path = row.path.partition("?")[0]
        places = [f"{path}?{urlencode(dict.fromkeys(NAMES, payload))}"]
        if "(" in row.pattern:
            places.append(f"{path.rpartition('/')[0]}/{said}")
        for place in places:
            ours = path.startswith("/admin")
            response = (
                target.owner.get(place) if ours else target.call(place, token=target.admin_token)
            )
            assert response.status < 500, (place, response.text)
            assert "$argon2" not in response.text, place
            assert "syntax error" not in response.text, place


@pytest.mark.parametrize("payload", PAYLOADS, ids=range(len(PAYLOADS)))
def test_what_is_asked_for_is_what_was_said(target, payload):
    target.send(attack_event(category="plain", name="plain"))
    for name in ("category", "name", "session_id"):
        path = f"/events?{urlencode({name: payload})}"
        assert target.call(path).json() == {"events": [], "cursor": None}
    if "\0" in payload:
        return
    (stored,) = target.send(attack_event(category=payload, name=payload, session_id=payload))
    assert stored["status"] == "accepted"
    found = target.call(f"/events?{urlencode({'category': payload})}").json()["events"]
    assert [each["id"] for each in found] == [stored["id"]]
    # And only that is forgotten.
    gone = target.call(f"/events?{urlencode({'session_id': payload})}", "DELETE").json()
    assert gone["events"] == 1
    assert target.call("/events?category=plain").json()["events"]


def test_nothing_was_lost_or_made(target):
    wait_for(lambda: target.server.request("/readyz").status == 200)
    assert "owner" in target.owner.get("/admin/users").text
    with sqlite3.connect(f"file:{target.server.data}/marquee.db?mode=ro", uri=True) as connection:
        tables = {row[0] for row in connection.execute("SELECT name FROM sqlite_schema")}
        assert {"event", "user", "app"} <= tables
        assert connection.execute("SELECT count(*) FROM user").fetchone()[0] >= 1
    connection.close()


@pytest.mark.parametrize("payload", PAYLOADS[:5])
def test_in_a_statement_that_is_put_together_they_would_do_harm(payload: str) -> None:
    """The control: what of them is of SQLite's kind finds rows, or breaks the statement."""
    connection = sqlite3.connect(":memory:")
    connection.execute("CREATE TABLE event (name TEXT)")
    connection.execute("INSERT INTO event VALUES ('plain')")
    try:
        harmful = connection.execute(f"SELECT name FROM event WHERE (name = '{payload}')")
        assert harmful.fetchall()
    except sqlite3.OperationalError:
        found = connection.execute(f"SELECT name FROM event WHERE name = '{payload}'").fetchall()
        assert found
    finally:
        connection.close()
