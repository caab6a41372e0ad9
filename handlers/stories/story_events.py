"""Taking the events of stories, from whoever has an app's public token.

They are no authenticated requests: they are in no count of `/metrics`' sum, and one that is wrong
is told so and not kept, as it may hold a user's own id, of which nothing is to stay here.
"""

from collections.abc import Awaitable, Collection
from typing import Any, NamedTuple

from domain.common.validation_errors import FieldError
from domain.events.event import InvalidEvent
from domain.stories.story_event import parse_story_event, story_event_row, user_pseudonym
from handlers.common.cors import VARY_ORIGIN, preflight_response, with_cors_headers
from handlers.common.ingest import ACCEPTED as TAKEN
from handlers.common.ingest import JSON, RETRY_AFTER, MicrosClock, body_type, now_micros
from handlers.common.ingest import OVERLOADED as WAITING
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
# Bytes of a body: a word, a user's id, and room for how else they may be written.
MAX_STORY_EVENT_BYTES = 8_192
UNKNOWN_TOKEN = problem_response(404, "There is no app with this public token.", VARY_ORIGIN)
UNKNOWN_STORY = problem_response(404, "This app has no such story.", VARY_ORIGIN)
OVERLOADED_CORS = WAITING.extended(VARY_ORIGIN)
UNSTORABLE_EVENT = problem_response(422, "This event cannot be stored.", VARY_ORIGIN)
# What a page sends without asking first is text to a browser.
PLAIN_TEXT = "text/plain"
UNSUPPORTED_TYPE = problem_response(415, f"Send an event as {JSON}, in UTF-8.", VARY_ORIGIN)
ACCEPTED_CORS = TAKEN.extended(VARY_ORIGIN)
# So many heads are known again, the short ones: those of a sender are mostly alike.
MAX_CACHED_HEADS, MAX_CACHED_HEAD_BYTES = 4_096, 512
STATUS_DETAILS = {
    400: "This is not JSON as it is read here.",
    422: "This is not a right event of a story.",
}


class StoryEventIngest:
    """The lane of `POST /api/v1/event/{public_token}`."""

    def __init__(
        self,
        shelves: StoryCache[Any],
        log: EventLog,
        salt: bytes,
        types: StoryEventTypes,
        clock: MicrosClock = now_micros,
    ) -> None:
        """`salt` is the installation's own; `clock` tells the microseconds since 1970."""
        self._types = types
        self._shelves = shelves
        self._log = log
        self._salt = salt
        self._clock = clock
        self._met: dict[bytes, StoryRequestHead] = {}

    def lanes(self) -> list[FastRoute]:
        """The address."""
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
        """What a browser asks before a page may."""
        shelf = await self._shelves.get(request.params[0])
        hosts = () if shelf is None else shelf.shown.hosts
        return preflight_response(ALLOWED_METHODS, request.header("Origin"), hosts)

    def post(self, request: Request) -> Response | Awaitable[Response]:
        """Take what the body holds."""
        try:
            shelf = self._shelves.peek(request.params[0])
        except KeyError:
            return self._introduced(request)
        return self._take(request, shelf)

    async def _introduced(self, request: Request) -> Response:
        shelf = await self._shelves.get(request.params[0])
        answer = self._take(request, shelf)
        return answer if isinstance(answer, Response) else await answer

    def _take(
        self, request: Request, shelf: CachedStories[Any] | None
    ) -> Response | Awaitable[Response]:
        if shelf is None:
            return UNKNOWN_TOKEN
        said = self._met.get(request.head) or self._meet(request)
        origin, hosts, body = said.origin, shelf.shown.hosts, request.body
        if not said.is_json:
            return with_cors_headers(UNSUPPORTED_TYPE, origin, hosts)
        if not self._log.room(len(body)):
            return with_cors_headers(OVERLOADED_CORS, origin, hosts)
        at = self._clock()
        try:
            event = parse_story_event(body, at)
        except InvalidEvent as wrong:
            return with_cors_headers(_rejection_response(wrong), origin, hosts)
        if event.story not in shelf.stories:
            return with_cors_headers(UNKNOWN_STORY, origin, hosts)
        app = shelf.shown.app
        try:
            if not self._types.takes(app, event.type):
                return with_cors_headers(self._one_too_many(), origin, hosts)
        except KeyError:
            return self._after_types(request, shelf)
        user = None
        if event.user is not None and not said.is_private:
            user = user_pseudonym(self._salt, app, event.user)
        rows, answer = (
            (story_event_row(event, app, user),),
            DeferredStoryEventResponse(origin, hosts),
        )
        self._log.take(answer, rows, received=at, size=len(body), counted=False)
        return answer

    async def _after_types(self, request: Request, shelf: CachedStories[Any]) -> Response:
        await self._types.load(shelf.shown.app)
        answer = self._take(request, shelf)
        return answer if isinstance(answer, Response) else await answer

    def _one_too_many(self) -> Response:
        fault = FieldError(
            "/event_type", f"is new, and this app has {self._types.most:,} types already"
        )
        return _rejection_response(InvalidEvent([fault]))

    def _meet(self, request: Request) -> "StoryRequestHead":
        said = StoryRequestHead(
            request.header("Origin"),
            _is_json(request.header("Content-Type")),
            request.header("Sec-GPC") == "1" or request.header("DNT") == "1",
        )
        if len(request.head) <= MAX_CACHED_HEAD_BYTES:
            if len(self._met) >= MAX_CACHED_HEADS:
                self._met.clear()
            self._met[request.head] = said
        return said


class StoryRequestHead(NamedTuple):
    """What a request's head says: whose page it comes from, and how it is to be taken."""

    origin: str | None
    is_json: bool
    is_private: bool  # by Global Privacy Control, or what was there before: nobody is to be counted


class DeferredStoryEventResponse(DeferredResponse):
    """The answer to an event, when it is on disk."""

    __slots__ = ("_hosts", "_origin")

    def __init__(self, origin: str | None, hosts: Collection[str]) -> None:
        super().__init__()
        self._origin = origin
        self._hosts = hosts

    def settled(self, outcomes: list[AppendOutcome]) -> None:
        """Answer what became of it; the log calls this."""
        ((number, verdict),) = outcomes
        answer = (
            ACCEPTED_CORS.with_body(b'{"id":"%d"}' % number)
            if verdict == "stored"
            else UNSTORABLE_EVENT
        )
        self.come(with_cors_headers(answer, self._origin, self._hosts))

    def failed(self, error: Exception) -> None:
        """Answer that it was not stored; the log calls this."""
        answer = problem_response(
            503, f"This was not stored ({error}); send it again.", RETRY_AFTER, VARY_ORIGIN
        )
        self.come(with_cors_headers(answer, self._origin, self._hosts))


def _is_json(said: str | None) -> bool:
    """Whether a `Content-Type` is JSON's, or that which a page sends without asking first."""
    if said is not None and said.lstrip().lower().startswith(PLAIN_TEXT):
        said = JSON + said.lstrip()[len(PLAIN_TEXT) :]
    return body_type(said) == JSON


def _rejection_response(wrong: InvalidEvent) -> Response:
    status = 400 if wrong.malformed else 422
    body = problem_body(status, STATUS_DETAILS[status], wrong.faults)
    return Response(status, [PROBLEM_CONTENT_TYPE, NO_STORE, VARY_ORIGIN, *SECURITY_HEADERS], body)
