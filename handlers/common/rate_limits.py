"""Rate limits per address and per token; off by default.

A request above the limit gets 429 before its body is read. Responses carry the fields of the IETF
draft draft-ietf-httpapi-ratelimit-headers-11: `RateLimit-Policy` has the quota and the window,
`RateLimit` the remaining requests and the seconds until more are available. Only responses of the
HTTP server itself (malformed, too large, out of memory budget) lack these fields.
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
from httpserver import DeferredResponse, FastRoute, Request, RequestRefusal, Response

HeaderFields = list[tuple[str, str]]
# Load balancers probe these routes.
UNLIMITED_ROUTES = ("healthz",)
# Peer address of a local proxy on a Unix socket that sends no client address.
UNIX_PEER = "unix"


class RequestRateLimit:
    """A named rate limit and its meter; `rejected_count` counts the 429 responses."""

    def __init__(
        self, name: str, rate: RequestRate, clock: Callable[[], float] = monotonic
    ) -> None:
        self.name = name
        self.rejected_count = 0
        self._meter = RateLimiter(rate)
        self._clock = clock
        self._policy = ("RateLimit-Policy", f'"{name}";q={rate.most};w={rate.seconds}')
        self._policy_line = ": ".join(self._policy).encode() + b"\r\n"

    def count_request(self, key: str | int) -> RateDecision:
        """Count a request of this client if it is allowed."""
        decision = self._meter.take(key, self._clock())
        if not decision[0]:
            self.rejected_count += 1
        return decision

    def check(self, key: str | int) -> RateDecision:
        """Return the decision for the next request without counting it."""
        decision = self._meter.look(key, self._clock())
        self.rejected_count += not decision.allowed
        return decision

    def fields(self, decision: RateDecision) -> HeaderFields:
        """Return the rate limit fields of a response."""
        retry = [] if decision.allowed else [("Retry-After", str(_retry_seconds(decision)))]
        return [self._policy, ("RateLimit", self._remaining(decision)), *retry]

    def with_limit_fields(self, response: Response, decision: RateDecision) -> Response:
        """Return the response with the rate limit fields."""
        remaining = self._remaining(decision)
        lines = b"%bRateLimit: %b\r\n" % (self._policy_line, remaining.encode())
        return response.with_encoded_headers((self._policy, ("RateLimit", remaining)), lines)

    def add_limit_fields(
        self, response: Response | Awaitable[Response], decision: RateDecision
    ) -> Response | Awaitable[Response]:
        """Add the rate limit fields to a response of a fast route, now or when it is ready."""
        if isinstance(response, Response):
            return self.with_limit_fields(response, decision)
        if not isinstance(response, DeferredResponse):
            return _await_with_fields(response, self, decision)
        deferred = DeferredResponse()
        response.add_callback(partial(_complete_with_fields, deferred, self, decision))
        return deferred

    def message(self) -> str:
        """Return the problem detail of a 429."""
        count, seconds = self._meter.rate
        per = "per second" if seconds == 1 else f"in {seconds} seconds"
        return f"Limit per {self.name}: {count:,} requests {per}. Send the request again later."

    def too_many_response(self, decision: RateDecision) -> Response:
        """Return a 429 for a fast route."""
        return problem_response(429, self.message(), *self.fields(decision))

    def _remaining(self, decision: RateDecision) -> str:
        return f'"{self.name}";r={decision.left};t={_retry_seconds(decision)}'


def _retry_seconds(decision: RateDecision) -> int:
    # Nearly all waits are shorter than a second.
    return 1 if decision.wait <= 1 else ceil(decision.wait)


def _complete_with_fields(
    deferred: DeferredResponse,
    limit: RequestRateLimit,
    decision: RateDecision,
    response: Response | BaseException,
) -> None:
    deferred.resolve(
        limit.with_limit_fields(response, decision) if isinstance(response, Response) else response
    )


async def _await_with_fields(
    response: Awaitable[Response], limit: RequestRateLimit, decision: RateDecision
) -> Response:
    return limit.with_limit_fields(await response, decision)


class RequestRateLimits:
    """The configured rate limits; None where a limit is off."""

    def __init__(
        self, by_address: RequestRate | None = None, by_token: RequestRate | None = None
    ) -> None:
        self.per_address = None if by_address is None else RequestRateLimit("address", by_address)
        self.per_token = None if by_token is None else RequestRateLimit("token", by_token)

    def limit_fast_route(self, route: FastRoute) -> None:
        """Wrap a fast route with the limit per address, if that limit is on."""
        limit, call, admit = self.per_address, route.handler, route.check_admission
        if limit is None or route.name in UNLIMITED_ROUTES:
            return

        def limited(request: Request) -> Response | Awaitable[Response]:
            remote = request.client_address
            if remote == UNIX_PEER:
                return call(request)
            decision = limit.count_request(rate_limit_key(remote))
            if not decision.allowed:
                return limit.too_many_response(decision)
            try:
                response = call(request)
            except RequestRefusal as refusal:
                response = problem_response(refusal.status, refusal.detail)
            return limit.add_limit_fields(response, decision)

        def admitted(
            request: Request, size: int, fits: bool
        ) -> Response | Awaitable[Response] | None:
            assert admit is not None
            remote = request.client_address
            if remote == UNIX_PEER:
                return admit(request, size, fits)
            decision = limit.check(rate_limit_key(remote))
            if not decision.allowed:
                return limit.too_many_response(decision)
            response = admit(request, size, fits)
            if response is None:
                # `limited` counts the request when its body has arrived.
                return None
            return limit.add_limit_fields(response, limit.count_request(rate_limit_key(remote)))

        route.handler = limited
        if admit is not None:
            route.check_admission = admitted


class RateLimitedHandler(BaseHandler):
    """Responds 429 to a request above its limit."""

    body_methods = frozenset()
    route_name = "rate limited"

    def initialize(self, limit: RequestRateLimit, decision: RateDecision) -> None:
        """Set the exceeded limit and its decision."""
        self._limit = limit
        self._decision = decision

    def prepare(self) -> None:
        """Raise 429 before any method runs."""
        raise ApiError(429, self._limit.message(), headers=self._limit.fields(self._decision))


class RateLimitedApplication(Application):
    """A Tornado application with the limit per address; requires the setting `rates`."""

    def get_handler_delegate(
        self,
        request: HTTPServerRequest,
        target_class: type[RequestHandler],
        target_kwargs: dict[str, Any] | None = None,
        path_args: list[bytes] | None = None,
        path_kwargs: dict[str, bytes] | None = None,
    ) -> Any:
        """Return the delegate of the handler, or of `RateLimitedHandler` above the limit."""
        limit: RequestRateLimit | None = self.settings["rates"].per_address
        remote = request.remote_ip or UNIX_PEER
        if limit is not None and remote != UNIX_PEER:
            decision = limit.count_request(rate_limit_key(remote))
            if not decision.allowed:
                arguments = {"limit": limit, "decision": decision}
                return super().get_handler_delegate(request, RateLimitedHandler, arguments)
            vars(request)[RATE_LIMIT_ATTRIBUTE] = limit.fields(decision)
        return super().get_handler_delegate(
            request, target_class, target_kwargs, path_args, path_kwargs
        )
