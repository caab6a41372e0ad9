"""Which pages of a host have more visitors than at the reading before."""

from collections.abc import Awaitable
from math import floor, inf
from time import monotonic

import msgspec

from background.audience.host_poller import HostPoller, PolledHost
from domain.common.hosts import canonical_host
from handlers.common.responses import NO_STORE, SECURITY_HEADERS, problem_response
from httpserver import FastRoute, Request, Response
from store.api.errors import StoreBusy, StoreRefused, UpstreamUnavailable

# Targets that are known again.
MAX_CACHED_TARGETS, MAX_CACHED_TARGET_BYTES = 4_096, 1_024
MISSING_ARGUMENTS = problem_response(401, "This needs an `apikey` and a `host`.")
RESPONSE_HEADERS = (("Content-Type", "application/json"), NO_STORE, *SECURITY_HEADERS)


class PageGainResult(msgspec.Struct):
    """A page that gained visitors."""

    i: str
    change: int


_encode = msgspec.json.Encoder().encode


class IncreasingConcurrents:
    """The lane of `GET /api/v1.0/increasingconcurrents`."""

    def __init__(self, sampler: HostPoller) -> None:
        self._sampler = sampler
        # Those who ask, ask the same again and again.
        self._met: dict[bytes, PolledHost] = {}

    def lanes(self) -> list[FastRoute]:
        """Its address."""
        pattern = r"/api/v1\.0/increasingconcurrents"
        return [FastRoute("GET", pattern, self.get, name="increasingconcurrents")]

    def get(self, request: Request) -> Response | Awaitable[Response]:
        """The pages that gained, most first; with the age of what this goes by."""
        watch = self._met.get(request.target)
        if watch is not None:
            now = monotonic()
            if now < watch.ready_until:
                watch.asked = now
                answer: Response = watch.ready
                return answer
        return self._answer(request)

    def _answer(self, request: Request) -> Response | Awaitable[Response]:
        key, host = request.argument("apikey"), request.argument("host")
        if not key or not host:
            return MISSING_ARGUMENTS
        host = canonical_host(host) or host.lower()
        watch = self._sampler.look(key, host)
        if watch is None:
            return self._ask(key, host)
        if len(request.target) <= MAX_CACHED_TARGET_BYTES:
            if len(self._met) >= MAX_CACHED_TARGETS:
                self._met.clear()
            self._met[request.target] = watch
        return self._tell(watch)

    async def _ask(self, key: str, host: str) -> Response:
        try:
            return self._tell(await self._sampler.ask(key, host))
        except StoreRefused as error:
            return problem_response(400, f"{_capitalize_first(error)}.")
        except (UpstreamUnavailable, StoreBusy) as error:
            wait = error.wait if isinstance(error, UpstreamUnavailable) else self._sampler.period
            again = ("Retry-After", str(max(1, round(wait))))
            return problem_response(
                503, f"{_capitalize_first(error)}; try again in a moment.", again
            )

    def _tell(self, watch: PolledHost) -> Response:
        """The answer, which is good until the age is another, or there is a newer reading."""
        body = watch.made.get("increases")
        if body is None:
            body = _encode([PageGainResult(path, change) for change, path in watch.gains])
            watch.keep("increases", body)
        age = self._sampler.age(watch)
        answer = Response(200, (*RESPONSE_HEADERS, ("Age", str(floor(age)))), body)
        # What is stale is looked at each time: there may be a newer one to wait for.
        fresh = not self._sampler.stale(watch)
        watch.ready, watch.ready_until = answer, monotonic() + 1 - age % 1 if fresh else -inf
        return answer


def _capitalize_first(error: Exception) -> str:
    words = str(error)
    return words[:1].upper() + words[1:]
