"""Fast route of `POST /events`: one event, an array, or NDJSON; responds when it is on disk.

Statuses: 202 stored, 400 invalid JSON, 422 invalid event, 409 another event has the `sender_id`,
415 unsupported media type. Bodies with any of these errors are stored as rejected events. 503 means
that nothing, or none of the items with status `refused`, was stored.
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
from store.sqlite.admin.token_authenticator import AppAccess, CachedToken, TokenAuthenticator
from store.sqlite.events.commit_batch import AppendOutcome
from store.sqlite.events.event_log import EventLog
from store.sqlite.events.event_schemas import EventSchemaStore

# Also the pattern of the Tornado route of `/events` (handlers/events/events.py).
EVENTS_PATTERN = r"(?:/api/v1)?/events"
BEARER_CHALLENGE = ("WWW-Authenticate", 'Bearer realm="Marquee"')
MISSING_TOKEN = problem_response(401, MISSING_CREDENTIALS, BEARER_CHALLENGE)
INVALID_TOKEN = problem_response(401, INVALID_CREDENTIALS, BEARER_CHALLENGE)
MISSING_WRITE_SCOPE = problem_response(403, "This token lacks the scope `write`.")
SENDER_ID_CONFLICT_RESPONSE = Response(
    409,
    [PROBLEM_CONTENT_TYPE, NO_STORE, *SECURITY_HEADERS],
    problem_body(
        409,
        "Another event has this `sender_id`; the stored one is unchanged.",
        [SENDER_ID_CONFLICT],
    ),
)
# Size of the cache of request heads. Clients repeat their heads; only short ones are cached.
MAX_CACHED_HEADS, MAX_CACHED_HEAD_BYTES = 4_096, 512
UNSUPPORTED_TYPE = FieldError("", f"is neither {JSON} nor {NDJSON} in UTF-8")
STATUS_DETAILS = {
    400: "The body is not valid JSON; it is stored as a rejected event.",
    415: f"Send events as {JSON} or {NDJSON} in UTF-8; the body is stored as a rejected event.",
    422: "The event is invalid; it is stored as a rejected event.",
}


class EventIngest:
    """The fast route of `POST /events`."""

    def __init__(
        self,
        apps: TokenAuthenticator,
        log: EventLog,
        schemas: EventSchemaStore,
        clock: MicrosClock = now_micros,
        limit: RequestRateLimit | None = None,
    ) -> None:
        """`clock` returns microseconds since 1970; `limit` is the rate limit per token."""
        self._apps = apps
        self._log = log
        self._schemas = schemas
        self._clock = clock
        self._limit = limit
        self._ingest = self.ingest if limit is None else self._rate_limited_ingest
        # Keyed by the head; bytes cache their hash, as in `TokenAuthenticator.peek`.
        self._cached_heads: dict[bytes, tuple[CachedToken, str | None]] = {}

    def fast_routes(self) -> list[FastRoute]:
        """Return the route."""
        return [
            FastRoute(
                "POST",
                EVENTS_PATTERN,
                self.post,
                larger_to_application=True,
                check_admission=self.admit_body,
                name="events",
            )
        ]

    def admit_body(
        self, request: Request, size: int, fits: bool
    ) -> Response | Awaitable[Response] | None:
        """Return a refusal before the body of `size` bytes is read, None to read it."""
        authorization = request.header("Authorization")
        if authorization is None:
            return MISSING_TOKEN
        token = self._apps.peek(authorization)
        if token is None:
            return None if fits else self._refuse_uncached(authorization)
        limit = self._limit
        if limit is not None and not (decision := limit.check(token.access.token_id)).allowed:
            self._log.count_refused()
            return limit.too_many_response(decision)
        if fits and "write" in token.access.scopes and self._log.has_room(size):
            return None
        return self._with_rate_limit(token.access, partial(self._refusal, token.access))

    async def _refuse_uncached(self, authorization: str) -> Response:
        access = await self._authenticate(authorization)
        if access is None:
            return INVALID_TOKEN
        response = self._with_rate_limit(access, partial(self._refusal, access))
        return response if isinstance(response, Response) else await response

    def _refusal(self, access: AppAccess) -> Response:
        if "write" not in access.scopes:
            return MISSING_WRITE_SCOPE
        self._log.count_refused()
        return OVERLOADED

    def post(self, request: Request) -> Response | Awaitable[Response]:
        """Ingest a body of at most `max_body` bytes."""
        head = request.head
        cached = self._cached_heads.get(head)
        if cached is not None and monotonic() < cached[0].expires_at:
            token, media_type = cached
            return self._ingest(request.body, media_type, token.access)
        authorization = request.header("Authorization")
        if authorization is None:
            return MISSING_TOKEN
        media_type = body_type(request.header("Content-Type"))
        known_token = self._apps.peek(authorization)
        if known_token is None:
            return self._authenticate_and_ingest(request.body, media_type, authorization)
        if len(head) <= MAX_CACHED_HEAD_BYTES:
            if len(self._cached_heads) >= MAX_CACHED_HEADS:
                self._cached_heads.clear()
            self._cached_heads[head] = known_token, media_type
        return self._ingest(request.body, media_type, known_token.access)

    async def _authenticate_and_ingest(
        self, body: bytes, media_type: str | None, authorization: str
    ) -> Response:
        access = await self._authenticate(authorization)
        if access is None:
            return INVALID_TOKEN
        response = self._ingest(body, media_type, access)
        return response if isinstance(response, Response) else await response

    async def _authenticate(self, authorization: str) -> AppAccess | None:
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "bearer":
            return None
        return await self._apps.authenticate(token.strip())

    def _rate_limited_ingest(
        self, body: bytes, media_type: str | None, access: AppAccess
    ) -> Response | Awaitable[Response]:
        return self._with_rate_limit(access, partial(self.ingest, body, media_type, access))

    def _with_rate_limit(
        self, access: AppAccess, serve: Callable[[], Response | Awaitable[Response]]
    ) -> Response | Awaitable[Response]:
        """Return the response of `serve`, or 429 above the rate limit of the token."""
        limit = self._limit
        if limit is None:
            return serve()
        decision = limit.count_request(access.token_id)
        if not decision.allowed:
            self._log.count_refused()
            return limit.too_many_response(decision)
        return limit.add_limit_fields(serve(), decision)

    def ingest(
        self, body: bytes, media_type: str | None, access: AppAccess
    ) -> Response | Awaitable[Response]:
        """Validate and append the events of a body; `media_type` is a result of `body_type`."""
        if "write" not in access.scopes or not self._log.has_room(len(body)):
            return self._refusal(access)
        schemas = self._schemas.registry.of(access.app, access.strict)
        if media_type == JSON:
            if body[:1] == b"{" or body.lstrip()[:1] != b"[":
                return self._ingest_one(body, schemas)
            try:
                return self._ingest_batch(body, split_json_array(body), schemas)
            except InvalidJson as error:
                return self._store_rejected(400, body, [error.fault], schemas)
        if media_type == NDJSON:
            return self._ingest_batch(body, split_ndjson(body), schemas)
        return self._store_rejected(415, body, [UNSUPPORTED_TYPE], schemas)

    def _ingest_one(self, body: bytes, schemas: AppSchemas) -> Awaitable[Response]:
        now = self._clock()
        try:
            row = parse_event(body, now, schemas)
        except InvalidEvent as error:
            status = 400 if error.malformed else 422
            return self._store_rejected(status, body, error.faults, schemas)
        response = DeferredEventResponse(_outcome_response)
        self._log.enqueue_one(response, row, received=now, body=body)
        return response

    def _store_rejected(
        self, status: int, body: bytes, errors: Sequence[FieldError], schemas: AppSchemas
    ) -> Awaitable[Response]:
        """Store the body as a rejected event, then respond with its errors."""
        rejection = _rejection_response(status, errors)
        rejected = (schemas.app, body, encode_errors(errors))
        response = DeferredEventResponse(lambda _: rejection)
        self._log.enqueue(response, (), (rejected,), received=self._clock(), size=len(body))
        return response

    def _ingest_batch(
        self, body: bytes, items: Sequence[bytes], schemas: AppSchemas
    ) -> Awaitable[Response]:
        if len(items) > MAX_SHORT_ITEMS and count_short_items(items) > MAX_SHORT_ITEMS:
            return self._store_rejected(422, body, [TOO_MANY_SHORT_ITEMS], schemas)
        if len(items) > ITEMS_PER_STEP:
            return self._ingest_in_steps(items, schemas)
        now, batch = self._clock(), EventBatch()
        batch.take(items, now, schemas)
        response = DeferredEventResponse(lambda outcomes: batch_response([batch.results(outcomes)]))
        self._log.enqueue(
            response, batch.rows, batch.rejects, received=now, size=batch.size, bodies=batch.bodies
        )
        return response

    async def _ingest_in_steps(self, items: Sequence[bytes], schemas: AppSchemas) -> Response:
        pending = []
        for start in range(0, len(items), ITEMS_PER_STEP):
            step = items[start : start + ITEMS_PER_STEP]
            pending.append(append_batch(self._log, step, self._clock(), schemas))
            await asyncio.sleep(0)
        return await await_batch_response(pending)


def _outcome_response(outcomes: list[AppendOutcome]) -> Response:
    ((number, verdict),) = outcomes
    if verdict in ("stored", "duplicate"):
        return ACCEPTED.with_body(b'{"id":"%d"}' % number)
    return (
        SENDER_ID_CONFLICT_RESPONSE
        if verdict == "conflict"
        else _rejection_response(422, [EVENT_NOT_STORABLE])
    )


def _rejection_response(status: int, errors: Sequence[FieldError]) -> Response:
    return Response(
        status,
        [PROBLEM_CONTENT_TYPE, NO_STORE, *SECURITY_HEADERS],
        problem_body(status, STATUS_DETAILS[status], errors),
    )


class DeferredEventResponse(DeferredResponse):
    """The response to a request whose events are not on disk yet; the event log completes it."""

    __slots__ = ("_response_for",)

    def __init__(self, response_for: Callable[[list[AppendOutcome]], Response]) -> None:
        self._result = self._callback = None  # calling the base's __init__ would double the cost
        self._response_for = response_for

    def settled(self, outcomes: list[AppendOutcome]) -> None:
        """Respond with the outcomes of the appended events."""
        try:
            response: Response | Exception = self._response_for(outcomes)
        except Exception as error:
            response = error
        self.resolve(response)

    def failed(self, error: Exception) -> None:
        """Respond with 503: the events were not stored."""
        self.resolve(problem_response(503, f"Not stored ({error}); send it again.", RETRY_AFTER))
