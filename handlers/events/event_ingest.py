"""Taking events: one, an array, or NDJSON; answered when they are on disk.

An answer is 202, or says why not: 400 for what is no JSON as it is read here, 422 for what is and
is wrong, 409 for a sender's id that came with another event, 415 for a type that is not taken.
All of these are kept among the rejects. 503 means that nothing was stored of what it is said of.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from time import monotonic

from domain.common.strict_json import InvalidJson
from domain.common.validation_errors import FieldError
from domain.events.event import InvalidEvent, parse_event
from domain.events.event_batch import (
    EVENT_NOT_STORABLE,
    MAX_SHORT_ITEMS,
    SENDER_ID_CONFLICT,
    TOO_MANY_SHORT_ITEMS,
    EventBatch,
    count_short_items,
    encode_errors,
    split_json_array,
    split_ndjson,
)
from domain.events.schema_registry import AppSchemas
from handlers.common.base_handler import INVALID_CREDENTIALS, MISSING_CREDENTIALS
from handlers.common.ingest import (
    ACCEPTED,
    ITEMS_PER_STEP,
    JSON,
    NDJSON,
    OVERLOADED,
    RETRY_AFTER,
    MicrosClock,
    append_batch,
    await_batch_response,
    batch_response,
    body_type,
    now_micros,
)
from handlers.common.rate_limits import RequestRateLimit
from handlers.common.responses import (
    NO_STORE,
    PROBLEM_CONTENT_TYPE,
    SECURITY_HEADERS,
    problem_body,
    problem_response,
)
from httpserver import DeferredResponse, FastRoute, Request, Response
from store.sqlite.admin.apps import AppAccess, CachedToken, TokenAuthenticator
from store.sqlite.events.commit_batch import AppendOutcome
from store.sqlite.events.event_log import EventLog
from store.sqlite.events.event_schemas import EventSchemaStore

# The list and its items, too, have this address (handlers/events/event_queries.py).
EVENTS_PATTERN = r"(?:/api/v1)?/events"
BEARER_CHALLENGE = ("WWW-Authenticate", 'Bearer realm="Marquee"')
MISSING_TOKEN = problem_response(401, MISSING_CREDENTIALS, BEARER_CHALLENGE)
INVALID_TOKEN = problem_response(401, INVALID_CREDENTIALS, BEARER_CHALLENGE)
MISSING_WRITE_SCOPE = problem_response(403, "This token lacks the scope `write`.")
SENDER_ID_CONFLICT_RESPONSE = Response(
    409,
    [PROBLEM_CONTENT_TYPE, NO_STORE, *SECURITY_HEADERS],
    problem_body(
        409, "Another event came with this `sender_id`; the first one stays.", [SENDER_ID_CONFLICT]
    ),
)
# So many heads are known again, the short ones.
MAX_CACHED_HEADS, MAX_CACHED_HEAD_BYTES = 4_096, 512
UNSUPPORTED_TYPE = FieldError("", f"came as another type than {JSON} or {NDJSON}, in UTF-8")
STATUS_DETAILS = {
    400: "This is not JSON as it is read here; it is kept among the rejected events.",
    415: f"Send events as {JSON} or {NDJSON}, in UTF-8; this is kept among the rejected ones.",
    422: "This is not a right event; it is kept among the rejected ones.",
}


class EventIngest:
    """The lanes of `POST /events`."""

    def __init__(
        self,
        apps: TokenAuthenticator,
        log: EventLog,
        rules: EventSchemaStore,
        clock: MicrosClock = now_micros,
        limit: RequestRateLimit | None = None,
    ) -> None:
        """`clock` tells the microseconds since 1970; `limit` is that of tokens."""
        self._apps = apps
        self._log = log
        self._rules = rules
        self._clock = clock
        self._limit = limit
        self._let_in = self.take if limit is None else self._limited
        # A sender's heads are mostly alike; found by their hash, as in `Apps.peek`.
        self._met: dict[bytes, tuple[CachedToken, str | None]] = {}

    def lanes(self) -> list[FastRoute]:
        """The address, in all its forms."""
        return [
            FastRoute(
                "POST", EVENTS_PATTERN, self.post, larger=True, admit=self.admit, name="events"
            )
        ]

    def admit(
        self, request: Request, size: int, fits: bool
    ) -> Response | Awaitable[Response] | None:
        """Turn away by its head a request whose body, of `size` bytes, could not be taken."""
        given = request.header("Authorization")
        if given is None:
            return MISSING_TOKEN
        seen = self._apps.peek(given)
        if seen is None:
            return None if fits else self._turned_away(given)
        limit = self._limit
        if limit is not None and not (verdict := limit.check(seen.access.token)).allowed:
            self._log.refuse()
            return limit.too_many_response(verdict)
        if fits and "write" in seen.access.scopes and self._log.room(size):
            return None
        return self._counted(seen.access, partial(self._refused, seen.access))

    async def _turned_away(self, given: str) -> Response:
        access = await self._known(given)
        if access is None:
            return INVALID_TOKEN
        answer = self._counted(access, partial(self._refused, access))
        return answer if isinstance(answer, Response) else await answer

    def _refused(self, access: AppAccess) -> Response:
        if "write" not in access.scopes:
            return MISSING_WRITE_SCOPE
        self._log.refuse()
        return OVERLOADED

    def post(self, request: Request) -> Response | Awaitable[Response]:
        """Take what the body holds."""
        head = request.head
        met = self._met.get(head)
        if met is not None and monotonic() < met[0].until:
            known, kind = met
            return self._let_in(request.body, kind, known.access)
        given = request.header("Authorization")
        if given is None:
            return MISSING_TOKEN
        kind = body_type(request.header("Content-Type"))
        seen = self._apps.peek(given)
        if seen is None:
            return self._introduced(request.body, kind, given)
        if len(head) <= MAX_CACHED_HEAD_BYTES:
            if len(self._met) >= MAX_CACHED_HEADS:
                self._met.clear()
            self._met[head] = seen, kind
        return self._let_in(request.body, kind, seen.access)

    async def _introduced(self, body: bytes, kind: str | None, given: str) -> Response:
        access = await self._known(given)
        if access is None:
            return INVALID_TOKEN
        answer = self._let_in(body, kind, access)
        return answer if isinstance(answer, Response) else await answer

    async def _known(self, given: str) -> AppAccess | None:
        scheme, _, token = given.partition(" ")
        if scheme.lower() != "bearer":
            return None
        return await self._apps.authenticate(token.strip())

    def _limited(
        self, body: bytes, kind: str | None, access: AppAccess
    ) -> Response | Awaitable[Response]:
        return self._counted(access, partial(self.take, body, kind, access))

    def _counted(
        self, access: AppAccess, serve: Callable[[], Response | Awaitable[Response]]
    ) -> Response | Awaitable[Response]:
        """What it is served, if its token has not come too often."""
        limit = self._limit
        if limit is None:
            return serve()
        verdict = limit.count_request(access.token)
        if not verdict.allowed:
            self._log.refuse()
            return limit.too_many_response(verdict)
        return limit.add_limit_fields(serve(), verdict)

    def take(
        self, body: bytes, kind: str | None, access: AppAccess
    ) -> Response | Awaitable[Response]:
        """Take what a body of a kind (`kind_of`) holds."""
        if "write" not in access.scopes or not self._log.room(len(body)):
            return self._refused(access)
        rules = self._rules.book.of(access.app, access.strict)
        if kind == JSON:
            if body[:1] == b"{" or body.lstrip()[:1] != b"[":
                return self._one(body, rules)
            try:
                return self._many(body, split_json_array(body), rules)
            except InvalidJson as error:
                return self._refuse(400, body, [error.fault], rules)
        if kind == NDJSON:
            return self._many(body, split_ndjson(body), rules)
        return self._refuse(415, body, [UNSUPPORTED_TYPE], rules)

    def _one(self, body: bytes, rules: AppSchemas) -> Awaitable[Response]:
        at = self._clock()
        try:
            row = parse_event(body, at, rules)
        except InvalidEvent as wrong:
            return self._refuse(400 if wrong.malformed else 422, body, wrong.faults, rules)
        answer = DeferredEventResponse(_outcome_response)
        self._log.take_one(answer, row, received=at, body=body)
        return answer

    def _refuse(
        self, status: int, body: bytes, faults: Sequence[FieldError], rules: AppSchemas
    ) -> Awaitable[Response]:
        """Say what is wrong, once it is kept."""
        response = _rejection_response(status, faults)
        reject = (rules.app, body, encode_errors(faults))
        answer = DeferredEventResponse(lambda _: response)
        self._log.take(answer, (), (reject,), received=self._clock(), size=len(body))
        return answer

    def _many(self, body: bytes, some: Sequence[bytes], rules: AppSchemas) -> Awaitable[Response]:
        if len(some) > MAX_SHORT_ITEMS and count_short_items(some) > MAX_SHORT_ITEMS:
            return self._refuse(422, body, [TOO_MANY_SHORT_ITEMS], rules)
        if len(some) > ITEMS_PER_STEP:
            return self._steps(some, rules)
        at, batch = self._clock(), EventBatch()
        batch.take(some, at, rules)
        answer = DeferredEventResponse(lambda outcomes: batch_response([batch.results(outcomes)]))
        self._log.take(
            answer, batch.rows, batch.rejects, received=at, size=batch.size, bodies=batch.bodies
        )
        return answer

    async def _steps(self, some: Sequence[bytes], rules: AppSchemas) -> Response:
        steps = []
        for start in range(0, len(some), ITEMS_PER_STEP):
            part = some[start : start + ITEMS_PER_STEP]
            steps.append(append_batch(self._log, part, self._clock(), rules))
            await asyncio.sleep(0)
        return await await_batch_response(steps)


def _outcome_response(outcomes: list[AppendOutcome]) -> Response:
    ((number, verdict),) = outcomes
    if verdict in ("stored", "duplicate"):
        return ACCEPTED.with_body(b'{"id":"%d"}' % number)
    return (
        SENDER_ID_CONFLICT_RESPONSE
        if verdict == "conflict"
        else _rejection_response(422, [EVENT_NOT_STORABLE])
    )


def _rejection_response(status: int, faults: Sequence[FieldError]) -> Response:
    return Response(
        status,
        [PROBLEM_CONTENT_TYPE, NO_STORE, *SECURITY_HEADERS],
        problem_body(status, STATUS_DETAILS[status], faults),
    )


class DeferredEventResponse(DeferredResponse):
    """The answer to a request, when what was appended for it is on disk."""

    __slots__ = ("_answer_of",)

    def __init__(self, answer_of: Callable[[list[AppendOutcome]], Response]) -> None:
        self._answer = self._take = None  # without the base's call, which costs as much again
        self._answer_of = answer_of

    def settled(self, outcomes: list[AppendOutcome]) -> None:
        """Answer what became of its items; the log calls this."""
        try:
            answer: Response | Exception = self._answer_of(outcomes)
        except Exception as error:
            answer = error
        self.come(answer)

    def failed(self, error: Exception) -> None:
        """Answer that it was not stored; the log calls this."""
        self.come(
            problem_response(503, f"This was not stored ({error}); send it again.", RETRY_AFTER)
        )
