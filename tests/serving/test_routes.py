"""Every route has a row: who may call it, and by what. A route without one fails here."""

import asyncio
import contextlib
import time
from pathlib import Path
from typing import NamedTuple

import pytest
from test_events import App
from visitor import FORM, Visitor, owner_of

from app.settings import Settings
from handlers.common.trailing_slash import optional_slash
from server import DATABASE_FILE, PROJECTIONS_FILE, Marquee
from store.sqlite.core.database import Database
from store.sqlite.events.event_log import EventLog
from store.sqlite.events.event_schemas import EventSchemaStore
from store.sqlite.projections.projections import Projections

# Who may call: anyone; a token with one of these scopes; an owner who is logged in, by a cookie.
ANYONE, OWNER = frozenset({"anyone", "write", "read", "admin", "owner"}), frozenset({"owner"})
WRITE, READ = frozenset({"write", "admin"}), frozenset({"read", "admin"})
# These take `write` alone, or `admin` alone.
SEND, RULE = frozenset({"write"}), frozenset({"admin"})


class Row(NamedTuple):
    """A method of a route, an address for it, and who may call it there."""

    method: str
    pattern: str
    path: str
    who: frozenset[str]


EVENTS = r"(?:/api/v1)?/events"
REJECTED = r"(?:/api/v1)?/rejected-events"
SCHEMAS = r"/api/v1/schemas"
TOKEN = r"([\w.~-]{1,100})"
HOST = r"([^/]{1,260})"
ROWS = [
    Row("GET", r"/", "/", ANYONE),
    Row("GET", r"/healthz", "/healthz", ANYONE),
    Row("GET", r"/readyz", "/readyz", ANYONE),
    Row("GET", r"/metrics", "/metrics", ANYONE),
    Row("GET", r"/api/v1/openapi\.json", "/api/v1/openapi.json", ANYONE),
    Row("GET", r"/api/v1/docs", "/api/v1/docs/", ANYONE),
    Row("GET", r"/static/(.*)", "/static/marquee.css", ANYONE),
    Row("GET", r"/banners/(\d{1,19})", "/banners/101", ANYONE),
    Row("GET", r"/campaigns/(\d{1,19})", "/campaigns/1/", ANYONE),
    Row(
        "GET",
        r"/campaigns/(\d{1,19})/banners/(\d{1,19})/click",
        "/campaigns/1/banners/101/click",
        ANYONE,
    ),
    # With a token, which is one with `read`, figures too (test_pages.py).
    Row(
        "GET",
        r"/api/v1/campaigns/(\d{1,19})/candidates",
        "/api/v1/campaigns/1/candidates",
        ANYONE - {"write", "admin"},
    ),
    # An app's public token in the address is all that these ask for.
    *(
        Row(method, pattern.format(TOKEN), pattern.format("token_1"), ANYONE)
        for methods, pattern in (
            ("GET OPTIONS", "/api/v1/stories/{}"),
            ("GET OPTIONS", "/api/v1/stories/cached/{}"),
            ("GET", "/api/v1/stories/{}/counts"),
            ("GET", "/api/v1/dau/{}"),
            ("POST OPTIONS", "/api/v1/event/{}"),
        )
        for method in methods.split()
    ),
    # And these for one as `apikey`: without, they are 401 (test_audience.py).
    *(
        Row("GET", pattern, path + "?host=played.example&apikey=token_played", ANYONE)
        for pattern, path in (
            (r"/api/v1\.0/increasingconcurrents", "/api/v1.0/increasingconcurrents"),
            (r"/live/toppages", "/live/toppages/"),
            (r"/live/toppages/v3", "/live/toppages/v3/"),
            (rf"/live/{HOST}", "/live/played.example"),
            (rf"/live/{HOST}/stream", "/live/played.example/stream"),
            (rf"/api/v1/audience/{HOST}/rising", "/api/v1/audience/played.example/rising"),
            (rf"/api/v1/audience/{HOST}/history", "/api/v1/audience/played.example/history"),
            (rf"/api/v1/audience/{HOST}/stream", "/api/v1/audience/played.example/stream"),
        )
    ),
    Row("GET", r"/static/beacon\.js", "/static/beacon.js", ANYONE),
    Row("POST", rf"/api/v1/beacon/{TOKEN}", "/api/v1/beacon/token_played", ANYONE),
    Row("OPTIONS", rf"/api/v1/beacon/{TOKEN}", "/api/v1/beacon/token_played", ANYONE),
    Row("POST", r"/api/v1/conversions", "/api/v1/conversions", SEND),
    Row("POST", rf"{EVENTS}", "/events", SEND),
    Row("GET", rf"{EVENTS}", "/events", READ),
    Row("DELETE", rf"{EVENTS}", "/events?session_id=nobody", WRITE),
    Row("GET", rf"{EVENTS}/export", "/events/export", READ),
    Row("GET", rf"{EVENTS}/(\d{{1,19}})", "/events/1", READ),
    Row("PUT", rf"{EVENTS}/(\d{{1,19}})", "/events/1", WRITE),
    Row("DELETE", rf"{EVENTS}/(\d{{1,19}})", "/events/1", WRITE),
    Row("GET", REJECTED, "/rejected-events", READ),
    Row("POST", rf"{REJECTED}/(\d{{1,19}})/replay", "/rejected-events/1/replay", WRITE),
    Row("GET", SCHEMAS, "/api/v1/schemas", RULE),
    Row("GET", rf"{SCHEMAS}/([^/]+)/([^/]+)", "/api/v1/schemas/a/b", RULE),
    Row("PUT", rf"{SCHEMAS}/([^/]+)/([^/]+)", "/api/v1/schemas/a/b", RULE),
    Row("DELETE", rf"{SCHEMAS}/([^/]+)/([^/]+)", "/api/v1/schemas/a/b", RULE),
    Row("POST", rf"{SCHEMAS}/([^/]+)/([^/]+)/dry-run", "/api/v1/schemas/a/b/dry-run", RULE),
    Row("GET", r"/admin/login", "/admin/login", ANYONE),
    Row("POST", r"/admin/login", "/admin/login", ANYONE),
    Row("POST", r"/admin/logout", "/admin/logout", ANYONE),
    # By the link's token alone: to others there is nothing (test_login.py).
    Row("GET", r"/admin/setup", "/admin/setup", ANYONE),
    Row("POST", r"/admin/setup", "/admin/setup", ANYONE),
    *(
        Row(method, pattern, path or pattern, OWNER)
        for methods, pattern, path in (
            ("GET", r"/admin", "/admin/"),
            ("GET", r"/admin/live", ""),
            ("GET", r"/admin/health", ""),
            ("GET", r"/admin/audit", ""),
            ("GET POST", r"/admin/account", ""),
            ("GET POST", r"/admin/users", ""),
            ("GET POST", r"/admin/users/remove", ""),
            ("GET", r"/admin/campaigns", ""),
            ("GET", r"/admin/campaigns/(\d{1,19})", "/admin/campaigns/1"),
            ("GET", r"/admin/campaigns/(\d{1,19})/preview", "/admin/campaigns/1/preview"),
            ("GET POST", r"/admin/campaigns/upload", ""),
            ("GET", r"/admin/uploads/(\w{1,40})", "/admin/uploads/x"),
            ("GET", r"/admin/imports", ""),
            ("GET", r"/admin/imports/(\d{1,18})", "/admin/imports/1"),
            ("GET POST", r"/admin/apps", ""),
            ("GET POST", r"/admin/apps/(\d{1,18})", "/admin/apps/1"),
            ("POST", r"/admin/apps/(\d{1,18})/tokens", "/admin/apps/1/tokens"),
            ("GET POST", r"/admin/apps/(\d{1,18})/revoke", "/admin/apps/1/revoke"),
            ("GET", r"/admin/audience", ""),
            ("GET", r"/admin/stories", ""),
            ("GET POST", r"/admin/stories/edit", ""),
            ("GET POST", r"/admin/stories/(\d{1,19})/remove", "/admin/stories/999/remove"),
            ("GET", r"/admin/events", ""),
            ("GET", r"/admin/events/(\d{1,19})", "/admin/events/1"),
            ("GET POST", r"/admin/events/(\d{1,19})/delete", "/admin/events/1/delete"),
            ("GET", r"/admin/sessions", "/admin/sessions?id=x"),
            ("GET POST", r"/admin/sessions/erase", ""),
            ("GET", r"/admin/schemas", ""),
            ("GET POST", r"/admin/schemas/edit", ""),
            ("GET", r"/admin/rejected-events", ""),
            ("POST", r"/admin/rejected-events/replay", ""),
            ("GET POST", r"/admin/rejected-events/(\d{1,19})", "/admin/rejected-events/1"),
        )
        for method in methods.split()
    ),
]
IDS = [f"{row.method} {row.path}" for row in ROWS]
# An image is sent as what it is: opened by itself it may do nothing.
SANDBOXED = {r"/banners/(\d{1,19})"}
# Kept, and asked for again by its ETag.
ASKED_AGAIN = {
    f"/api/v1/stories/{TOKEN}",
    f"/api/v1/stories/cached/{TOKEN}",
    r"/api/v1/openapi\.json",
}
SECURITY = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}


def routes(tmp_path: Path) -> set[tuple[str, str]]:
    """All that the application answers, by lane or handler: (method, pattern)."""

    async def look() -> set[tuple[str, str]]:
        database = await Database.open(tmp_path / DATABASE_FILE)
        views = await Projections.open(database, tmp_path / PROJECTIONS_FILE)
        log, rules = await EventLog.open(database), await EventSchemaStore.open(database)
        marquee = Marquee(Settings(), database, tmp_path, log, rules, views, b"salt")
        found = {(lane.method, lane.pattern) for lane in marquee.lanes}
        for rule in marquee.application().wildcard_router.rules:
            if hasattr(rule.matcher, "regex"):
                pattern = rule.matcher.regex.pattern.removesuffix("$")
                found |= {(method, pattern) for method in rule.target.own - {"HEAD"}}
        await views.close()
        await database.close()
        return found

    return asyncio.run(look())


def test_every_route_has_a_row_and_every_row_a_route(tmp_path):
    rows = [(row.method, optional_slash(row.pattern)) for row in ROWS]
    assert len(rows) == len(set(rows))
    assert set(rows) == routes(tmp_path)


@pytest.fixture(scope="module")
def keys(sampled) -> dict[str, dict[str, str]]:
    """What each asker shows."""
    app = App(sampled)
    shown = {
        scope: {"Authorization": f"Bearer {app.token(scope)}"}
        for scope in ("write", "read", "admin")
    }
    time.sleep(0.3)
    owner = Visitor(sampled).log_in(*owner_of(sampled))
    return {"anyone": {}, **shown, "owner": {"Cookie": owner.cookie}}


def ask(server, row: Row, key: dict[str, str]):
    """Only the head is read of what does not end."""
    named = {**key, **(FORM if row.path.startswith("/admin") and row.method == "POST" else {})}
    with contextlib.closing(server.connect()) as connection:
        headers = {name.replace("_", "-"): value for name, value in named.items()}
        connection.request(
            row.method, row.path, b"" if row.method in ("POST", "PUT") else None, headers
        )
        return connection.getresponse()


def let_in(row: Row, answer) -> bool:
    location = answer.headers["Location"] or ""
    away = answer.status == 303 and location.startswith("/admin/login") and row.who == OWNER
    return answer.status not in (401, 403) and not away


@pytest.mark.parametrize("row", ROWS, ids=IDS)
def test_it_is_for_those_whom_its_row_names_and_for_nobody_else(sampled, keys, row):
    for name, key in keys.items():
        if row.path == "/admin/logout" and name == "owner":
            continue  # the others need the session
        answer = ask(sampled, row, key)
        allowed = name in row.who
        assert let_in(row, answer) == allowed, f"{name}: {answer.status}"
        if not allowed and row.who != OWNER:
            assert answer.status == (403 if "Authorization" in key else 401), name


SLASHED = [row for row in ROWS if row.path != "/" and not row.path.startswith("/static/")]


@pytest.mark.parametrize("row", SLASHED, ids=[f"{row.method} {row.path}" for row in SLASHED])
def test_a_slash_at_the_end_of_an_address_makes_no_difference(sampled, row):
    """Asked without a token: who lacks one is refused by the same handler."""
    path, mark, query = row.path.partition("?")
    answers = []
    for each in (path.rstrip("/"), path.rstrip("/") + "/"):
        with contextlib.closing(sampled.connect()) as connection:
            named = FORM if row.path.startswith("/admin") and row.method == "POST" else {}
            headers = {name.replace("_", "-"): value for name, value in named.items()}
            connection.request(row.method, each + mark + query, headers=headers)
            answer = connection.getresponse()
            # Wrong logins of other tests may have used up what an address may try.
            status = 422 if answer.status == 429 else answer.status
            answers.append((status, answer.headers.get("Allow")))
            if answer.status == 404:
                assert b"There is no page or resource at this address" not in answer.read()
    assert answers[0] == answers[1]


@pytest.mark.parametrize("path", ["/events", "/api/v1/stories/token_1", "/admin/apps", "/healthz"])
def test_two_slashes_at_the_end_are_another_address(sampled, path):
    assert sampled.ask(f"{path}//").status == 404


@pytest.mark.parametrize("row", ROWS, ids=IDS)
@pytest.mark.parametrize("name", ["anyone", "admin", "owner"])
def test_every_answer_has_its_security_headers(sampled, keys, row, name):
    if row.path == "/admin/logout" and name == "owner":
        return
    answer = ask(sampled, row, keys[name])
    for header, value in SECURITY.items():
        assert answer.headers[header] == value, header
    policy = answer.headers["Content-Security-Policy"]
    if row.pattern in SANDBOXED:
        assert "sandbox" in policy and "default-src 'none'" in policy
    else:
        assert "default-src 'none'" in policy and "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
    if row.pattern not in SANDBOXED and not row.path.startswith("/static/"):
        # Stories are asked for again by their ETag; a preflight has an age of its own.
        kept = "no-cache" if row.pattern in ASKED_AGAIN else "no-store"
        assert row.method == "OPTIONS" or answer.headers["Cache-Control"] in (kept, "no-store")
    assert "Server" not in answer.headers
    assert "Access-Control-Allow-Origin" not in answer.headers


@pytest.mark.parametrize(
    "row",
    # Where the public token is in the address, no cookie is looked at, and other sites may ask.
    [row for row in ROWS if row.method not in ("GET", "OPTIONS") and TOKEN not in row.pattern],
)
def test_a_cookie_does_nothing_where_a_form_of_another_site_leads(sampled, keys, row):
    with contextlib.closing(sampled.connect()) as connection:
        headers = {**keys["owner"], "Sec-Fetch-Site": "cross-site", "Origin": "https://x.example"}
        connection.request(row.method, row.path, b"", headers)
        assert connection.getresponse().status in (401, 403)
