"""What `static/beacon.js` sends: pageviews, which are logged, and heartbeats, which are not.

It comes as `text/plain`, which browsers send to other hosts without asking first.
"""

import asyncio
import hashlib
from collections.abc import Awaitable
from time import time_ns

from domain.audience.beacon import KIND_VIEW, BeaconPayload, pageview_row, parse_beacon
from domain.common.hosts import host_of_origin
from domain.events.event import InvalidEvent
from handlers.common.cors import VARY_ORIGIN, preflight_response, with_cors_headers
from handlers.common.ingest import OVERLOAD_DELAY_SECONDS, RETRY_AFTER
from handlers.common.responses import (
    NO_STORE,
    PROJECT_ROOT,
    SECURITY_HEADERS,
    is_not_modified,
    is_prefetch,
    problem_response,
)
from httpserver import DelayedResponse, FastRoute, Request, Response
from store.api.errors import StoreError
from store.cache.active_visitors import ActiveVisitors
from store.sqlite.audience.site_registry import AppSite, SiteRegistry
from store.sqlite.events.commit_batch import AppendOutcome
from store.sqlite.events.event_log import EventLog

# Without comments and indentation, to keep it within 1 KB.
BEACON_SCRIPT = b"".join(
    line
    for each in (PROJECT_ROOT / "static" / "beacon.js").read_bytes().splitlines()
    if not (line := each.strip()).startswith(b"//")
)
SCRIPT_ETAG = f'"{hashlib.sha256(BEACON_SCRIPT).hexdigest()[:32]}"'
# Every page of a site carries it: it is asked for anew once an hour, and then by its tag.
SCRIPT_HEADERS = (
    ("ETag", SCRIPT_ETAG),
    ("Cache-Control", "public, max-age=3600, stale-while-revalidate=86400"),
    *SECURITY_HEADERS,
    ("Cross-Origin-Resource-Policy", "cross-origin"),
)
SCRIPT_RESPONSE = Response(
    200, [("Content-Type", "text/javascript; charset=utf-8"), *SCRIPT_HEADERS], BEACON_SCRIPT
)
SCRIPT_NOT_MODIFIED = Response(304, SCRIPT_HEADERS)
ALLOWED_METHODS = "POST, OPTIONS"
MAX_BEACON_BYTES = 8_192
BEACON_HEADERS = (NO_STORE, *SECURITY_HEADERS, VARY_ORIGIN)
NO_CONTENT = Response(204, BEACON_HEADERS)
UNKNOWN_TOKEN = problem_response(404, "No app has this public token.")
OVERLOADED = DelayedResponse(
    problem_response(503, "More events are waiting than can be held.", RETRY_AFTER),
    OVERLOAD_DELAY_SECONDS,
)

CommitFuture = asyncio.Future[list[AppendOutcome]]


class BeaconIngest:
    """The lanes of `POST /api/v1/beacon/{public_token}`, and of the script that sends it."""

    def __init__(self, sites: SiteRegistry, presence: ActiveVisitors, log: EventLog) -> None:
        self._sites = sites
        self._presence = presence
        self._log = log

    def lanes(self) -> list[FastRoute]:
        """Their addresses."""
        pattern = r"/api/v1/beacon/([\w.~-]{1,100})"
        return [
            FastRoute("POST", pattern, self.post, body_limit=MAX_BEACON_BYTES, name="beacon"),
            FastRoute("OPTIONS", pattern, self.options, name="beacon preflight"),
            FastRoute("GET", r"/static/beacon\.js", _script_response, name="beacon script"),
        ]

    def post(self, request: Request) -> Response | Awaitable[Response]:
        """Take a sign of life: 204 at once, of a pageview when it is on disk."""
        if request.header("Sec-GPC") == "1" or request.header("DNT") == "1":
            return NO_CONTENT
        # A prerendered page reports again when it is shown.
        if is_prefetch(request):
            return NO_CONTENT
        site = self._sites.known(request.params[0])
        return self._find(request) if site is None else self._take(request, site)

    async def _find(self, request: Request) -> Response:
        site = await self._sites.find(request.params[0])
        if site is None:
            return UNKNOWN_TOKEN
        answer = self._take(request, site)
        return answer if isinstance(answer, Response) else await answer

    def _take(self, request: Request, site: AppSite) -> Response | Awaitable[Response]:
        try:
            sign = parse_beacon(request.body)
        except InvalidEvent as wrong:
            told = "; ".join(f"{fault.pointer} {fault.message}".strip() for fault in wrong.faults)
            return problem_response(400, f"This is no sign of life: {told}.")
        origin = request.header("Origin")
        # A page may hide its origin, and then has none.
        if origin not in (None, "null") and host_of_origin(origin or "") != sign.host:
            return problem_response(
                403, f"The page's host {sign.host!r} is not that of its origin.", VARY_ORIGIN
            )
        if site.listed(sign.host) is None:
            return problem_response(
                403, f"This app does not list the host {sign.host!r}: add it.", VARY_ORIGIN
            )
        if sign.kind == KIND_VIEW and not self._log.room(0):
            return OVERLOADED
        answer = with_cors_headers(NO_CONTENT, origin, site.hosts)
        stored = self.keep(sign, site)
        return answer if stored is None else _respond_when_stored(stored, answer)

    def keep(self, sign: BeaconPayload, site: AppSite) -> CommitFuture | None:
        """Take a sign: a heartbeat at once, a pageview when the future is done."""
        if sign.kind == KIND_VIEW:
            now = time_ns() // 1000
            return self._log.append(
                (pageview_row(sign, site.app, now),), received=now, counted=False
            )
        entry = site.listed(sign.host)
        if entry is not None:
            self._presence.see(site.app, entry, sign.path, sign.session, title=sign.title)
        return None

    async def options(self, request: Request) -> Response:
        """Answer the CORS preflight request of a page that sends JSON."""
        site = await self._sites.find(request.params[0])
        hosts = () if site is None else site.hosts
        return preflight_response(ALLOWED_METHODS, request.header("Origin"), hosts)


def _script_response(request: Request) -> Response:
    return SCRIPT_NOT_MODIFIED if is_not_modified(request, SCRIPT_ETAG) else SCRIPT_RESPONSE


async def _respond_when_stored(stored: CommitFuture, answer: Response) -> Response:
    try:
        await stored
    except StoreError as error:
        return problem_response(503, f"This was not stored ({error}).", RETRY_AFTER)
    return answer
