"""Taking events: one, an array, or NDJSON; answered when they are on disk.

An answer is 202, or says why not: 400 for what is no JSON as it is read here, 422 for what is and
is wrong, 409 for a sender's id that came with another event, 415 for a type that is not taken.
All of these are kept among the rejects. 503 means that nothing was stored of what it is said of.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

from handlers.answers import NO_STORE, PROBLEM, SECURITY, problem, problem_body
from handlers.taking import (
    ACCEPTED,
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
from rules.batch import CONFLICT, MANY_SHORT, NO_BATCH, UNFIT, items, lines, short, told
from rules.event import WrongEvent, read
from rules.faults import Fault
from rules.rulebook import Rules
from rules.strict import NotJson
from store.apps import Access, Apps
from store.batch import Outcome
from store.errors import StoreError
from store.event_rules import EventRules
from store.log import Log
from wire import Lane, Request, Response

# The list and its items, too, have this address (handlers/queries.py).
PATTERN = r"(?:/api/v1)?/events/?"
WHO = ("WWW-Authenticate", 'Bearer realm="Marquee"')
NOBODY = problem(401, "This needs a token: send `Authorization: Bearer mq_…`.", WHO)
STRANGER = problem(401, "No such token is known here, or it was revoked.", WHO)
FORBIDDEN = problem(403, "This token lacks the scope `write`.")
FULL = problem(503, "More events are waiting than can be held; send this again.", LATER)
TAKEN = Response(
    409,
    [PROBLEM, NO_STORE, *SECURITY],
    problem_body(409, "Another event came with this `sender_id`; the first one stays.", [CONFLICT]),
)
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
    ) -> None:
        """`clock` tells the microseconds since 1970."""
        self._apps = apps
        self._log = log
        self._rules = rules
        self._clock = clock

    def lanes(self) -> list[Lane]:
        """The address, in all its forms."""
        return [Lane("POST", PATTERN, self.post, larger=True, name="events")]

    def post(self, request: Request) -> Response | Awaitable[Response]:
        """Take what the body holds."""
        given = request.header("Authorization")
        access = None if given is None else self._apps.peek(given)
        if access is None:
            return NOBODY if given is None else self._introduced(request, given)
        return self.take(request.body, request.header("Content-Type"), access)

    async def _introduced(self, request: Request, given: str) -> Response:
        scheme, _, token = given.partition(" ")
        access = None
        if scheme.lower() == "bearer":
            access = await self._apps.authenticate(token.strip())
        if access is None:
            return STRANGER
        answer = self.take(request.body, request.header("Content-Type"), access)
        return answer if isinstance(answer, Response) else await answer

    def take(self, body: bytes, said: str | None, access: Access) -> Response | Awaitable[Response]:
        """Take what a body holds, of which was `said` that it is of a type."""
        if "write" not in access.scopes:
            return FORBIDDEN
        if not self._log.room(len(body)):
            self._log.refuse()
            return FULL
        rules = self._rules.book.of(access.app, access.strict)
        kind = kind_of(said)
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
        stored = self._log.append((row,), received=at, size=len(body), bodies=(body,))
        return _then(stored, _accepted)

    def _refuse(
        self, status: int, body: bytes, faults: Sequence[Fault], rules: Rules
    ) -> Awaitable[Response]:
        """Say what is wrong, once it is kept."""
        response = _wrong(status, faults)
        reject = (rules.app, body, told(faults))
        kept = self._log.append((), (reject,), received=self._clock(), size=len(body))
        return _then(kept, lambda _: response)

    def _many(self, body: bytes, some: Sequence[bytes], rules: Rules) -> Awaitable[Response]:
        if len(some) > MANY_SHORT and short(some) > MANY_SHORT:
            return self._refuse(422, body, [NO_BATCH], rules)
        if len(some) > STEP:
            return self._steps(some, rules)
        batch, stored = append(self._log, some, self._clock(), rules)
        return _then(stored, lambda outcomes: results_of([batch.results(outcomes)]))

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


def _then(
    stored: "asyncio.Future[list[Outcome]]", answer: Callable[[list[Outcome]], Response]
) -> "asyncio.Future[Response]":
    """The answer, when what was appended is on disk."""
    given: asyncio.Future[Response] = stored.get_loop().create_future()
    stored.add_done_callback(partial(_settle, given, answer))
    return given


def _settle(
    given: "asyncio.Future[Response]",
    answer: Callable[[list[Outcome]], Response],
    stored: "asyncio.Future[list[Outcome]]",
) -> None:
    if given.done():
        return
    try:
        given.set_result(answer(stored.result()))
    except StoreError as error:
        given.set_result(problem(503, f"This was not stored ({error}); send it again.", LATER))
    except Exception as error:
        given.set_exception(error)
