"""Open redirects: nothing that a request says leads away from here, or into a script.

Clicks lead to the stored target only: see tests/banners/test_campaign_page.py.
"""

import re
from urllib.parse import urljoin, urlsplit

import pytest

from tests.support.web.admin_session import AdminBrowser, owner_credentials, page_text
from tests.support.web.attack_target import AttackTarget

ELSEWHERE = [
    "https://evil.example/",
    "//evil.example/",
    "///evil.example/",
    "////evil.example",
    "/\\evil.example",
    "\\\\evil.example",
    "/\t/evil.example",
    "/%09/evil.example",
    "/admin/../..//evil.example",
    "https:evil.example",
    "http:/evil.example",
    "javascript:alert(1)",
    "data:text/html,<script>alert(1)</script>",
    "/admin/\r\nLocation: https://evil.example/",
    "/admin@evil.example",
    "@evil.example",
    ".evil.example",
    "https://127.0.0.1@evil.example/",
    "/admin/\u2028//evil.example",
    "／／evil.example",
]
# Addresses of ours, whose own paths say something about where to go.
OURS = ["{}", "/admin/..{}", "/admin{}", "/campaigns/1{}", "/static{}", "/api/v1/docs{}", "/live{}"]


def leads(response, at: str = "http://marquee.example/x") -> str:
    """The host to which a browser would go on from an response, empty for none."""
    location = response.headers["Location"]
    if location is None:
        return ""
    # As browsers read it: without tabs and ends of lines, and with slashes the right way round.
    plain = re.sub(r"[\t\r\n]", "", location).strip().replace("\\", "/")
    found = urlsplit(urljoin(at, plain))
    return found.hostname or found.scheme if found.scheme in ("http", "https") else found.scheme


def logged_in(target: AttackTarget, wanted: str) -> str:
    """Where one gets by logging in with this `next`."""
    name, password = owner_credentials(target.server)
    response = AdminBrowser(target.server).post(
        "/admin/login", name=name, password=password, next=wanted
    )
    return leads(response)


@pytest.mark.parametrize("wanted", ELSEWHERE)
def test_a_login_leads_to_a_page_of_ours(target, wanted):
    assert logged_in(target, wanted) == "marquee.example"


@pytest.mark.parametrize("there", OURS)
@pytest.mark.parametrize("path", ["//evil.example", "//evil.example/", "//evil.example/%2e%2e"])
def test_no_path_of_ours_leads_elsewhere(target, there, path):
    place = there.format(path)
    for visitor in (AdminBrowser(target.server), target.owner):
        assert leads(visitor.get(place), f"http://marquee.example{place}") in (
            "",
            "marquee.example",
        )


@pytest.mark.parametrize("argument", ["next", "url", "to", "target", "return", "redirect_uri"])
def test_no_argument_leads_elsewhere(target, argument):
    for path in ("/", "/campaigns/1/", "/campaigns/1/banners/1/click", "/admin/", "/admin/login"):
        for visitor in (AdminBrowser(target.server), target.owner):
            response = visitor.get(f"{path}?{argument}=https://evil.example/")
            assert "evil" not in leads(response)


NO_TARGETS = [
    "javascript:alert(1)",
    "java\tscript:alert(1)",
    "data:text/html,x",
    "vbscript:x",
    "//evil.example/",
    "/\\evil.example",
    "https:evil.example",
    "http://",
    "ftp://x/",
    "file:///etc/passwd",
    "https://x.example/\r\nSet-Cookie: a=b",
    "https://x y/",
]


def test_a_target_that_is_no_address_of_the_web_is_rejected(target):
    first = 900_000
    rows = [f'{first + n},"{url}"' for n, url in enumerate(NO_TARGETS)]
    content = "\r\n".join(["banner_id,url", f"{first - 1},https://right.example/", *rows, ""])
    page = target.wait_for_upload(target.upload(("targets.csv", content.encode())))
    # One of them is two lines of a file.
    assert f"1 row stored, 0 duplicates, {len(NO_TARGETS) + 1} rejected" in page_text(page)


def test_without_the_guard_a_login_leads_anywhere(weakened):
    assert logged_in(weakened, "https://evil.example/") == "evil.example"
    assert logged_in(weakened, "//evil.example/") == "evil.example"
