"""Fast routes of `/live/toppages`: the audience of this server in two upstream formats."""

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

DEFAULT_TOPPAGES_LIMIT = 10
# Responses with at most this many pages share one encoded list.
SHORT_LIST_PAGES = 1_000
RESPONSE_CACHE_SECONDS = 1.0
JSON_RESPONSE = Response(200, [("Content-Type", "application/json"), NO_STORE, *SECURITY_HEADERS])
MISSING_ARGUMENTS = problem_response(
    401, "The arguments `apikey` (or X-CB-AK) and `host` are required."
)
UNKNOWN_HOST = problem_response(400, "No app with this public token lists the host.")
INVALID_LIMIT = problem_response(400, f"`limit` must be a whole number from 1 to {MAX_TOPPAGES}.")


class TopPages:
    """The fast routes of `GET /live/toppages` and `/live/toppages/v3`."""

    def __init__(self, sites: SiteRegistry, active_visitors: ActiveVisitors) -> None:
        self._sites = sites
        self._active_visitors = active_visitors
        # Encoded pages by (app, host, length, format), most visitors first; there are two lengths.
        self._list_cache: TTLCache[tuple[int, str, int, str], list[bytes]]
        self._list_cache = TTLCache(64, RESPONSE_CACHE_SECONDS, monotonic)

    def fast_routes(self) -> list[FastRoute]:
        """Return the routes of both formats."""
        return [
            FastRoute("GET", r"/live/toppages", self.legacy, name="toppages"),
            FastRoute("GET", r"/live/toppages/v3", self.v3, name="toppages v3"),
        ]

    def legacy(self, request: Request) -> Response | Awaitable[Response]:
        """Return the pages of a host in the legacy format."""
        return self._parse_request(request, LEGACY_FORMAT)

    def v3(self, request: Request) -> Response | Awaitable[Response]:
        """Return the pages of a host in the format of version 3."""
        return self._parse_request(request, V3_FORMAT)

    def _parse_request(self, request: Request, version: str) -> Response | Awaitable[Response]:
        key = request.query_argument("apikey") or request.header("X-CB-AK")
        host = request.query_argument("host") or ""
        host = canonical_host(host) or host
        if not key or not host:
            return MISSING_ARGUMENTS
        text = request.query_argument("limit")
        if text is not None and not (text.isascii() and text.isdigit() and len(text) < 9):
            return INVALID_LIMIT
        limit = DEFAULT_TOPPAGES_LIMIT if text is None else int(text)
        if not 1 <= limit <= MAX_TOPPAGES:
            return INVALID_LIMIT
        site = self._sites.get_cached(key)
        if site is None:
            return self._respond_uncached(key, host, limit, version)
        return self._respond(site, host, limit, version)

    async def _respond_uncached(self, key: str, host: str, limit: int, version: str) -> Response:
        return self._respond(await self._sites.get(key), host, limit, version)

    def _respond(self, site: AppSite | None, host: str, limit: int, version: str) -> Response:
        entry = None if site is None else site.matching_host(host)
        if site is None or entry is None:
            return UNKNOWN_HOST
        length = SHORT_LIST_PAGES if limit <= SHORT_LIST_PAGES else MAX_TOPPAGES
        key = (site.app, entry, length, version)
        encoded = self._list_cache.get(key)
        if encoded is None:
            visitors, titles, _ = self._active_visitors.reading(site.app, entry)
            order = sorted(visitors.items(), key=lambda page: (-page[1], page[0]))
            pages = ((path, titles.get(path, path), count) for path, count in order[:length])
            encoded = self._list_cache[key] = encode_pages(pages, version)
        return JSON_RESPONSE.with_body(join_encoded_pages(encoded[:limit], version))
