"""SQL injection: request values are parameters of statements, never SQL."""

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
# Parameters of all queries.
PARAMETERS = ("session_id", "category", "name", "app", "source", "from", "to", "limit", "cursor",
         "order", "who", "before", "slot", "apikey", "host", "path", "date", "days", "story_id",
         "token", "id", "after", "start", "window")  # fmt: skip
GET_ROUTES = [row for row in ROUTE_CASES if row.method == "GET" and "stream" not in row.path
         and row.path != "/admin/live"]  # fmt: skip


@pytest.mark.parametrize("payload", PAYLOADS, ids=range(len(PAYLOADS)))
def test_url_does_not_change_sql(target, payload):
    quoted = quote(payload, safe="")
    for row in GET_ROUTES:
        path = row.path.partition("?")[0]
        urls = [f"{path}?{urlencode(dict.fromkeys(PARAMETERS, payload))}"]
        if "(" in row.pattern:
            urls.append(f"{path.rpartition('/')[0]}/{quoted}")
        for url in urls:
            is_admin_page = path.startswith("/admin")
            response = (
                target.owner.get(url)
                if is_admin_page
                else target.call(url, token=target.admin_token)
            )
            assert response.status < 500, (url, response.text)
            assert "$argon2" not in response.text, url
            assert "syntax error" not in response.text, url


@pytest.mark.parametrize("payload", PAYLOADS, ids=range(len(PAYLOADS)))
def test_filters_match_payload_literally(target, payload):
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
    # Only this session is erased.
    erased = target.call(f"/events?{urlencode({'session_id': payload})}", "DELETE").json()
    assert erased["events"] == 1
    assert target.call("/events?category=plain").json()["events"]


def test_database_is_intact_afterwards(target):
    wait_for(lambda: target.server.request("/readyz").status == 200)
    assert "owner" in target.owner.get("/admin/users").text
    with sqlite3.connect(f"file:{target.server.data}/marquee.db?mode=ro", uri=True) as connection:
        tables = {row[0] for row in connection.execute("SELECT name FROM sqlite_schema")}
        assert {"event", "user", "app"} <= tables
        assert connection.execute("SELECT count(*) FROM user").fetchone()[0] >= 1
    connection.close()


@pytest.mark.parametrize("payload", PAYLOADS[:5])
def test_payloads_change_concatenated_sql(payload: str) -> None:
    """Control: payloads for SQLite find rows, or break the statement."""
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
