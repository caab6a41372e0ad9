"""Permissions of every route; a route without a row in the table fails."""

import asyncio
import contextlib
import time
from contextlib import AsyncExitStack
from typing import NamedTuple

import pytest

from app import lifecycle
from app.core import Core
from app.http_application import build_application
from app.settings import Settings
from handlers.common.trailing_slash import optional_slash
from server import FEATURES
from tests.support.events.events_api import EventsApp
from tests.support.web.admin_session import FORM_HEADERS, AdminBrowser, owner_credentials
from tests.support.web.route_table import OWNER, ROUTE_CASES, TOKEN, RouteCase

IDS = [f"{row.method} {row.path}" for row in ROUTE_CASES]
# An image opened directly must not run scripts.
SANDBOXED = {r"/banners/(\d{1,19})"}
# Cacheable, revalidated by ETag.
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


class RouteNames(NamedTuple):
    """The routes of all features, as (method, pattern), and the names that `/metrics` shows."""

    routes: set[tuple[str, str]]
    names: list[str]


@pytest.fixture(scope="module")
def declared(tmp_path_factory: pytest.TempPathFactory) -> RouteNames:
    data = tmp_path_factory.mktemp("routes")

    async def build() -> RouteNames:
        async with AsyncExitStack() as opened:
            core = await Core.open(Settings(data=str(data)), opened)
            lifecycle.build(core, FEATURES)
            routes = {(route.method, route.pattern) for route in core.fast_routes}
            names = [route.name for route in core.fast_routes]
            for rule in build_application(core).wildcard_router.rules:
                if hasattr(rule.matcher, "regex"):
                    pattern = rule.matcher.regex.pattern.removesuffix("$")
                    routes |= {(method, pattern) for method in rule.target.own_methods - {"HEAD"}}
            for feature in core.features:
                names += [route.name for route in (*feature.routes, *feature.admin_pages)]
        return RouteNames(routes, names)

    return asyncio.run(build())


def test_table_lists_every_declared_route(declared):
    rows = [(row.method, optional_slash(row.pattern)) for row in ROUTE_CASES]
    assert len(rows) == len(set(rows))
    assert set(rows) == declared.routes


def test_every_route_has_a_unique_name_in_metrics(declared):
    assert len(declared.names) == len(set(declared.names))


def test_metrics_label_requests_by_route_name(sample_server):
    for method, path in (("GET", "/readyz"), ("POST", "/healthz"), ("GET", "/nowhere")):
        sample_server.request(path, method=method)
    text = sample_server.request("/metrics").body.decode()
    for name, status in (("readyz", 200), ("healthz", 405), ("unknown", 404)):
        assert f'marquee_http_requests_total{{route="{name}",status="{status}"}}' in text


@pytest.fixture(scope="module")
def keys(sample_server) -> dict[str, dict[str, str]]:
    """The headers of each kind of client."""
    app = EventsApp(sample_server)
    shown = {
        scope: {"Authorization": f"Bearer {app.create_token(scope)}"}
        for scope in ("write", "read", "admin")
    }
    time.sleep(0.3)
    owner = AdminBrowser(sample_server).log_in(*owner_credentials(sample_server))
    return {"anyone": {}, **shown, "owner": {"Cookie": owner.cookie}}


def ask(server, row: RouteCase, key: dict[str, str]):
    """Read only the head of an endless response."""
    named = {
        **key,
        **(FORM_HEADERS if row.path.startswith("/admin") and row.method == "POST" else {}),
    }
    with contextlib.closing(server.connect()) as connection:
        headers = {name.replace("_", "-"): value for name, value in named.items()}
        connection.request(
            row.method, row.path, b"" if row.method in ("POST", "PUT") else None, headers
        )
        return connection.getresponse()


def let_in(row: RouteCase, answer) -> bool:
    location = answer.headers["Location"] or ""
    away = answer.status == 303 and location.startswith("/admin/login") and row.callers == OWNER
    return answer.status not in (401, 403) and not away


@pytest.mark.parametrize("row", ROUTE_CASES, ids=IDS)
def test_a_route_serves_only_the_clients_in_its_row(sample_server, keys, row):
    for name, key in keys.items():
        if row.path == "/admin/logout" and name == "owner":
            continue  # the others need the session
        answer = ask(sample_server, row, key)
        allowed = name in row.callers
        assert let_in(row, answer) == allowed, f"{name}: {answer.status}"
        if not allowed and row.callers != OWNER:
            assert answer.status == (403 if "Authorization" in key else 401), name


SLASHED = [row for row in ROUTE_CASES if row.path != "/" and not row.path.startswith("/static/")]


@pytest.mark.parametrize("row", SLASHED, ids=[f"{row.method} {row.path}" for row in SLASHED])
def test_every_route_accepts_a_trailing_slash(sample_server, row):
    """Without a token, the same handler refuses both."""
    path, mark, query = row.path.partition("?")
    answers = []
    for each in (path.rstrip("/"), path.rstrip("/") + "/"):
        with contextlib.closing(sample_server.connect()) as connection:
            named = FORM_HEADERS if row.path.startswith("/admin") and row.method == "POST" else {}
            headers = {name.replace("_", "-"): value for name, value in named.items()}
            connection.request(row.method, each + mark + query, headers=headers)
            answer = connection.getresponse()
            # Failed logins of other tests may have used up the attempts of the address.
            status = 422 if answer.status == 429 else answer.status
            answers.append((status, answer.headers.get("Allow")))
            if answer.status == 404:
                assert b"There is no page or resource at this address" not in answer.read()
    assert answers[0] == answers[1]


@pytest.mark.parametrize("path", ["/events", "/api/v1/stories/token_1", "/admin/apps", "/healthz"])
def test_two_trailing_slashes_are_another_path(sample_server, path):
    assert sample_server.request(f"{path}//").status == 404


@pytest.mark.parametrize("row", ROUTE_CASES, ids=IDS)
@pytest.mark.parametrize("name", ["anyone", "admin", "owner"])
def test_every_route_has_its_security_headers(sample_server, keys, row, name):
    if row.path == "/admin/logout" and name == "owner":
        return
    answer = ask(sample_server, row, keys[name])
    for header, value in SECURITY.items():
        assert answer.headers[header] == value, header
    policy = answer.headers["Content-Security-Policy"]
    if row.pattern in SANDBOXED:
        assert "sandbox" in policy and "default-src 'none'" in policy
    else:
        assert "default-src 'none'" in policy and "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
    if row.pattern not in SANDBOXED and not row.path.startswith("/static/"):
        # Stories are revalidated by ETag; a preflight has its own maximum age.
        kept = "no-cache" if row.pattern in ASKED_AGAIN else "no-store"
        assert row.method == "OPTIONS" or answer.headers["Cache-Control"] in (kept, "no-store")
    assert "Server" not in answer.headers
    assert "Access-Control-Allow-Origin" not in answer.headers


@pytest.mark.parametrize(
    "row",
    # Routes with a public token ignore cookies and accept other sites.
    [
        row
        for row in ROUTE_CASES
        if row.method not in ("GET", "OPTIONS") and TOKEN not in row.pattern
    ],
)
def test_a_cross_site_form_does_not_use_the_session_cookie(sample_server, keys, row):
    with contextlib.closing(sample_server.connect()) as connection:
        headers = {**keys["owner"], "Sec-Fetch-Site": "cross-site", "Origin": "https://x.example"}
        connection.request(row.method, row.path, b"", headers)
        assert connection.getresponse().status in (401, 403)
