"""What an app shows: read from the database each time, or from memory as ready-made bytes."""

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
UNKNOWN_TOKEN = problem_response(404, "There is no app with this public token.", VARY_ORIGIN)
# To be kept, and asked for again each time: a change shows at once.
NO_CACHE = ("Cache-Control", "no-cache")
# So many answers are found again; those of one second by their requests' heads, the short ones.
MAX_CACHED_RESPONSES, MAX_CACHED_HEAD_BYTES = 4_096, 1_024


class PreparedStories:
    """The answer for what an app shows, but for its moment."""

    __slots__ = ("_answer", "_head", "_tail", "_unchanged", "shown", "tag")

    def __init__(self, shown: VisibleStories) -> None:
        stories = [{"id": number, "metadata": image} for number, image in shown.stories]
        self.shown = shown
        self._head = b'{"app_id":%d,"ts":' % shown.app
        self._tail = b',"metadata":%b}' % msgspec.json.encode(stories)
        digest = hashlib.blake2b(self._head + self._tail, digest_size=16).hexdigest()
        # Weak, as it tells nothing of what changes by the second.
        self.tag = f'W/"{digest}"'
        headers = [("ETag", self.tag), NO_CACHE, VARY_ORIGIN, *SECURITY_HEADERS]
        self._answer = Response(200, [("Content-Type", "application/json"), *headers])
        self._unchanged = Response(304, headers)

    def answer(self, request: Request, now: int) -> Response:
        """The answer at `now` (µs)."""
        if is_not_modified(request, self.tag):
            answer = self._unchanged
        else:
            body = b"%b%d%b" % (self._head, now // 1_000_000, self._tail)
            answer = self._answer.with_body(body)
        return with_cors_headers(answer, request.header("Origin"), self.shown.hosts)


class DeferredStoriesResponse(DeferredResponse):
    """An answer that is being read."""

    __slots__ = ("_now", "_ready", "_request")

    def __init__(self, request: Request, now: int, ready: dict[int, PreparedStories]) -> None:
        """`ready` has by app what was answered before, which mostly is the same."""
        super().__init__()
        self._request = request
        self._now = now
        self._ready = ready

    def settled(self, shown: VisibleStories | None) -> None:
        """Answer with what is shown; the store calls this."""
        if shown is None:
            self.come(UNKNOWN_TOKEN)
            return
        ready = self._ready.get(shown.app)
        if ready is None or ready.shown != shown:
            if len(self._ready) >= MAX_CACHED_RESPONSES:
                self._ready.clear()
            ready = self._ready[shown.app] = PreparedStories(shown)
        self.come(ready.answer(self._request, self._now))

    def failed(self, error: Exception) -> None:
        """Answer that it could not be read; the store calls this."""
        self.come(
            problem_response(
                503, f"This cannot be read now ({error}); ask again.", RETRY_AFTER, VARY_ORIGIN
            )
        )


class AppStories:
    """The lanes of `/api/v1/stories/`."""

    def __init__(
        self,
        reads: BatchedStoryReader,
        shelves: StoryCache[PreparedStories],
        clock: MicrosClock = now_micros,
    ) -> None:
        """`reads` reads, `shelves` remember; `clock` tells the microseconds since 1970."""
        self._reads = reads
        self._shelves = shelves
        self._clock = clock
        self._read: dict[int, PreparedStories] = {}
        # Answers of the second that `_begun` is in: many ask alike.
        self._met: dict[tuple[str, bytes], Response] = {}
        self._begun = self._until = self._version = 0

    def fresh(self, request: Request) -> Awaitable[Response]:
        """What the database says now."""
        answer = DeferredStoriesResponse(request, self._clock(), self._read)
        self._reads.ask(request.params[0], answer)
        return answer

    def cached(self, request: Request) -> Response | Awaitable[Response]:
        """The same, from memory."""
        now, shelves = self._clock(), self._shelves
        if not self._begun <= now < self._until or self._version != shelves.version:
            self._met.clear()
            self._version = shelves.version
            self._begun, self._until = now, (now // 1_000_000 + 1) * 1_000_000
        token, head = request.params[0], request.head
        answer = self._met.get((token, head))
        if answer is not None:
            return answer
        try:
            shelf = shelves.peek(token)
        except KeyError:
            return self._fetched(request)
        if shelf is None:
            return UNKNOWN_TOKEN
        answer = shelf.ready.answer(request, now)
        if len(head) <= MAX_CACHED_HEAD_BYTES and len(self._met) < MAX_CACHED_RESPONSES:
            self._met[token, head] = answer
            self._until = min(self._until, shelf.until)
        return answer

    async def _fetched(self, request: Request) -> Response:
        shelf = await self._shelves.get(request.params[0])
        return UNKNOWN_TOKEN if shelf is None else shelf.ready.answer(request, self._clock())

    async def options(self, request: Request) -> Response:
        """What a browser asks before a page may."""
        shelf = await self._shelves.get(request.params[0])
        return preflight_response(
            ALLOWED_METHODS, request.header("Origin"), () if shelf is None else shelf.shown.hosts
        )

    def lanes(self) -> list[FastRoute]:
        """Both addresses."""
        return [
            FastRoute("GET", CACHED_STORIES_PATTERN, self.cached, name="cached stories"),
            FastRoute("GET", STORIES_PATTERN, self.fresh, name="stories"),
            FastRoute(
                "OPTIONS", CACHED_STORIES_PATTERN, self.options, name="cached stories preflight"
            ),
            FastRoute("OPTIONS", STORIES_PATTERN, self.options, name="stories preflight"),
        ]
