"""Fast route of `/api/v1.0/increasingconcurrents`: pages with more visitors than before."""

from collections.abc import Awaitable
from math import floor, inf
from time import monotonic

import msgspec

from background.audience.host_poller import HostPoller, PolledHost
from domain.common.hosts import canonical_host
from handlers.common.responses import NO_STORE, SECURITY_HEADERS, problem_response
from httpserver import FastRoute, Request, Response
from store.api.errors import StoreBusy, StoreRefused, UpstreamUnavailable

# Size of the cache of request targets.
MAX_CACHED_TARGETS, MAX_CACHED_TARGET_BYTES = 4_096, 1_024
MISSING_ARGUMENTS = problem_response(401, "The query arguments `apikey` and `host` are required.")
RESPONSE_HEADERS = (("Content-Type", "application/json"), NO_STORE, *SECURITY_HEADERS)


class PageGainResult(msgspec.Struct):
    """A page that gained visitors since the previous reading; `i` is its path."""

    i: str
    change: int


_encode = msgspec.json.Encoder().encode


class IncreasingConcurrents:
    """The fast route of `GET /api/v1.0/increasingconcurrents`."""

    def __init__(self, poller: HostPoller) -> None:
        self._poller = poller
        # By request target: clients repeat their requests.
        self._cached_hosts: dict[bytes, PolledHost] = {}

    def fast_routes(self) -> list[FastRoute]:
        """Return the route."""
        pattern = r"/api/v1\.0/increasingconcurrents"
        return [FastRoute("GET", pattern, self.get, name="increasingconcurrents")]

    def get(self, request: Request) -> Response | Awaitable[Response]:
        """Return the pages by gain, with the age of the reading in `Age`."""
        polled = self._cached_hosts.get(request.target)
        if polled is not None:
            now = monotonic()
            if now < polled.ready_until:
                polled.asked = now
                response: Response = polled.ready
                return response
        return self._look_up(request)

    def _look_up(self, request: Request) -> Response | Awaitable[Response]:
        key, host = request.query_argument("apikey"), request.query_argument("host")
        if not key or not host:
            return MISSING_ARGUMENTS
        host = canonical_host(host) or host.lower()
        polled = self._poller.look(key, host)
        if polled is None:
            return self._start_polling(key, host)
        if len(request.target) <= MAX_CACHED_TARGET_BYTES:
            if len(self._cached_hosts) >= MAX_CACHED_TARGETS:
                self._cached_hosts.clear()
            self._cached_hosts[request.target] = polled
        return self._respond(polled)

    async def _start_polling(self, key: str, host: str) -> Response:
        try:
            return self._respond(await self._poller.ask(key, host))
        except StoreRefused as error:
            return problem_response(400, f"{_capitalize_first(error)}.")
        except (UpstreamUnavailable, StoreBusy) as error:
            wait = error.wait if isinstance(error, UpstreamUnavailable) else self._poller.period
            retry_after = ("Retry-After", str(max(1, round(wait))))
            return problem_response(
                503, f"{_capitalize_first(error)}; try again in a moment.", retry_after
            )

    def _respond(self, polled: PolledHost) -> Response:
        """Return the response and cache it until `Age` changes or a new reading arrives."""
        body = polled.made.get("increases")
        if body is None:
            body = _encode([PageGainResult(path, change) for change, path in polled.gains])
            polled.keep("increases", body)
        age = self._poller.age(polled)
        response = Response(200, (*RESPONSE_HEADERS, ("Age", str(floor(age)))), body)
        # A stale reading is not cached, as a newer one may arrive at any time.
        fresh = not self._poller.stale(polled)
        polled.ready, polled.ready_until = response, monotonic() + 1 - age % 1 if fresh else -inf
        return response


def _capitalize_first(error: Exception) -> str:
    text = str(error)
    return text[:1].upper() + text[1:]
