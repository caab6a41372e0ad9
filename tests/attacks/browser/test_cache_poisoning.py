"""Cache poisoning and deception: what one visitor sends changes nothing that a cache gives another.

The cache here is the most careless that keeps to RFC 9111: it keeps whatever it may, by method,
address and what `Vary` names.
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
    "an origin that may": {"Origin": "https://www.example.com"},
    "another that may": {"Origin": "http://www.example.com:8080"},
    "agent": {"User-Agent": "<script>", "Accept": "text/plain", "Accept-Language": "xx"},
    "encoding": {"Accept-Encoding": "gzip, br, zstd", "TE": "trailers"},
    "cookie": {"Cookie": "mq_last_1=1; lang=xx"},
    "token": {"Authorization": "Bearer mq_1_x"},
    "range": {"Range": "bytes=0-1"},
    "who has it": {"If-None-Match": "*"},
    "long": {"X-Long": "x" * 15_000},
    "too long": {"X-Long": "x" * 40_000},
    "wishes": {"Sec-GPC": "1", "DNT": "1", "Save-Data": "on", "Purpose": "prefetch"},
}
STATIC = re.compile(r'"(/static/[^"]+)"')


class Kept(NamedTuple):
    """What a cache has of an response."""

    status: int
    fields: tuple[tuple[str, str], ...]
    body: bytes


class Cache:
    """A shared cache."""

    def __init__(self, target: AttackTarget) -> None:
        self._target = target
        self._vary: dict[str, list[str]] = {}
        self._kept: dict[tuple[str, ...], Kept] = {}

    def get(self, path: str, headers: dict[str, str]) -> Kept:
        """What it gives."""
        said = {name.lower(): value for name, value in headers.items()}
        known = self._kept.get(self._key(path, said))
        if known is not None:
            return known
        with contextlib.closing(self._target.server.connect()) as connection:
            connection.request("GET", path, headers=headers)
            response = connection.getresponse()
            # Two are made of the moment; the third names the request that filled the cache.
            moments = ("date", "expires", "x-request-id")
            told_of = [(k.lower(), v) for k, v in response.getheaders()]
            fields = [each for each in told_of if each[0] not in moments]
            found = Kept(response.status, tuple(fields), response.read())
        told = dict(fields)
        control = told.get("cache-control", "")
        storable = found.status in (200, 203, 204, 300, 301, 404, 405, 410, 414, 501)
        if storable and "no-store" not in control and "private" not in control:
            self._vary[path] = [n.strip().lower() for n in told.get("vary", "").split(",") if n]
            self._kept[self._key(path, said)] = found
        return found

    def _key(self, path: str, said: dict[str, str]) -> tuple[str, ...]:
        return path, *(said.get(name, "") for name in self._vary.get(path, ()))


def paths(target: AttackTarget) -> list[str]:
    page = target.server.request("/campaigns/1/").text
    return [
        *STATIC.findall(page),
        "/static/beacon.js", "/static/marquee.css", "/static/none.css", "/banners/1", "/banners/0",
        f"/api/v1/stories/{target.public_token}", f"/api/v1/stories/cached/{target.public_token}",
        "/api/v1/stories/none", "/api/v1/openapi.json", "/api/v1/docs/", "/", "/nowhere",
        "/campaigns/1/", "/campaigns/0/", "/admin/login", "/admin/", "/live/x", "/healthz",
    ]  # fmt: skip


def poisoned(target: AttackTarget, poison: dict[str, str]) -> list[str]:
    """Addresses at which the next visitor gets what he would not have got without the first."""
    found = []
    for path in paths(target):
        for mine in ({}, {"Origin": "http://www.example.com"}) if "stories" in path else ({},):
            clean = Cache(target).get(path, mine)
            shared = Cache(target)
            shared.get(path, poison)
            got = shared.get(path, mine)
            # A page of a campaign shows another banner each time, and is kept by nobody.
            if dict(clean.fields).get("cache-control") != "no-store" and alike(got) != alike(clean):
                found.append(path)
    return found


def alike(kept: Kept) -> Kept:
    """Without the moment that stands in stories."""
    return kept._replace(body=re.sub(rb'"ts":\d+', b"", kept.body))


@pytest.mark.parametrize("poison", POISON.values(), ids=POISON)
def test_nobody_gets_what_another_brought_about(target, poison):
    assert poisoned(target, poison) == []


@pytest.mark.parametrize("poison", POISON.values(), ids=POISON)
def test_no_error_is_kept_for_others(target, poison):
    for path in paths(target):
        with contextlib.closing(target.server.connect()) as connection:
            connection.request("GET", path, headers=poison)
            response = connection.getresponse()
            response.read()
            assert response.status < 400 or response.headers["Cache-Control"] == "no-store", path


@pytest.mark.parametrize(
    "more",
    ["/x.css", "/static/x.css", ".css", ";x.css", "%2fx.css", "%3bx.css", "%23x.css", "%3fx.css",
     "/..%2f..%2fstatic/x.css", "?x.css", "/%2e%2e/static/marquee.css", "%0a.css", "%00.css"],
)  # fmt: skip
def test_an_owners_page_is_kept_under_no_name(target, more):
    """Web cache deception: a page with secrets at an address that looks like a file's."""
    for path in ("/admin", "/admin/users", "/admin/apps", "/admin/account"):
        for visitor in (target.owner, AdminBrowser(target.server)):
            response = visitor.get(f"{path}{more}")
            assert response.headers["Cache-Control"] == "no-store" or "owner" not in response.text


def test_without_the_guard_one_site_may_be_told_that_another_may(weakened):
    assert poisoned(weakened, POISON["another that may"])
