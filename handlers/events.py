"""Taking events: one, an array, or NDJSON; answered when they are on disk.

An answer is 202, or says why not: 400 for what is no JSON as it is read here, 422 for what is and
is wrong, 409 for a sender's id that came with another event, 415 for a type that is not taken.
All of these are kept among the rejects. 503 means that nothing was stored of what it is said of.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from time import monotonic

from handlers.answers import NO_STORE, PROBLEM, SECURITY, problem, problem_body
from handlers.rates import Limit
from handlers.taking import (
    ACCEPTED,
    FULL,
    JSON,
    LATER,
    LINES,
    STEP,
    Clock,
    append,
    conclude,
    kind_of,
    now,
    results_of,
)
from rules.batch import CONFLICT, MANY_SHORT, NO_BATCH, UNFIT, Batch, items, lines, short, told
from rules.event import WrongEvent, read
from rules.faults import Fault
from rules.rulebook import Rules
from rules.strict import NotJson
from store.apps import Access, Apps, Known
from store.batch import Outcome
from store.event_rules import EventRules
from store.log import Log
from wire import Lane, Later, Request, Response

# The list and its items, too, have this address (handlers/queries.py).
PATTERN = r"(?:/api/v1)?/events"
WHO = ("WWW-Authenticate", 'Bearer realm="Marquee"')
NOBODY = problem(401, "This needs a token: send `Authorization: Bearer mq_…`.", WHO)
STRANGER = problem(401, "No such token is known here, or it was revoked.", WHO)
FORBIDDEN = problem(403, "This token lacks the scope `write`.")
TAKEN = Response(
    409,
    [PROBLEM, NO_STORE, *SECURITY],
    problem_body(409, "Another event came with this `sender_id`; the first one stays.", [CONFLICT]),
)
# So many heads are known again, the short ones.
MET, SHORT_HEAD = 4_096, 512
NOT_TAKEN = Fault("", f"came as another type than {JSON} or {LINES}, in UTF-8")
WORDS = {
    400: "This is not JSON as it is read here; it is kept among the rejected events.",
    415: f"Send events as {JSON} or {LINES}, in UTF-8; this is kept among the rejected ones.",
    422: "This is not a right event; it is kept among the rejected ones.",
}


class Events:
    """The lanes of `POST /events`."""

    def __init__(
        self,
        apps: Apps,
        log: Log,
        rules: EventRules,
        clock: Clock = now,
        limit: Limit | None = None,
    ) -> None:
        """`clock` tells the microseconds since 1970; `limit` is that of tokens."""
        self._apps = apps
        self._log = log
        self._rules = rules
        self._clock = clock
        self._limit = limit
        self._let_in = self.take if limit is None else self._limited
        # A sender's heads are mostly alike; found by their hash, as in `Apps.peek`.
        self._met: dict[bytes, tuple[Known, str | None]] = {}

    def lanes(self) -> list[Lane]:
        """The address, in all its forms."""
        return [Lane("POST", PATTERN, self.post, larger=True, admit=self.admit, name="events")]

    def admit(
        self, request: Request, size: int, fits: bool
    ) -> Response | Awaitable[Response] | None:
        """Turn away by its head a request whose body, of `size` bytes, could not be taken."""
        given = request.header("Authorization")
        if given is None:
            return NOBODY
        seen = self._apps.peek(given)
        if seen is None:
            return None if fits else self._turned_away(given)
        limit = self._limit
        if limit is not None and not (verdict := limit.look(seen.access.token)).allowed:
            self._log.refuse()
            return limit.answer(verdict)
        if fits and "write" in seen.access.scopes and self._log.room(size):
            return None
        return self._counted(seen.access, partial(self._refused, seen.access))

    async def _turned_away(self, given: str) -> Response:
        access = await self._known(given)
        if access is None:
            return STRANGER
        answer = self._counted(access, partial(self._refused, access))
        return answer if isinstance(answer, Response) else await answer

    def _refused(self, access: Access) -> Response:
        if "write" not in access.scopes:
            return FORBIDDEN
        self._log.refuse()
        return FULL

    def post(self, request: Request) -> Response | Awaitable[Response]:
        """Take what the body holds."""
        head = request.head
        met = self._met.get(head)
        if met is not None and monotonic() < met[0].until:
            known, kind = met
            return self._let_in(request.body, kind, known.access)
        given = request.header("Authorization")
        if given is None:
            return NOBODY
        kind = kind_of(request.header("Content-Type"))
        seen = self._apps.peek(given)
        if seen is None:
            return self._introduced(request.body, kind, given)
        if len(head) <= SHORT_HEAD:
            if len(self._met) >= MET:
                self._met.clear()
            self._met[head] = seen, kind
        return self._let_in(request.body, kind, seen.access)

    async def _introduced(self, body: bytes, kind: str | None, given: str) -> Response:
        access = await self._known(given)
        if access is None:
            return STRANGER
        answer = self._let_in(body, kind, access)
        return answer if isinstance(answer, Response) else await answer

    async def _known(self, given: str) -> Access | None:
        scheme, _, token = given.partition(" ")
        if scheme.lower() != "bearer":
            return None
        return await self._apps.authenticate(token.strip())

    def _limited(
        self, body: bytes, kind: str | None, access: Access
    ) -> Response | Awaitable[Response]:
        return self._counted(access, partial(self.take, body, kind, access))

    def _counted(
        self, access: Access, serve: Callable[[], Response | Awaitable[Response]]
    ) -> Response | Awaitable[Response]:
        """What it is served, if its token has not come too often."""
        limit = self._limit
        if limit is None:
            return serve()
        verdict = limit.take(access.token)
        if not verdict.allowed:
            self._log.refuse()
            return limit.answer(verdict)
        return limit.passed(serve(), verdict)

    def take(self, body: bytes, kind: str | None, access: Access) -> Response | Awaitable[Response]:
        """Take what a body of a kind (`kind_of`) holds."""
        if "write" not in access.scopes or not self._log.room(len(body)):
            return self._refused(access)
        rules = self._rules.book.of(access.app, access.strict)
        if kind == JSON:
            if body[:1] == b"{" or body.lstrip()[:1] != b"[":
                return self._one(body, rules)
            try:
                return self._many(body, items(body), rules)
            except NotJson as error:
                return self._refuse(400, body, [error.fault], rules)
        if kind == LINES:
            return self._many(body, lines(body), rules)
        return self._refuse(415, body, [NOT_TAKEN], rules)

    def _one(self, body: bytes, rules: Rules) -> Awaitable[Response]:
        at = self._clock()
        try:
            row = read(body, at, rules)
        except WrongEvent as wrong:
            return self._refuse(400 if wrong.malformed else 422, body, wrong.faults, rules)
        answer = Taken(_accepted)
        self._log.take_one(answer, row, received=at, body=body)
        return answer

    def _refuse(
        self, status: int, body: bytes, faults: Sequence[Fault], rules: Rules
    ) -> Awaitable[Response]:
        """Say what is wrong, once it is kept."""
        response = _wrong(status, faults)
        reject = (rules.app, body, told(faults))
        answer = Taken(lambda _: response)
        self._log.take(answer, (), (reject,), received=self._clock(), size=len(body))
        return answer

    def _many(self, body: bytes, some: Sequence[bytes], rules: Rules) -> Awaitable[Response]:
        if len(some) > MANY_SHORT and short(some) > MANY_SHORT:
            return self._refuse(422, body, [NO_BATCH], rules)
        if len(some) > STEP:
            return self._steps(some, rules)
        at, batch = self._clock(), Batch()
        batch.take(some, at, rules)
        answer = Taken(lambda outcomes: results_of([batch.results(outcomes)]))
        self._log.take(
            answer, batch.rows, batch.rejects, received=at, size=batch.size, bodies=batch.bodies
        )
        return answer

    async def _steps(self, some: Sequence[bytes], rules: Rules) -> Response:
        steps = []
        for start in range(0, len(some), STEP):
            part = some[start : start + STEP]
            steps.append(append(self._log, part, self._clock(), rules))
            await asyncio.sleep(0)
        return await conclude(steps)


def _accepted(outcomes: list[Outcome]) -> Response:
    ((number, verdict),) = outcomes
    if verdict in ("stored", "duplicate"):
        return ACCEPTED.with_body(b'{"id":"%d"}' % number)
    return TAKEN if verdict == "conflict" else _wrong(422, [UNFIT])


def _wrong(status: int, faults: Sequence[Fault]) -> Response:
    return Response(
        status, [PROBLEM, NO_STORE, *SECURITY], problem_body(status, WORDS[status], faults)
    )


class Taken(Later):
    """The answer to a request, when what was appended for it is on disk."""

    __slots__ = ("_answer_of",)

    def __init__(self, answer_of: Callable[[list[Outcome]], Response]) -> None:
        self._answer = self._take = None  # without the base's call, which costs as much again
        self._answer_of = answer_of

    def settled(self, outcomes: list[Outcome]) -> None:
        """Answer what became of its items; the log calls this."""
        try:
            answer: Response | Exception = self._answer_of(outcomes)
        except Exception as error:
            answer = error
        self.come(answer)

    def failed(self, error: Exception) -> None:
        """Answer that it was not stored; the log calls this."""
        self.come(problem(503, f"This was not stored ({error}); send it again.", LATER))
