"""CSRF: requests that another site makes a browser send change nothing, cookie or not."""

import contextlib
import json

import pytest

from tests.support.audience.audience_site import wait_for
from tests.support.web.attack_target import AttackTarget, OtherSite
from tests.support.web.route_table import OWNER, ROUTE_CASES

# Every form of the admin pages, login and logout included.
FORMS = [row for row in ROUTE_CASES if row.method == "POST" and row.path.startswith("/admin")]
PATHS = [row.path for row in FORMS]
# Headers about the origin of a form that another site can cause.
ORIGINS = {
    "another site": {"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"},
    "a sibling site": {"Sec-Fetch-Site": "same-site", "Origin": "http://evil.127.0.0.1"},
    "another port": {"Origin": "http://127.0.0.1:1"},
    "another scheme": {"Sec-Fetch-Site": "cross-site", "Origin": "https://{host}"},
    "another site, without Sec-Fetch": {"Origin": "https://evil.example"},
    "a sandboxed frame": {"Sec-Fetch-Site": "cross-site", "Origin": "null"},
    "a sandboxed frame, without Sec-Fetch": {"Origin": "null"},
    "no origin headers": {},
    "only a referrer": {"Referer": "http://{host}/admin/"},
    "own host as a prefix": {"Origin": "http://{host}.evil.example"},
    "own host as a suffix": {"Origin": "http://evil.example#{host}"},
    "two origins": {"Origin": "http://{host}, https://evil.example"},
    "empty origin": {"Origin": ""},
    "invalid Sec-Fetch-Site": {"Sec-Fetch-Site": "same-origin, cross-site"},
}
MULTIPART_BODY = b'--x\r\nContent-Disposition: form-data; name="name"\r\n\r\nForged\r\n--x--\r\n'
BODIES = {
    "application/x-www-form-urlencoded": b"name=Forged",
    "text/plain": b"name=Forged",
    "multipart/form-data; boundary=x": MULTIPART_BODY,
}
FORM_TYPE = "application/x-www-form-urlencoded"


def post(target: AttackTarget, path: str, headers: dict[str, str], body: bytes) -> int:
    host = f"127.0.0.1:{target.server.port}"
    sent_headers = {name: value.format(host=host) for name, value in headers.items()}
    with contextlib.closing(target.server.connect()) as connection:
        connection.request("POST", path, body, {"Cookie": target.owner.cookie, **sent_headers})
        return connection.getresponse().status


def audit_log(target: AttackTarget) -> str:
    """Return the audit log; check that the session is still valid."""
    page = target.owner.get("/admin/audit")
    assert page.status == 200
    return page.text


@pytest.mark.parametrize("origin", ORIGINS.values(), ids=ORIGINS)
def test_cross_site_forms_are_rejected(target, origin):
    before = audit_log(target)
    for path in PATHS:
        for kind, body in BODIES.items():
            status = post(target, path, {"Content-Type": kind, **origin}, body)
            assert status == 403, (path, kind)
    assert audit_log(target) == before


def test_every_owner_form_is_covered():
    assert len(PATHS) == len(set(PATHS)) >= 15
    assert {row.path for row in ROUTE_CASES if row.callers == OWNER and row.method != "GET"} <= set(
        PATHS
    )


def test_get_requests_change_nothing(target):
    """Links and images of other sites send GET requests."""
    before = audit_log(target)
    for path in PATHS:
        for method in ("GET", "HEAD", "OPTIONS"):
            with contextlib.closing(target.server.connect()) as connection:
                headers = {"Cookie": target.owner.cookie, "Sec-Fetch-Site": "cross-site"}
                connection.request(
                    method, f"{path}?name=Forged&action=save&scopes=admin", None, headers
                )
                connection.getresponse().read()
    assert audit_log(target) == before


@pytest.mark.parametrize(
    "override", ["X-HTTP-Method-Override", "X-Method-Override", "X-HTTP-Method"]
)
def test_method_override_is_ignored(target, override):
    before = audit_log(target)
    for path in PATHS:
        with contextlib.closing(target.server.connect()) as connection:
            headers = {"Cookie": target.owner.cookie, override: "POST"}
            connection.request("GET", f"{path}?_method=POST&name=Forged", None, headers)
            connection.getresponse().read()
    assert audit_log(target) == before


@pytest.mark.parametrize("kind", ["application/json", *BODIES])
def test_api_does_not_accept_session_cookie(target, kind):
    body = BODIES.get(kind, json.dumps({"category": "a", "name": "b"}).encode())
    for path in ("/events", "/api/v1/conversions", "/api/v1/schemas/a/b/dry-run"):
        for origin in ORIGINS.values():
            assert post(target, path, {"Content-Type": kind, **origin}, body) in (401, 403)


def is_app_created_by_other_site(driver, target: AttackTarget, name: str, host: str) -> bool:
    """Return whether another site's page creates an app when an owner opens it."""
    root = f"http://127.0.0.1:{target.server.port}"
    driver.get(f"{root}/admin/login")
    cookie, _, value = target.owner.cookie.partition("=")
    driver.add_cookie(
        {"name": cookie, "value": value, "path": "/admin", "sameSite": "Lax", "httpOnly": True}
    )
    site = OtherSite(
        f'<form method="post" action="{root}/admin/apps">'
        f'<input type="hidden" name="name" value="{name}"></form>'
        "<script>document.forms[0].submit()</script>"
    )
    try:
        driver.get(f"http://{host}:{site.server_port}/")
        wait_for(lambda: driver.current_url == f"{root}/admin/apps")
    finally:
        site.stop()
    return name in target.owner.get("/admin/apps").text


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_form_of_other_site_in_browser_changes_nothing(driver, target, host):
    """Another port of the same host gets the cookie, another site does not."""
    assert not is_app_created_by_other_site(driver, target, "Lured", host)


def test_unprotected_server_accepts_form_of_other_site(driver, unprotected):
    assert is_app_created_by_other_site(driver, unprotected, "Lured", "127.0.0.1")
    # `SameSite` alone: another site does not get the cookie.
    assert not is_app_created_by_other_site(driver, unprotected, "Elsewhere", "localhost")
    origin = ORIGINS["another site"]
    assert (
        post(unprotected, "/admin/apps", {"Content-Type": FORM_TYPE, **origin}, BODIES[FORM_TYPE])
        == 200
    )
