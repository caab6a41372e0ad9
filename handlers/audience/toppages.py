"""This server's own audience, in the forms in which other servers ask for one."""

from collections.abc import Awaitable
from time import monotonic

from cachetools import TTLCache

from domain.audience.toppages_format import (
    LEGACY_FORMAT,
    MAX_TOPPAGES,
    V3_FORMAT,
    encode_pages,
    join_encoded_pages,
)
from domain.common.hosts import canonical_host
from handlers.common.responses import NO_STORE, SECURITY_HEADERS, problem_response
from httpserver import FastRoute, Request, Response
from store.cache.active_visitors import ActiveVisitors
from store.sqlite.audience.site_registry import AppSite, SiteRegistry

# As many as are told if none are asked for.
DEFAULT_TOPPAGES_LIMIT = 10
# Responses with up to so many pages are made from the same list.
SHORT_LIST_PAGES = 1_000
# Seconds for which an answer is given again.
RESPONSE_CACHE_SECONDS = 1.0
JSON_RESPONSE = Response(200, [("Content-Type", "application/json"), NO_STORE, *SECURITY_HEADERS])
MISSING_ARGUMENTS = problem_response(401, "This needs an `apikey` (or X-CB-AK) and a `host`.")
UNKNOWN_HOST = problem_response(400, "No app with this public token lists this host.")
INVALID_LIMIT = problem_response(400, f"`limit` is a whole number from 1 to {MAX_TOPPAGES}.")


class TopPages:
    """The lanes of `GET /live/toppages/` and `/live/toppages/v3/`."""

    def __init__(self, sites: SiteRegistry, presence: ActiveVisitors) -> None:
        self._sites = sites
        self._presence = presence
        # The pages of a host in one form, most visited first; one of two lengths.
        self._made: TTLCache[tuple[int, str, int, str], list[bytes]]
        self._made = TTLCache(64, RESPONSE_CACHE_SECONDS, monotonic)

    def lanes(self) -> list[FastRoute]:
        """Both addresses."""
        return [
            FastRoute("GET", r"/live/toppages", self.legacy, name="toppages"),
            FastRoute("GET", r"/live/toppages/v3", self.v3, name="toppages v3"),
        ]

    def legacy(self, request: Request) -> Response | Awaitable[Response]:
        """The pages of a host as an array."""
        return self._answer(request, LEGACY_FORMAT)

    def v3(self, request: Request) -> Response | Awaitable[Response]:
        """The same in version 3."""
        return self._answer(request, V3_FORMAT)

    def _answer(self, request: Request, version: str) -> Response | Awaitable[Response]:
        key = request.argument("apikey") or request.header("X-CB-AK")
        said = request.argument("host") or ""
        host = canonical_host(said) or said
        if not key or not host:
            return MISSING_ARGUMENTS
        asked = request.argument("limit")
        if asked is not None and not (asked.isascii() and asked.isdigit() and len(asked) < 9):
            return INVALID_LIMIT
        limit = DEFAULT_TOPPAGES_LIMIT if asked is None else int(asked)
        if not 1 <= limit <= MAX_TOPPAGES:
            return INVALID_LIMIT
        site = self._sites.known(key)
        if site is None:
            return self._find(key, host, limit, version)
        return self._tell(site, host, limit, version)

    async def _find(self, key: str, host: str, limit: int, version: str) -> Response:
        return self._tell(await self._sites.find(key), host, limit, version)

    def _tell(self, site: AppSite | None, host: str, limit: int, version: str) -> Response:
        entry = None if site is None else site.listed(host)
        if site is None or entry is None:
            return UNKNOWN_HOST
        most = SHORT_LIST_PAGES if limit <= SHORT_LIST_PAGES else MAX_TOPPAGES
        asked = (site.app, entry, most, version)
        made = self._made.get(asked)
        if made is None:
            visitors, titles, _ = self._presence.reading(site.app, entry)
            order = sorted(visitors.items(), key=lambda page: (-page[1], page[0]))
            pages = ((path, titles.get(path, path), count) for path, count in order[:most])
            made = self._made[asked] = encode_pages(pages, version)
        return JSON_RESPONSE.with_body(join_encoded_pages(made[:limit], version))
