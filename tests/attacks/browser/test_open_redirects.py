"""Open redirects: no request value redirects to another site or a script.

tests/banners/test_campaign_page.py tests that clicks redirect only to stored targets.
"""

import re
from urllib.parse import urljoin, urlsplit

import pytest

from tests.support.server_process import ServerResponse
from tests.support.web.admin_session import AdminBrowser, owner_credentials, page_text
from tests.support.web.attack_target import AttackTarget

OTHER_SITES = [
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
# Paths that redirect or that a browser might normalize.
PATH_PREFIXES = [
    "{}",
    "/admin/..{}",
    "/admin{}",
    "/campaigns/1{}",
    "/static{}",
    "/api/v1/docs{}",
    "/live{}",
]


def redirect_host(response: ServerResponse, base: str = "http://marquee.example/x") -> str:
    """Return the host that a browser is redirected to, or an empty string."""
    location = response.headers["Location"]
    if location is None:
        return ""
    # Browsers remove tabs and line breaks, and treat backslashes as slashes.
    normalized = re.sub(r"[\t\r\n]", "", location).strip().replace("\\", "/")
    url = urlsplit(urljoin(base, normalized))
    return url.hostname or url.scheme if url.scheme in ("http", "https") else url.scheme


def redirect_after_login(target: AttackTarget, next_url: str) -> str:
    """Return the host that a login with this `next` redirects to."""
    name, password = owner_credentials(target.server)
    response = AdminBrowser(target.server).post(
        "/admin/login", name=name, password=password, next=next_url
    )
    return redirect_host(response)


@pytest.mark.parametrize("next_url", OTHER_SITES)
def test_login_redirects_to_own_page(target, next_url):
    assert redirect_after_login(target, next_url) == "marquee.example"


@pytest.mark.parametrize("prefix", PATH_PREFIXES)
@pytest.mark.parametrize("path", ["//evil.example", "//evil.example/", "//evil.example/%2e%2e"])
def test_no_path_redirects_to_other_site(target, prefix, path):
    url = prefix.format(path)
    for browser in (AdminBrowser(target.server), target.owner):
        assert redirect_host(browser.get(url), f"http://marquee.example{url}") in (
            "",
            "marquee.example",
        )


@pytest.mark.parametrize("parameter", ["next", "url", "to", "target", "return", "redirect_uri"])
def test_no_parameter_redirects_to_other_site(target, parameter):
    for path in ("/", "/campaigns/1/", "/campaigns/1/banners/1/click", "/admin/", "/admin/login"):
        for browser in (AdminBrowser(target.server), target.owner):
            response = browser.get(f"{path}?{parameter}=https://evil.example/")
            assert "evil" not in redirect_host(response)


INVALID_TARGETS = [
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


def test_target_that_is_not_http_url_is_rejected(target):
    first = 900_000
    rows = [f'{first + n},"{url}"' for n, url in enumerate(INVALID_TARGETS)]
    content = "\r\n".join(["banner_id,url", f"{first - 1},https://right.example/", *rows, ""])
    page = target.wait_for_upload(target.upload(("targets.csv", content.encode())))
    # One of the targets takes two lines of the file.
    assert f"1 row stored, 0 duplicates, {len(INVALID_TARGETS) + 1} rejected" in page_text(page)


def test_unprotected_server_redirects_to_other_site(unprotected):
    assert redirect_after_login(unprotected, "https://evil.example/") == "evil.example"
    assert redirect_after_login(unprotected, "//evil.example/") == "evil.example"
