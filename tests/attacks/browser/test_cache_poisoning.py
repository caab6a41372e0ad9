"""Cache poisoning and deception: a request does not change what a cache sends to others.

The cache of these tests stores everything that RFC 9111 permits, by URL and the headers that `Vary`
names.
"""

import contextlib
import re
from typing import NamedTuple

import pytest

from tests.support.web.admin_session import AdminBrowser
from tests.support.web.attack_target import AttackTarget

POISON = {
    "host": {"X-Forwarded-Host": "evil.example", "X-Host": "evil.example"},
    "forwarded": {"Forwarded": "host=evil.example;proto=https", "X-Forwarded-Proto": "https"},
    "scheme": {"X-Forwarded-Scheme": "http", "X-Forwarded-SSL": "off", "X-Forwarded-Port": "1"},
    "address": {"X-Original-URL": "/admin/", "X-Rewrite-URL": "/admin/"},
    "prefix": {"X-Forwarded-Prefix": "//evil.example", "X-Script-Name": "/evil"},
    "method": {"X-HTTP-Method-Override": "POST", "X-Method-Override": "HEAD"},
    "origin": {"Origin": "https://evil.example"},
    "an allowed origin": {"Origin": "https://www.example.com"},
    "another allowed origin": {"Origin": "http://www.example.com:8080"},
    "agent": {"User-Agent": "<script>", "Accept": "text/plain", "Accept-Language": "xx"},
    "encoding": {"Accept-Encoding": "gzip, br, zstd", "TE": "trailers"},
    "cookie": {"Cookie": "mq_last_1=1; lang=xx"},
    "token": {"Authorization": "Bearer mq_1_x"},
    "range": {"Range": "bytes=0-1"},
    "conditional": {"If-None-Match": "*"},
    "long": {"X-Long": "x" * 15_000},
    "too long": {"X-Long": "x" * 40_000},
    "preferences": {"Sec-GPC": "1", "DNT": "1", "Save-Data": "on", "Purpose": "prefetch"},
}
STATIC = re.compile(r'"(/static/[^"]+)"')


class CachedResponse(NamedTuple):
    """The cached part of a response."""

    status: int
    fields: tuple[tuple[str, str], ...]
    body: bytes


class SharedCache:
    """A shared HTTP cache."""

    def __init__(self, target: AttackTarget) -> None:
        self._target = target
        self._vary: dict[str, list[str]] = {}
        self._responses: dict[tuple[str, ...], CachedResponse] = {}

    def get(self, path: str, headers: dict[str, str]) -> CachedResponse:
        """Return the cached response, or request and store it."""
        sent = {name.lower(): value for name, value in headers.items()}
        cached = self._responses.get(self._key(path, sent))
        if cached is not None:
            return cached
        with contextlib.closing(self._target.server.connect()) as connection:
            connection.request("GET", path, headers=headers)
            response = connection.getresponse()
            # These differ between any two responses.
            ignored = ("date", "expires", "x-request-id")
            lowered = [(name.lower(), value) for name, value in response.getheaders()]
            fields = [each for each in lowered if each[0] not in ignored]
            result = CachedResponse(response.status, tuple(fields), response.read())
        by_name = dict(fields)
        control = by_name.get("cache-control", "")
        storable = result.status in (200, 203, 204, 300, 301, 404, 405, 410, 414, 501)
        if storable and "no-store" not in control and "private" not in control:
            self._vary[path] = [n.strip().lower() for n in by_name.get("vary", "").split(",") if n]
            self._responses[self._key(path, sent)] = result
        return result

    def _key(self, path: str, headers: dict[str, str]) -> tuple[str, ...]:
        return path, *(headers.get(name, "") for name in self._vary.get(path, ()))


def cacheable_paths(target: AttackTarget) -> list[str]:
    page = target.server.request("/campaigns/1/").text
    return [
        *STATIC.findall(page),
        "/static/beacon.js", "/static/marquee.css", "/static/none.css", "/banners/1", "/banners/0",
        f"/api/v1/stories/{target.public_token}", f"/api/v1/stories/cached/{target.public_token}",
        "/api/v1/stories/none", "/api/v1/openapi.json", "/api/v1/docs/", "/", "/nowhere",
        "/campaigns/1/", "/campaigns/0/", "/admin/login", "/admin/", "/live/x", "/healthz",
    ]  # fmt: skip


def poisoned_paths(target: AttackTarget, poison: dict[str, str]) -> list[str]:
    """Return the paths at which one client's headers change the response to the next client."""
    found = []
    for path in cacheable_paths(target):
        for headers in ({}, {"Origin": "http://www.example.com"}) if "stories" in path else ({},):
            clean = SharedCache(target).get(path, headers)
            shared = SharedCache(target)
            shared.get(path, poison)
            response = shared.get(path, headers)
            # Campaign pages rotate banners and are never cached.
            if dict(clean.fields).get("cache-control") != "no-store" and without_timestamp(
                response
            ) != without_timestamp(clean):
                found.append(path)
    return found


def without_timestamp(response: CachedResponse) -> CachedResponse:
    """Return a response without the time that stories contain."""
    return response._replace(body=re.sub(rb'"ts":\d+', b"", response.body))


@pytest.mark.parametrize("poison", POISON.values(), ids=POISON)
def test_request_headers_do_not_change_cached_responses(target, poison):
    assert poisoned_paths(target, poison) == []


@pytest.mark.parametrize("poison", POISON.values(), ids=POISON)
def test_errors_are_not_cached(target, poison):
    for path in cacheable_paths(target):
        with contextlib.closing(target.server.connect()) as connection:
            connection.request("GET", path, headers=poison)
            response = connection.getresponse()
            response.read()
            assert response.status < 400 or response.headers["Cache-Control"] == "no-store", path


@pytest.mark.parametrize(
    "suffix",
    ["/x.css", "/static/x.css", ".css", ";x.css", "%2fx.css", "%3bx.css", "%23x.css", "%3fx.css",
     "/..%2f..%2fstatic/x.css", "?x.css", "/%2e%2e/static/marquee.css", "%0a.css", "%00.css"],
)  # fmt: skip
def test_admin_pages_are_not_cached_under_file_names(target, suffix):
    """Web cache deception: a private page at a URL that looks like a static file."""
    for path in ("/admin", "/admin/users", "/admin/apps", "/admin/account"):
        for browser in (target.owner, AdminBrowser(target.server)):
            response = browser.get(f"{path}{suffix}")
            assert response.headers["Cache-Control"] == "no-store" or "owner" not in response.text


def test_unprotected_server_caches_cors_header_for_other_origin(unprotected):
    assert poisoned_paths(unprotected, POISON["another allowed origin"])
