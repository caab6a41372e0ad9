"""CSRF: what another site has a browser send changes nothing, with or without the cookie."""

import contextlib
import json

import pytest

from tests.support.audience.audience_site import wait_for
from tests.support.web.attack_target import AttackTarget, OtherSite
from tests.support.web.route_table import OWNER, ROUTE_CASES

# All that an owner changes by a form, and what begins and ends a session.
FORMS = [row for row in ROUTE_CASES if row.method == "POST" and row.path.startswith("/admin")]
PATHS = [row.path for row in FORMS]
# What a browser tells of where a form comes from, as another site can have it.
FROM = {
    "another site": {"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"},
    "a site beside": {"Sec-Fetch-Site": "same-site", "Origin": "http://evil.127.0.0.1"},
    "another port": {"Origin": "http://127.0.0.1:1"},
    "another scheme": {"Sec-Fetch-Site": "cross-site", "Origin": "https://{host}"},
    "another site, without Sec-Fetch": {"Origin": "https://evil.example"},
    "a sandboxed frame": {"Sec-Fetch-Site": "cross-site", "Origin": "null"},
    "a sandboxed frame, without Sec-Fetch": {"Origin": "null"},
    "who hides it all": {},
    "who says only a referrer": {"Referer": "http://{host}/admin/"},
    "a name that begins alike": {"Origin": "http://{host}.evil.example"},
    "a name that ends alike": {"Origin": "http://evil.example#{host}"},
    "two at once": {"Origin": "http://{host}, https://evil.example"},
    "nobody": {"Origin": ""},
    "a word that is none": {"Sec-Fetch-Site": "same-origin, cross-site"},
}
PART = b'--x\r\nContent-Disposition: form-data; name="name"\r\n\r\nForged\r\n--x--\r\n'
KINDS = {
    "application/x-www-form-urlencoded": b"name=Forged",
    "text/plain": b"name=Forged",
    "multipart/form-data; boundary=x": PART,
}
FORM = "application/x-www-form-urlencoded"


def post(target: AttackTarget, path: str, headers: dict[str, str], body: bytes) -> int:
    host = f"127.0.0.1:{target.server.port}"
    said = {name: value.format(host=host) for name, value in headers.items()}
    with contextlib.closing(target.server.connect()) as connection:
        connection.request("POST", path, body, {"Cookie": target.owner.cookie, **said})
        return connection.getresponse().status


def changes(target: AttackTarget) -> str:
    """What owners changed, and whether the session is still there."""
    page = target.owner.get("/admin/audit")
    assert page.status == 200
    return page.text


@pytest.mark.parametrize("said", FROM.values(), ids=FROM)
def test_no_form_of_another_site_is_taken(target, said):
    before = changes(target)
    for path in PATHS:
        for kind, body in KINDS.items():
            status = post(target, path, {"Content-Type": kind, **said}, body)
            assert status == 403, (path, kind)
    assert changes(target) == before


def test_these_are_all_forms_there_are():
    assert len(PATHS) == len(set(PATHS)) >= 15
    assert {row.path for row in ROUTE_CASES if row.callers == OWNER and row.method != "GET"} <= set(
        PATHS
    )


def test_to_look_changes_nothing(target):
    """Whatever a link or an image leads to."""
    before = changes(target)
    for path in PATHS:
        for method in ("GET", "HEAD", "OPTIONS"):
            with contextlib.closing(target.server.connect()) as connection:
                said = {"Cookie": target.owner.cookie, "Sec-Fetch-Site": "cross-site"}
                connection.request(
                    method, f"{path}?name=Forged&action=save&scopes=admin", None, said
                )
                connection.getresponse().read()
    assert changes(target) == before


@pytest.mark.parametrize(
    "override", ["X-HTTP-Method-Override", "X-Method-Override", "X-HTTP-Method"]
)
def test_no_word_makes_a_post_of_a_get(target, override):
    before = changes(target)
    for path in PATHS:
        with contextlib.closing(target.server.connect()) as connection:
            said = {"Cookie": target.owner.cookie, override: "POST"}
            connection.request("GET", f"{path}?_method=POST&name=Forged", None, said)
            connection.getresponse().read()
    assert changes(target) == before


@pytest.mark.parametrize("kind", ["application/json", *KINDS])
def test_the_api_does_not_know_a_browser_by_its_cookie(target, kind):
    body = KINDS.get(kind, json.dumps({"category": "a", "name": "b"}).encode())
    for path in ("/events", "/api/v1/conversions", "/api/v1/schemas/a/b/dry-run"):
        for said in FROM.values():
            assert post(target, path, {"Content-Type": kind, **said}, body) in (401, 403)


def lured(driver, target: AttackTarget, name: str, host: str) -> bool:
    """Whether an owner who opens another site's page makes an app without knowing."""
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
def test_a_browser_that_is_lured_changes_nothing(driver, target, host):
    """From another port of this host, where the cookie comes along, and from another site."""
    assert not lured(driver, target, "Lured", host)


def test_without_the_guard_it_does(driver, weakened):
    assert lured(driver, weakened, "Lured", "127.0.0.1")
    # And that alone is `SameSite`: from another site the cookie does not come along.
    assert not lured(driver, weakened, "Elsewhere", "localhost")
    said = FROM["another site"]
    assert post(weakened, "/admin/apps", {"Content-Type": FORM, **said}, KINDS[FORM]) == 200
