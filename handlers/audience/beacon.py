"""Fast routes of the beacon script and its endpoint.

The event log stores pageviews; heartbeats only update the active visitors in memory. The script
sends `text/plain`, which needs no CORS preflight.
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
# Every page of a site loads the script: browsers revalidate its ETag once an hour.
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
UNKNOWN_TOKEN = problem_response(404, "Unknown public token.")
OVERLOADED = DelayedResponse(
    problem_response(503, "The event log is overloaded.", RETRY_AFTER),
    OVERLOAD_DELAY_SECONDS,
)

CommitFuture = asyncio.Future[list[AppendOutcome]]


class BeaconIngest:
    """The fast routes of `POST /api/v1/beacon/{public_token}` and of the script."""

    def __init__(self, sites: SiteRegistry, active_visitors: ActiveVisitors, log: EventLog) -> None:
        self._sites = sites
        self._active_visitors = active_visitors
        self._log = log

    def fast_routes(self) -> list[FastRoute]:
        """Return the routes of the endpoint, its CORS preflight and the script."""
        pattern = r"/api/v1/beacon/([\w.~-]{1,100})"
        return [
            FastRoute("POST", pattern, self.post, body_limit=MAX_BEACON_BYTES, name="beacon"),
            FastRoute("OPTIONS", pattern, self.options, name="beacon preflight"),
            FastRoute("GET", r"/static/beacon\.js", _script_response, name="beacon script"),
        ]

    def post(self, request: Request) -> Response | Awaitable[Response]:
        """Accept a beacon: 204 at once for a heartbeat, for a pageview once it is on disk."""
        if request.header("Sec-GPC") == "1" or request.header("DNT") == "1":
            return NO_CONTENT
        # A prerendered page reports again when it is shown.
        if is_prefetch(request):
            return NO_CONTENT
        site = self._sites.get_cached(request.params[0])
        return self._accept_uncached(request) if site is None else self._accept(request, site)

    async def _accept_uncached(self, request: Request) -> Response:
        site = await self._sites.get(request.params[0])
        if site is None:
            return UNKNOWN_TOKEN
        response = self._accept(request, site)
        return response if isinstance(response, Response) else await response

    def _accept(self, request: Request, site: AppSite) -> Response | Awaitable[Response]:
        try:
            beacon = parse_beacon(request.body)
        except InvalidEvent as error:
            details = "; ".join(f"{each.pointer} {each.message}".strip() for each in error.faults)
            return problem_response(400, f"Invalid beacon payload: {details}.")
        origin = request.header("Origin")
        # A sandboxed page sends the origin "null".
        if origin not in (None, "null") and host_of_origin(origin or "") != beacon.host:
            return problem_response(
                403, f"The host {beacon.host!r} differs from the origin of the page.", VARY_ORIGIN
            )
        if site.matching_host(beacon.host) is None:
            return problem_response(
                403,
                f"This app does not list the host {beacon.host!r}: add it to the app.",
                VARY_ORIGIN,
            )
        if beacon.kind == KIND_VIEW and not self._log.has_room(0):
            return OVERLOADED
        response = with_cors_headers(NO_CONTENT, origin, site.hosts)
        stored = self.record(beacon, site)
        return response if stored is None else _respond_when_stored(stored, response)

    def record(self, beacon: BeaconPayload, site: AppSite) -> CommitFuture | None:
        """Record a heartbeat and return None; append a pageview and return its future."""
        if beacon.kind == KIND_VIEW:
            now = time_ns() // 1000
            return self._log.append(
                (pageview_row(beacon, site.app, now),), received=now, counted=False
            )
        entry = site.matching_host(beacon.host)
        if entry is not None:
            self._active_visitors.see(
                site.app, entry, beacon.path, beacon.session, title=beacon.title
            )
        return None

    async def options(self, request: Request) -> Response:
        """Return the response to the CORS preflight of a page that sends JSON."""
        site = await self._sites.get(request.params[0])
        hosts = () if site is None else site.hosts
        return preflight_response(ALLOWED_METHODS, request.header("Origin"), hosts)


def _script_response(request: Request) -> Response:
    return SCRIPT_NOT_MODIFIED if is_not_modified(request, SCRIPT_ETAG) else SCRIPT_RESPONSE


async def _respond_when_stored(stored: CommitFuture, response: Response) -> Response:
    try:
        await stored
    except StoreError as error:
        return problem_response(503, f"Not stored ({error}).", RETRY_AFTER)
    return response
