"""Which pages of a host have more visitors than at the reading before."""

from collections.abc import Awaitable
from math import floor, inf
from time import monotonic

import msgspec

from handlers.answers import NO_STORE, SECURITY, problem
from loops.sampler import Sampler, Watch
from rules.hosts import canonical
from store.errors import StoreAway, StoreBusy, StoreRefused
from wire import Lane, Request, Response

# Targets that are known again.
MET, SHORT = 4_096, 1_024
MISSING = problem(401, "This needs an `apikey` and a `host`.")
HEADERS = (("Content-Type", "application/json"), NO_STORE, *SECURITY)


class Gain(msgspec.Struct):
    """A page that gained visitors."""

    i: str
    change: int


_encode = msgspec.json.Encoder().encode


class Increasing:
    """The lane of `GET /api/v1.0/increasingconcurrents`."""

    def __init__(self, sampler: Sampler) -> None:
        self._sampler = sampler
        # Those who ask, ask the same again and again.
        self._met: dict[bytes, Watch] = {}

    def lanes(self) -> list[Lane]:
        """Its address."""
        pattern = r"/api/v1\.0/increasingconcurrents"
        return [Lane("GET", pattern, self.get, name="increasingconcurrents")]

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
            return MISSING
        host = canonical(host) or host.lower()
        watch = self._sampler.look(key, host)
        if watch is None:
            return self._ask(key, host)
        if len(request.target) <= SHORT:
            if len(self._met) >= MET:
                self._met.clear()
            self._met[request.target] = watch
        return self._tell(watch)

    async def _ask(self, key: str, host: str) -> Response:
        try:
            return self._tell(await self._sampler.ask(key, host))
        except StoreRefused as error:
            return problem(400, f"{_sentence(error)}.")
        except (StoreAway, StoreBusy) as error:
            wait = error.wait if isinstance(error, StoreAway) else self._sampler.period
            again = ("Retry-After", str(max(1, round(wait))))
            return problem(503, f"{_sentence(error)}; try again in a moment.", again)

    def _tell(self, watch: Watch) -> Response:
        """The answer, which is good until the age is another, or there is a newer reading."""
        body = watch.made.get("increases")
        if body is None:
            body = _encode([Gain(path, change) for change, path in watch.gains])
            watch.keep("increases", body)
        age = self._sampler.age(watch)
        answer = Response(200, (*HEADERS, ("Age", str(floor(age)))), body)
        # What is stale is looked at each time: there may be a newer one to wait for.
        fresh = not self._sampler.stale(watch)
        watch.ready, watch.ready_until = answer, monotonic() + 1 - age % 1 if fresh else -inf
        return answer


def _sentence(error: Exception) -> str:
    words = str(error)
    return words[:1].upper() + words[1:]
