"""What an app's stories were used for: counts, and users active on a day, in a week, in a month."""

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
# Queries that may wait for their turn, of all anonymous clients. Of these, a client address and an
# app may each have at most as many as stay free.
MAX_WAITING_QUERIES = 64
# Days in one answer, at most.
MAX_STATS_DAYS = 1_000
# What users of so many days are called.
SPAN_FIELD_NAMES = dict(zip(ACTIVE_SPAN_DAYS, ("dau", "wau", "mau"), strict=True))


def routes(usage: StoryStats, shelves: StoryCache[Any]) -> list[Route]:
    """Where these are."""
    parts = {"usage": usage, "shelves": shelves, "places": MemoryBudget(MAX_WAITING_QUERIES)}
    return [
        Route(
            r"/api/v1/stories/([\w.~-]{1,100})/counts", StoryCountsHandler, parts, "story counts"
        ),
        Route(r"/api/v1/dau/([\w.~-]{1,100})", ActiveUsersHandler, parts, "daily active users"),
    ]


class PublicTokenHandler(ApiHandler):
    """The base of what an app's public token opens."""

    _origin: str | None = None

    def set_default_headers(self) -> None:
        """An error, too, may be read by the app's own pages."""
        super().set_default_headers()
        self.set_header(*VARY_ORIGIN)
        if self._origin is not None:
            self.set_header(ALLOW_ORIGIN, self._origin)
            self.set_header(*ALLOW_CREDENTIALS)

    def initialize(self, usage: StoryStats, shelves: StoryCache[Any], places: MemoryBudget) -> None:
        """`usage` has the counts, `shelves` the apps, `places` the waiting queries."""
        self.usage = usage
        self._shelves = shelves
        self._places = places

    def waiting(self, app: int) -> AbstractContextManager[None]:
        """Hold a place among the waiting queries; raise `Refusal` if there is no free one."""
        return self.reserve(self._places, "Too many queries of this kind are waiting", app)

    async def app(self, token: str) -> VisibleStories:
        """The app; its own pages may read the answer."""
        shelf = await self._shelves.get(token)
        if shelf is None:
            raise ApiError(404, "There is no app with this public token.")
        origin = self.request.headers.get("Origin")
        if origin is not None and is_allowed_origin(origin, shelf.shown.hosts):
            self._origin = origin
            self.set_header(ALLOW_ORIGIN, origin)
            self.set_header(*ALLOW_CREDENTIALS)
        return shelf.shown

    def day(self) -> int:
        """The day that is asked for."""
        said = self.text_argument("date")
        if said is None:
            raise self.argument_error("date", "is missing")
        try:
            return parse_day(said)
        except InvalidDate as error:
            raise self.argument_error("date", str(error)) from None


class StoryCountsHandler(PublicTokenHandler):
    """`GET /api/v1/stories/{public_token}/counts?date=[&story_id=][&limit=][&cursor=]`."""

    async def get(self, token: str) -> None:
        """A page of the events of each type with each story, on a day (UTC)."""
        app = (await self.app(token)).app
        day, story = self.day(), self.int_argument("story_id")
        limit = (
            self.int_argument("limit", minimum=1, maximum=MAX_COUNTS_LIMIT) or DEFAULT_COUNTS_LIMIT
        )
        try:
            with self.waiting(app):
                found, cursor = await self.usage.stories(
                    app, day, story, limit=limit, cursor=self.text_argument("cursor")
                )
        except InvalidStoryCursor as error:
            raise self.argument_error("cursor", str(error)) from None
        except StoreBusy as error:
            raise self.retry_later_error(f"This cannot be counted now ({error})") from None
        rows = [
            {"story_id": each.story, "event_type": each.type, "count": each.events}
            for each in found
        ]
        answer = {"app_id": app, "date": format_day(day), "counts": rows, "cursor": cursor}
        self.send_struct(answer)


class ActiveUsersHandler(PublicTokenHandler):
    """`GET /api/v1/dau/{public_token}?date=[&days=N][&span=7|30]`."""

    async def get(self, token: str) -> None:
        """Users of a day, or of each of the `days` that end with it, the oldest first."""
        app = (await self.app(token)).app
        day, days = self.day(), self.int_argument("days", minimum=1, maximum=MAX_STATS_DAYS)
        span = self.int_argument("span")
        if span is None:
            span = 1
        if span not in SPAN_FIELD_NAMES:
            raise self.argument_error("span", f"is none of {', '.join(map(str, ACTIVE_SPAN_DAYS))}")
        first = day if days is None else day - days + 1
        if first < 0:
            raise self.argument_error("days", "reach back before the year 1")
        try:
            with self.waiting(app):
                found = await self.usage.active(app, first, day, span)
        except StoreBusy as error:
            raise self.retry_later_error(f"This cannot be counted now ({error})") from None
        each_day = [
            {"date": format_day(number), SPAN_FIELD_NAMES[span]: users, "exact": True}
            for number, users in enumerate(found, first)
        ]
        answer = each_day[0] if days is None else {"days": each_day}
        self.send_struct({"app_id": app, **answer})
