"""Fast route of `POST /api/v1/event/{public_token}`: events of stories.

The public token does not authenticate the client, so `/metrics` does not count these events as
received. An invalid event is not stored as a rejected event, because it may contain a user id.
"""

from collections.abc import Awaitable, Collection
from typing import Any, NamedTuple

from domain.common.validation_errors import FieldError
from domain.events.event import InvalidEvent
from domain.stories.story_event import parse_story_event, story_event_row, user_pseudonym
from handlers.common.cors import VARY_ORIGIN, preflight_response, with_cors_headers
from handlers.common.ingest import (
    ACCEPTED,
    JSON,
    OVERLOADED,
    RETRY_AFTER,
    MicrosClock,
    body_type,
    now_micros,
)
from handlers.common.responses import (
    NO_STORE,
    PROBLEM_CONTENT_TYPE,
    SECURITY_HEADERS,
    problem_body,
    problem_response,
)
from httpserver import DeferredResponse, FastRoute, Request, Response
from store.sqlite.events.commit_batch import AppendOutcome
from store.sqlite.events.event_log import EventLog
from store.sqlite.stories.story_cache import CachedStories, StoryCache
from store.sqlite.stories.story_event_types import StoryEventTypes

STORY_EVENT_PATTERN = r"/api/v1/event/([\w.~-]{1,100})"
ALLOWED_METHODS = "POST, OPTIONS"
# A body has a word and a user id; the rest is for escapes and white space.
MAX_STORY_EVENT_BYTES = 8_192
UNKNOWN_TOKEN = problem_response(404, "Unknown public token.", VARY_ORIGIN)
UNKNOWN_STORY = problem_response(404, "Unknown story of this app.", VARY_ORIGIN)
OVERLOADED_CORS = OVERLOADED.with_headers(VARY_ORIGIN)
UNSTORABLE_EVENT = problem_response(422, "This event cannot be stored.", VARY_ORIGIN)
# Browsers send this type to other hosts without a CORS preflight.
PLAIN_TEXT = "text/plain"
UNSUPPORTED_TYPE = problem_response(415, f"Send the event as {JSON} in UTF-8.", VARY_ORIGIN)
ACCEPTED_CORS = ACCEPTED.with_headers(VARY_ORIGIN)
# Size of the cache of request heads. Clients repeat their heads; only short ones are cached.
MAX_CACHED_HEADS, MAX_CACHED_HEAD_BYTES = 4_096, 512
STATUS_DETAILS = {
    400: "The body is not valid JSON.",
    422: "The event is invalid.",
}


class StoryEventIngest:
    """The fast route of `POST /api/v1/event/{public_token}`."""

    def __init__(
        self,
        story_cache: StoryCache[Any],
        log: EventLog,
        salt: bytes,
        types: StoryEventTypes,
        clock: MicrosClock = now_micros,
    ) -> None:
        """`salt` is that of the installation; `clock` returns microseconds since 1970."""
        self._types = types
        self._story_cache = story_cache
        self._log = log
        self._salt = salt
        self._clock = clock
        self._cached_heads: dict[bytes, StoryRequestHead] = {}

    def fast_routes(self) -> list[FastRoute]:
        """Return the routes of POST and of its CORS preflight."""
        return [
            FastRoute(
                "POST",
                STORY_EVENT_PATTERN,
                self.post,
                body_limit=MAX_STORY_EVENT_BYTES,
                name="story events",
            ),
            FastRoute("OPTIONS", STORY_EVENT_PATTERN, self.options, name="story events preflight"),
        ]

    async def options(self, request: Request) -> Response:
        """Return the response to a CORS preflight."""
        stories = await self._story_cache.get(request.params[0])
        hosts = () if stories is None else stories.shown.hosts
        return preflight_response(ALLOWED_METHODS, request.header("Origin"), hosts)

    def post(self, request: Request) -> Response | Awaitable[Response]:
        """Ingest one event."""
        try:
            stories = self._story_cache.peek(request.params[0])
        except KeyError:
            return self._load_stories_and_ingest(request)
        return self._ingest(request, stories)

    async def _load_stories_and_ingest(self, request: Request) -> Response:
        stories = await self._story_cache.get(request.params[0])
        response = self._ingest(request, stories)
        return response if isinstance(response, Response) else await response

    def _ingest(
        self, request: Request, stories: CachedStories[Any] | None
    ) -> Response | Awaitable[Response]:
        if stories is None:
            return UNKNOWN_TOKEN
        head = self._cached_heads.get(request.head) or self._parse_head(request)
        origin, hosts, body = head.origin, stories.shown.hosts, request.body
        if not head.is_json:
            return with_cors_headers(UNSUPPORTED_TYPE, origin, hosts)
        if not self._log.has_room(len(body)):
            return with_cors_headers(OVERLOADED_CORS, origin, hosts)
        now = self._clock()
        try:
            event = parse_story_event(body, now)
        except InvalidEvent as error:
            return with_cors_headers(_rejection_response(error), origin, hosts)
        if event.story not in stories.stories:
            return with_cors_headers(UNKNOWN_STORY, origin, hosts)
        app = stories.shown.app
        try:
            if not self._types.takes(app, event.type):
                return with_cors_headers(self._too_many_types(), origin, hosts)
        except KeyError:
            return self._load_types_and_ingest(request, stories)
        user = None
        if event.user is not None and not head.opted_out:
            user = user_pseudonym(self._salt, app, event.user)
        rows = (story_event_row(event, app, user),)
        response = DeferredStoryEventResponse(origin, hosts)
        self._log.enqueue(response, rows, received=now, size=len(body), counted=False)
        return response

    async def _load_types_and_ingest(
        self, request: Request, stories: CachedStories[Any]
    ) -> Response:
        await self._types.load(stories.shown.app)
        response = self._ingest(request, stories)
        return response if isinstance(response, Response) else await response

    def _too_many_types(self) -> Response:
        message = f"is new, and this app already has the maximum of {self._types.most:,} types"
        return _rejection_response(InvalidEvent([FieldError("/event_type", message)]))

    def _parse_head(self, request: Request) -> "StoryRequestHead":
        head = StoryRequestHead(
            request.header("Origin"),
            _is_json(request.header("Content-Type")),
            request.header("Sec-GPC") == "1" or request.header("DNT") == "1",
        )
        if len(request.head) <= MAX_CACHED_HEAD_BYTES:
            if len(self._cached_heads) >= MAX_CACHED_HEADS:
                self._cached_heads.clear()
            self._cached_heads[request.head] = head
        return head


class StoryRequestHead(NamedTuple):
    """The relevant fields of a request head."""

    origin: str | None
    is_json: bool
    opted_out: bool  # by Global Privacy Control or DNT: the user is not counted


class DeferredStoryEventResponse(DeferredResponse):
    """The response to an event that is not on disk yet; the event log completes it."""

    __slots__ = ("_hosts", "_origin")

    def __init__(self, origin: str | None, hosts: Collection[str]) -> None:
        super().__init__()
        self._origin = origin
        self._hosts = hosts

    def settled(self, outcomes: list[AppendOutcome]) -> None:
        """Respond with the id of the stored event."""
        ((number, verdict),) = outcomes
        response = (
            ACCEPTED_CORS.with_body(b'{"id":"%d"}' % number)
            if verdict == "stored"
            else UNSTORABLE_EVENT
        )
        self.resolve(with_cors_headers(response, self._origin, self._hosts))

    def failed(self, error: Exception) -> None:
        """Respond with 503: the event was not stored."""
        response = problem_response(
            503, f"Not stored ({error}); send it again.", RETRY_AFTER, VARY_ORIGIN
        )
        self.resolve(with_cors_headers(response, self._origin, self._hosts))


def _is_json(content_type: str | None) -> bool:
    """Return whether a `Content-Type` is JSON, or `text/plain` as sent without a preflight."""
    if content_type is not None and content_type.lstrip().lower().startswith(PLAIN_TEXT):
        content_type = JSON + content_type.lstrip()[len(PLAIN_TEXT) :]
    return body_type(content_type) == JSON


def _rejection_response(error: InvalidEvent) -> Response:
    status = 400 if error.malformed else 422
    body = problem_body(status, STATUS_DETAILS[status], error.faults)
    return Response(status, [PROBLEM_CONTENT_TYPE, NO_STORE, VARY_ORIGIN, *SECURITY_HEADERS], body)
