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

from handlers.answers import problem
from handlers.base import LIMITED, Handler, Refusal
from rules.rate import Meter, Rate, Verdict, whose
from wire import Lane, Later, Request, Response
from wire import Refusal as Unreadable

Fields = list[tuple[str, str]]
# By which a load balancer sees whether the process is there.
FREE = ("healthz",)
# In the place of an address: one's own proxy, over a Unix socket, that names nobody.
NOBODY = "unix"


class Limit:
    """One limit: its name, and who did how much of late."""

    def __init__(self, name: str, rate: Rate, clock: Callable[[], float] = monotonic) -> None:
        self.name = name
        self.refused = 0
        self._meter = Meter(rate)
        self._clock = clock
        self._policy = ("RateLimit-Policy", f'"{name}";q={rate.most};w={rate.seconds}')
        self._line = ": ".join(self._policy).encode() + b"\r\n"

    def take(self, key: str | int) -> Verdict:
        """Count a request of someone's, if it may come."""
        verdict = self._meter.take(key, self._clock())
        if not verdict[0]:
            self.refused += 1
        return verdict

    def look(self, key: str | int) -> Verdict:
        """Whether one might come."""
        verdict = self._meter.look(key, self._clock())
        self.refused += not verdict.allowed
        return verdict

    def fields(self, verdict: Verdict) -> Fields:
        """What the answer says of it."""
        later = [] if verdict.allowed else [("Retry-After", str(_seconds(verdict)))]
        return [self._policy, ("RateLimit", self._left(verdict)), *later]

    def told(self, answer: Response, verdict: Verdict) -> Response:
        """The answer with those fields."""
        said = self._left(verdict)
        lines = b"%bRateLimit: %b\r\n" % (self._line, said.encode())
        return answer.told((self._policy, ("RateLimit", said)), lines)

    def passed(
        self, answer: Response | Awaitable[Response], verdict: Verdict
    ) -> Response | Awaitable[Response]:
        """A lane's answer to a request that has passed, now or when it comes."""
        if isinstance(answer, Response):
            return self.told(answer, verdict)
        if not isinstance(answer, Later):
            return _late(answer, self, verdict)
        later = Later()
        answer.then(partial(_give, later, self, verdict))
        return later

    def words(self) -> str:
        """What is told to whom is refused."""
        count, seconds = self._meter.rate
        per = "a second" if seconds == 1 else f"in {seconds} seconds"
        return f"From this {self.name} {count:,} requests {per} are taken; send it again later."

    def answer(self, verdict: Verdict) -> Response:
        """The answer to a request that is one too many."""
        return problem(429, self.words(), *self.fields(verdict))

    def _left(self, verdict: Verdict) -> str:
        return f'"{self.name}";r={verdict.left};t={_seconds(verdict)}'


def _seconds(verdict: Verdict) -> int:
    # Nearly all have a wait of less than a second.
    return 1 if verdict.wait <= 1 else ceil(verdict.wait)


def _give(later: Later, limit: Limit, verdict: Verdict, answer: Response | BaseException) -> None:
    later.come(limit.told(answer, verdict) if isinstance(answer, Response) else answer)


async def _late(answer: Awaitable[Response], limit: Limit, verdict: Verdict) -> Response:
    return limit.told(await answer, verdict)


class Rates:
    """The limits that are set."""

    def __init__(self, by_address: Rate | None = None, by_token: Rate | None = None) -> None:
        self.address = None if by_address is None else Limit("address", by_address)
        self.token = None if by_token is None else Limit("token", by_token)

    def limit_lane(self, lane: Lane) -> None:
        """Have the lane's requests counted by their address; costs nothing where that is off."""
        limit, call, admit = self.address, lane.call, lane.admit
        if limit is None or lane.name in FREE:
            return

        def limited(request: Request) -> Response | Awaitable[Response]:
            remote = request.remote
            if remote == NOBODY:
                return call(request)
            verdict = limit.take(whose(remote))
            if not verdict.allowed:
                return limit.answer(verdict)
            try:
                answer = call(request)
            except Unreadable as refusal:
                answer = problem(refusal.status, refusal.detail)
            return limit.passed(answer, verdict)

        def admitted(
            request: Request, size: int, fits: bool
        ) -> Response | Awaitable[Response] | None:
            assert admit is not None
            remote = request.remote
            if remote == NOBODY:
                return admit(request, size, fits)
            verdict = limit.look(whose(remote))
            if not verdict.allowed:
                return limit.answer(verdict)
            answer = admit(request, size, fits)
            if answer is None:
                # It counts when its body has come.
                return None
            return limit.passed(answer, limit.take(whose(remote)))

        lane.call = limited
        if admit is not None:
            lane.admit = admitted


class TooOften(Handler):
    """Whoever asks too often."""

    body_methods = frozenset()

    def initialize(self, limit: Limit, verdict: Verdict) -> None:
        """`limit` is the one, `verdict` what it said."""
        self._limit = limit
        self._verdict = verdict

    def prepare(self) -> None:
        """Say so."""
        raise Refusal(429, self._limit.words(), headers=self._limit.fields(self._verdict))


class Limited(Application):
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
        limit: Limit | None = self.settings["rates"].address
        remote = request.remote_ip or NOBODY
        if limit is not None and remote != NOBODY:
            verdict = limit.take(whose(remote))
            if not verdict.allowed:
                parts = {"limit": limit, "verdict": verdict}
                return super().get_handler_delegate(request, TooOften, parts)
            vars(request)[LIMITED] = limit.fields(verdict)
        return super().get_handler_delegate(
            request, target_class, target_kwargs, path_args, path_kwargs
        )
