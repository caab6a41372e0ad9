"""Fast routes of `/api/v1/stories/`: read from the database, or from memory as prepared bytes."""

import hashlib
from collections.abc import Awaitable

import msgspec

from handlers.common.cors import VARY_ORIGIN, preflight_response, with_cors_headers
from handlers.common.ingest import RETRY_AFTER, MicrosClock, now_micros
from handlers.common.responses import SECURITY_HEADERS, is_not_modified, problem_response
from httpserver import DeferredResponse, FastRoute, Request, Response
from store.sqlite.stories.story_cache import BatchedStoryReader, StoryCache, VisibleStories

TOKEN_PATTERN = r"([\w.~-]{1,100})"  # noqa: S105
STORIES_PATTERN, CACHED_STORIES_PATTERN = (
    rf"/api/v1/stories/{TOKEN_PATTERN}",
    rf"/api/v1/stories/cached/{TOKEN_PATTERN}",
)
ALLOWED_METHODS = "GET, HEAD, OPTIONS"
UNKNOWN_TOKEN = problem_response(404, "Unknown public token.", VARY_ORIGIN)
# Caches must revalidate on each request, so that a change is visible at once.
NO_CACHE = ("Cache-Control", "no-cache")
# Size of the cache of responses within a second, keyed by request head; only short heads.
MAX_CACHED_RESPONSES, MAX_CACHED_HEAD_BYTES = 4_096, 1_024


class PreparedStories:
    """The response with the stories of an app, without its timestamp."""

    __slots__ = ("_head", "_not_modified", "_ok", "_tail", "etag", "shown")

    def __init__(self, shown: VisibleStories) -> None:
        stories = [{"id": number, "metadata": image} for number, image in shown.stories]
        self.shown = shown
        self._head = b'{"app_id":%d,"ts":' % shown.app
        self._tail = b',"metadata":%b}' % msgspec.json.encode(stories)
        digest = hashlib.blake2b(self._head + self._tail, digest_size=16).hexdigest()
        # Weak, because the timestamp in the body changes every second.
        self.etag = f'W/"{digest}"'
        headers = [("ETag", self.etag), NO_CACHE, VARY_ORIGIN, *SECURITY_HEADERS]
        self._ok = Response(200, [("Content-Type", "application/json"), *headers])
        self._not_modified = Response(304, headers)

    def respond(self, request: Request, now: int) -> Response:
        """Return the response at the time `now` (µs)."""
        if is_not_modified(request, self.etag):
            response = self._not_modified
        else:
            body = b"%b%d%b" % (self._head, now // 1_000_000, self._tail)
            response = self._ok.with_body(body)
        return with_cors_headers(response, request.header("Origin"), self.shown.hosts)


class DeferredStoriesResponse(DeferredResponse):
    """The response of a pending read; the reader completes it."""

    __slots__ = ("_now", "_prepared", "_request")

    def __init__(self, request: Request, now: int, prepared: dict[int, PreparedStories]) -> None:
        """`prepared` holds the previous responses by app; stories rarely change."""
        super().__init__()
        self._request = request
        self._now = now
        self._prepared = prepared

    def settled(self, shown: VisibleStories | None) -> None:
        """Respond with the stories, or 404 for None."""
        if shown is None:
            self.resolve(UNKNOWN_TOKEN)
            return
        prepared = self._prepared.get(shown.app)
        if prepared is None or prepared.shown != shown:
            if len(self._prepared) >= MAX_CACHED_RESPONSES:
                self._prepared.clear()
            prepared = self._prepared[shown.app] = PreparedStories(shown)
        self.resolve(prepared.respond(self._request, self._now))

    def failed(self, error: Exception) -> None:
        """Respond with 503: the read failed."""
        self.resolve(
            problem_response(
                503,
                f"The stories cannot be read now ({error}); try again.",
                RETRY_AFTER,
                VARY_ORIGIN,
            )
        )


class AppStories:
    """The fast routes of `/api/v1/stories/`."""

    def __init__(
        self,
        story_reader: BatchedStoryReader,
        story_cache: StoryCache[PreparedStories],
        clock: MicrosClock = now_micros,
    ) -> None:
        """`clock` returns microseconds since 1970."""
        self._story_reader = story_reader
        self._story_cache = story_cache
        self._clock = clock
        self._prepared_by_app: dict[int, PreparedStories] = {}
        # By token and head, for the second that contains `_cache_start`: clients repeat requests.
        self._cached_responses: dict[tuple[str, bytes], Response] = {}
        self._cache_start = self._cache_end = self._cache_version = 0

    def uncached(self, request: Request) -> Awaitable[Response]:
        """Return the stories as read from the database."""
        response = DeferredStoriesResponse(request, self._clock(), self._prepared_by_app)
        self._story_reader.ask(request.params[0], response)
        return response

    def cached(self, request: Request) -> Response | Awaitable[Response]:
        """Return the stories from memory."""
        now, cache = self._clock(), self._story_cache
        if not self._cache_start <= now < self._cache_end or self._cache_version != cache.version:
            self._cached_responses.clear()
            self._cache_version = cache.version
            self._cache_start, self._cache_end = now, (now // 1_000_000 + 1) * 1_000_000
        token, head = request.params[0], request.head
        response = self._cached_responses.get((token, head))
        if response is not None:
            return response
        try:
            stories = cache.peek(token)
        except KeyError:
            return self._load_and_respond(request)
        if stories is None:
            return UNKNOWN_TOKEN
        response = stories.ready.respond(request, now)
        if (
            len(head) <= MAX_CACHED_HEAD_BYTES
            and len(self._cached_responses) < MAX_CACHED_RESPONSES
        ):
            self._cached_responses[token, head] = response
            self._cache_end = min(self._cache_end, stories.until)
        return response

    async def _load_and_respond(self, request: Request) -> Response:
        stories = await self._story_cache.get(request.params[0])
        return UNKNOWN_TOKEN if stories is None else stories.ready.respond(request, self._clock())

    async def options(self, request: Request) -> Response:
        """Return the response to a CORS preflight."""
        stories = await self._story_cache.get(request.params[0])
        hosts = () if stories is None else stories.shown.hosts
        return preflight_response(ALLOWED_METHODS, request.header("Origin"), hosts)

    def fast_routes(self) -> list[FastRoute]:
        """Return the routes of both paths and their CORS preflights."""
        return [
            FastRoute("GET", CACHED_STORIES_PATTERN, self.cached, name="cached stories"),
            FastRoute("GET", STORIES_PATTERN, self.uncached, name="stories"),
            FastRoute(
                "OPTIONS", CACHED_STORIES_PATTERN, self.options, name="cached stories preflight"
            ),
            FastRoute("OPTIONS", STORIES_PATTERN, self.options, name="stories preflight"),
        ]
