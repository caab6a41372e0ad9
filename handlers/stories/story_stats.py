"""Event counts of stories, and active users by day, week or month."""

from contextlib import AbstractContextManager
from typing import Any

from domain.common.days import InvalidDate, format_day, parse_day
from handlers.common.api_handler import ApiHandler
from handlers.common.base_handler import ApiError
from handlers.common.cors import ALLOW_CREDENTIALS, ALLOW_ORIGIN, VARY_ORIGIN, is_allowed_origin
from handlers.common.route import Route
from httpserver import MemoryBudget
from store.api.errors import StoreBusy
from store.sqlite.stories.story_cache import StoryCache, VisibleStories
from store.sqlite.stories.story_stats import ACTIVE_SPAN_DAYS, InvalidStoryCursor, StoryStats

# Default and maximum number of counts on a page.
DEFAULT_COUNTS_LIMIT, MAX_COUNTS_LIMIT = 1_000, 10_000
# Waiting queries of all clients. A client address and an app may each hold at most as many as stay
# free.
MAX_WAITING_QUERIES = 64
MAX_STATS_DAYS = 1_000
# JSON member by span in days.
SPAN_FIELD_NAMES = dict(zip(ACTIVE_SPAN_DAYS, ("dau", "wau", "mau"), strict=True))


def routes(story_stats: StoryStats, story_cache: StoryCache[Any]) -> list[Route]:
    """Return the Tornado routes."""
    arguments = {
        "story_stats": story_stats,
        "story_cache": story_cache,
        "query_budget": MemoryBudget(MAX_WAITING_QUERIES),
    }
    return [
        Route(
            r"/api/v1/stories/([\w.~-]{1,100})/counts",
            StoryCountsHandler,
            arguments,
            "story counts",
        ),
        Route(r"/api/v1/dau/([\w.~-]{1,100})", ActiveUsersHandler, arguments, "daily active users"),
    ]


class PublicTokenHandler(ApiHandler):
    """Finds the app of a public token, and sends CORS headers to its own pages."""

    _origin: str | None = None

    def set_default_headers(self) -> None:
        """Set the CORS headers; Tornado calls this again before an error response."""
        super().set_default_headers()
        self.set_header(*VARY_ORIGIN)
        if self._origin is not None:
            self.set_header(ALLOW_ORIGIN, self._origin)
            self.set_header(*ALLOW_CREDENTIALS)

    def initialize(
        self,
        story_stats: StoryStats,
        story_cache: StoryCache[Any],
        query_budget: MemoryBudget,
    ) -> None:
        """Set the dependencies; `query_budget` limits waiting queries."""
        self.story_stats = story_stats
        self._story_cache = story_cache
        self._query_budget = query_budget

    def reserve_query(self, app: int) -> AbstractContextManager[None]:
        """Hold a unit of the query budget; raise 503 if none is free."""
        return self.reserve(self._query_budget, "Too many queries are waiting", app)

    async def find_app(self, token: str) -> VisibleStories:
        """Return the app and allow its own pages to read the response; raise 404."""
        stories = await self._story_cache.get(token)
        if stories is None:
            raise ApiError(404, "Unknown public token.")
        origin = self.request.headers.get("Origin")
        if origin is not None and is_allowed_origin(origin, stories.shown.hosts):
            self._origin = origin
            self.set_header(ALLOW_ORIGIN, origin)
            self.set_header(*ALLOW_CREDENTIALS)
        return stories.shown

    def day_argument(self) -> int:
        """Return the query argument `date` as a day number; raise 422."""
        date = self.text_argument("date")
        if date is None:
            raise self.argument_error("date", "is missing")
        try:
            return parse_day(date)
        except InvalidDate as error:
            raise self.argument_error("date", str(error)) from None


class StoryCountsHandler(PublicTokenHandler):
    """`GET /api/v1/stories/{public_token}/counts?date=[&story_id=][&limit=][&cursor=]`."""

    async def get(self, token: str) -> None:
        """Send a page of the event counts by story and type on a day (UTC)."""
        app = (await self.find_app(token)).app
        day, story = self.day_argument(), self.int_argument("story_id")
        limit = (
            self.int_argument("limit", minimum=1, maximum=MAX_COUNTS_LIMIT) or DEFAULT_COUNTS_LIMIT
        )
        try:
            with self.reserve_query(app):
                counts, cursor = await self.story_stats.stories(
                    app, day, story, limit=limit, cursor=self.text_argument("cursor")
                )
        except InvalidStoryCursor as error:
            raise self.argument_error("cursor", str(error)) from None
        except StoreBusy as error:
            raise self.retry_later_error(f"The event store is busy ({error})") from None
        rows = [
            {"story_id": each.story, "event_type": each.type, "count": each.events}
            for each in counts
        ]
        self.send_struct({"app_id": app, "date": format_day(day), "counts": rows, "cursor": cursor})


class ActiveUsersHandler(PublicTokenHandler):
    """`GET /api/v1/dau/{public_token}?date=[&days=N][&span=7|30]`."""

    async def get(self, token: str) -> None:
        """Send the active users of `date`, or of each of `days` days that end with it."""
        app = (await self.find_app(token)).app
        day = self.day_argument()
        days = self.int_argument("days", minimum=1, maximum=MAX_STATS_DAYS)
        span = self.int_argument("span")
        if span is None:
            span = 1
        if span not in SPAN_FIELD_NAMES:
            spans = ", ".join(map(str, ACTIVE_SPAN_DAYS))
            raise self.argument_error("span", f"must be one of {spans}")
        first = day if days is None else day - days + 1
        if first < 0:
            raise self.argument_error("days", "must not reach before the year 1")
        try:
            with self.reserve_query(app):
                users_by_day = await self.story_stats.active(app, first, day, span)
        except StoreBusy as error:
            raise self.retry_later_error(f"The event store is busy ({error})") from None
        each_day = [
            {"date": format_day(number), SPAN_FIELD_NAMES[span]: users, "exact": True}
            for number, users in enumerate(users_by_day, first)
        ]
        members = each_day[0] if days is None else {"days": each_day}
        self.send_struct({"app_id": app, **members})
