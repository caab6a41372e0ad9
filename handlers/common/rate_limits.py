"""Rate limits, by address and by token: off unless they are set.

What is too often is 429, told before a body is read, in the fields of the IETF's draft
(draft-ietf-httpapi-ratelimit-headers-11): `RateLimit-Policy` says what is allowed, `RateLimit` how
much of it is left, and in how many seconds there is more. They stand in every answer but those of
the wire itself (to what is malformed, too large, or finds no room).
"""

from collections.abc import Awaitable, Callable
from functools import partial
from math import ceil
from time import monotonic
from typing import Any

from tornado.httputil import HTTPServerRequest
from tornado.web import Application, RequestHandler

from domain.common.rate_limiter import RateDecision, RateLimiter, RequestRate, rate_limit_key
from handlers.common.base_handler import RATE_LIMIT_ATTRIBUTE, ApiError, BaseHandler
from handlers.common.responses import problem_response
from httpserver import DeferredResponse, FastRoute, Request, Response
from httpserver import RequestRefusal as Unreadable

HeaderFields = list[tuple[str, str]]
# By which a load balancer sees whether the process is there.
UNLIMITED_ROUTES = ("healthz",)
# In the place of an address: one's own proxy, over a Unix socket, that names nobody.
UNIX_PEER = "unix"


class RequestRateLimit:
    """One limit: its name, and who did how much of late."""

    def __init__(
        self, name: str, rate: RequestRate, clock: Callable[[], float] = monotonic
    ) -> None:
        self.name = name
        self.refused = 0
        self._meter = RateLimiter(rate)
        self._clock = clock
        self._policy = ("RateLimit-Policy", f'"{name}";q={rate.most};w={rate.seconds}')
        self._line = ": ".join(self._policy).encode() + b"\r\n"

    def take(self, key: str | int) -> RateDecision:
        """Count a request of someone's, if it may come."""
        verdict = self._meter.take(key, self._clock())
        if not verdict[0]:
            self.refused += 1
        return verdict

    def look(self, key: str | int) -> RateDecision:
        """Whether one might come."""
        verdict = self._meter.look(key, self._clock())
        self.refused += not verdict.allowed
        return verdict

    def fields(self, verdict: RateDecision) -> HeaderFields:
        """What the answer says of it."""
        later = [] if verdict.allowed else [("Retry-After", str(_retry_seconds(verdict)))]
        return [self._policy, ("RateLimit", self._left(verdict)), *later]

    def told(self, answer: Response, verdict: RateDecision) -> Response:
        """The answer with those fields."""
        said = self._left(verdict)
        lines = b"%bRateLimit: %b\r\n" % (self._line, said.encode())
        return answer.told((self._policy, ("RateLimit", said)), lines)

    def passed(
        self, answer: Response | Awaitable[Response], verdict: RateDecision
    ) -> Response | Awaitable[Response]:
        """A lane's answer to a request that has passed, now or when it comes."""
        if isinstance(answer, Response):
            return self.told(answer, verdict)
        if not isinstance(answer, DeferredResponse):
            return _await_with_fields(answer, self, verdict)
        later = DeferredResponse()
        answer.then(partial(_complete_with_fields, later, self, verdict))
        return later

    def words(self) -> str:
        """What is told to whom is refused."""
        count, seconds = self._meter.rate
        per = "a second" if seconds == 1 else f"in {seconds} seconds"
        return f"From this {self.name} {count:,} requests {per} are taken; send it again later."

    def answer(self, verdict: RateDecision) -> Response:
        """The answer to a request that is one too many."""
        return problem_response(429, self.words(), *self.fields(verdict))

    def _left(self, verdict: RateDecision) -> str:
        return f'"{self.name}";r={verdict.left};t={_retry_seconds(verdict)}'


def _retry_seconds(verdict: RateDecision) -> int:
    # Nearly all have a wait of less than a second.
    return 1 if verdict.wait <= 1 else ceil(verdict.wait)


def _complete_with_fields(
    later: DeferredResponse,
    limit: RequestRateLimit,
    verdict: RateDecision,
    answer: Response | BaseException,
) -> None:
    later.come(limit.told(answer, verdict) if isinstance(answer, Response) else answer)


async def _await_with_fields(
    answer: Awaitable[Response], limit: RequestRateLimit, verdict: RateDecision
) -> Response:
    return limit.told(await answer, verdict)


class RequestRateLimits:
    """The limits that are set."""

    def __init__(
        self, by_address: RequestRate | None = None, by_token: RequestRate | None = None
    ) -> None:
        self.address = None if by_address is None else RequestRateLimit("address", by_address)
        self.token = None if by_token is None else RequestRateLimit("token", by_token)

    def limit_lane(self, lane: FastRoute) -> None:
        """Have the lane's requests counted by their address; costs nothing where that is off."""
        limit, call, admit = self.address, lane.call, lane.admit
        if limit is None or lane.name in UNLIMITED_ROUTES:
            return

        def limited(request: Request) -> Response | Awaitable[Response]:
            remote = request.remote
            if remote == UNIX_PEER:
                return call(request)
            verdict = limit.take(rate_limit_key(remote))
            if not verdict.allowed:
                return limit.answer(verdict)
            try:
                answer = call(request)
            except Unreadable as refusal:
                answer = problem_response(refusal.status, refusal.detail)
            return limit.passed(answer, verdict)

        def admitted(
            request: Request, size: int, fits: bool
        ) -> Response | Awaitable[Response] | None:
            assert admit is not None
            remote = request.remote
            if remote == UNIX_PEER:
                return admit(request, size, fits)
            verdict = limit.look(rate_limit_key(remote))
            if not verdict.allowed:
                return limit.answer(verdict)
            answer = admit(request, size, fits)
            if answer is None:
                # It counts when its body has come.
                return None
            return limit.passed(answer, limit.take(rate_limit_key(remote)))

        lane.call = limited
        if admit is not None:
            lane.admit = admitted


class RateLimitedHandler(BaseHandler):
    """Whoever asks too often."""

    body_methods = frozenset()

    def initialize(self, limit: RequestRateLimit, verdict: RateDecision) -> None:
        """`limit` is the one, `verdict` what it said."""
        self._limit = limit
        self._verdict = verdict

    def prepare(self) -> None:
        """Say so."""
        raise ApiError(429, self._limit.words(), headers=self._limit.fields(self._verdict))


class RateLimitedApplication(Application):
    """An application whose handlers are limited by address, as its lanes are; `rates` among its
    settings."""

    def get_handler_delegate(
        self,
        request: HTTPServerRequest,
        target_class: type[RequestHandler],
        target_kwargs: dict[str, Any] | None = None,
        path_args: list[bytes] | None = None,
        path_kwargs: dict[str, bytes] | None = None,
    ) -> Any:
        """The handler of a request; another one for whom asks too often."""
        limit: RequestRateLimit | None = self.settings["rates"].address
        remote = request.remote_ip or UNIX_PEER
        if limit is not None and remote != UNIX_PEER:
            verdict = limit.take(rate_limit_key(remote))
            if not verdict.allowed:
                parts = {"limit": limit, "verdict": verdict}
                return super().get_handler_delegate(request, RateLimitedHandler, parts)
            vars(request)[RATE_LIMIT_ATTRIBUTE] = limit.fields(verdict)
        return super().get_handler_delegate(
            request, target_class, target_kwargs, path_args, path_kwargs
        )
