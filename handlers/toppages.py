"""This server's own audience, in the forms in which other servers ask for one."""

from collections.abc import Awaitable
from time import monotonic

from cachetools import TTLCache

from handlers.answers import NO_STORE, SECURITY, problem
from rules.hosts import canonical
from rules.toppages import LEGACY, PAGES, V3, tell_each, together
from store.presence import Presence
from store.sites import Site, Sites
from wire import Lane, Request, Response

# As many as are told if none are asked for.
LIMIT = 10
# Responses with up to so many pages are made from the same list.
FEW = 1_000
# Seconds for which an answer is given again.
SHARED = 1.0
JSON = Response(200, [("Content-Type", "application/json"), NO_STORE, *SECURITY])
MISSING = problem(401, "This needs an `apikey` (or X-CB-AK) and a `host`.")
UNKNOWN = problem(400, "No app with this public token lists this host.")
NO_LIMIT = problem(400, f"`limit` is a whole number from 1 to {PAGES}.")


class TopPages:
    """The lanes of `GET /live/toppages/` and `/live/toppages/v3/`."""

    def __init__(self, sites: Sites, presence: Presence) -> None:
        self._sites = sites
        self._presence = presence
        # The pages of a host in one form, most visited first; one of two lengths.
        self._made: TTLCache[tuple[int, str, int, str], list[bytes]]
        self._made = TTLCache(64, SHARED, monotonic)

    def lanes(self) -> list[Lane]:
        """Both addresses."""
        return [
            Lane("GET", r"/live/toppages", self.legacy, name="toppages"),
            Lane("GET", r"/live/toppages/v3", self.v3, name="toppages v3"),
        ]

    def legacy(self, request: Request) -> Response | Awaitable[Response]:
        """The pages of a host as an array."""
        return self._answer(request, LEGACY)

    def v3(self, request: Request) -> Response | Awaitable[Response]:
        """The same in version 3."""
        return self._answer(request, V3)

    def _answer(self, request: Request, version: str) -> Response | Awaitable[Response]:
        key = request.argument("apikey") or request.header("X-CB-AK")
        said = request.argument("host") or ""
        host = canonical(said) or said
        if not key or not host:
            return MISSING
        asked = request.argument("limit")
        if asked is not None and not (asked.isascii() and asked.isdigit() and len(asked) < 9):
            return NO_LIMIT
        limit = LIMIT if asked is None else int(asked)
        if not 1 <= limit <= PAGES:
            return NO_LIMIT
        site = self._sites.known(key)
        if site is None:
            return self._find(key, host, limit, version)
        return self._tell(site, host, limit, version)

    async def _find(self, key: str, host: str, limit: int, version: str) -> Response:
        return self._tell(await self._sites.find(key), host, limit, version)

    def _tell(self, site: Site | None, host: str, limit: int, version: str) -> Response:
        entry = None if site is None else site.listed(host)
        if site is None or entry is None:
            return UNKNOWN
        most = FEW if limit <= FEW else PAGES
        asked = (site.app, entry, most, version)
        made = self._made.get(asked)
        if made is None:
            visitors, titles, _ = self._presence.reading(site.app, entry)
            order = sorted(visitors.items(), key=lambda page: (-page[1], page[0]))
            pages = ((path, titles.get(path, path), count) for path, count in order[:most])
            made = self._made[asked] = tell_each(pages, version)
        return JSON.with_body(together(made[:limit], version))
