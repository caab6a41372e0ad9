"""What an app's stories were used for: counts, and users active on a day, in a week, in a month."""

from contextlib import AbstractContextManager
from typing import Any

from handlers.asking import Asking
from handlers.base import Refusal
from handlers.origins import ALLOW, CREDENTIALS, VARY, allowed
from rules.days import NotDay, day_of, text_of
from store.errors import StoreBusy
from store.shelves import Shelves, Shown
from store.usage import SPANS, BadCursor, Usage
from wire import Room

# Default and maximum number of counts on a page.
COUNTS, MOST_COUNTS = 1_000, 10_000
# Queries that may wait for their turn, of all anonymous clients. Of these, a client address and an
# app may each have at most as many as stay free.
PLACES = 64
# Days in one answer, at most.
MOST_DAYS = 1_000
# What users of so many days are called.
CALLED = dict(zip(SPANS, ("dau", "wau", "mau"), strict=True))


def routes(usage: Usage, shelves: Shelves[Any]) -> list[Any]:
    """Where these are."""
    parts = {"usage": usage, "shelves": shelves, "places": Room(PLACES)}
    return [
        (r"/api/v1/stories/([\w.~-]{1,100})/counts", Counts, parts),
        (r"/api/v1/dau/([\w.~-]{1,100})", Users, parts),
    ]


class Public(Asking):
    """The base of what an app's public token opens."""

    _origin: str | None = None

    def set_default_headers(self) -> None:
        """An error, too, may be read by the app's own pages."""
        super().set_default_headers()
        self.set_header(*VARY)
        if self._origin is not None:
            self.set_header(ALLOW, self._origin)
            self.set_header(*CREDENTIALS)

    def initialize(self, usage: Usage, shelves: Shelves[Any], places: Room) -> None:
        """`usage` has the counts, `shelves` the apps, `places` the waiting queries."""
        self.usage = usage
        self._shelves = shelves
        self._places = places

    def waiting(self, app: int) -> AbstractContextManager[None]:
        """Hold a place among the waiting queries; raise `Refusal` if there is no free one."""
        return self.place(self._places, "Too many queries of this kind are waiting", app)

    async def app(self, token: str) -> Shown:
        """The app; its own pages may read the answer."""
        shelf = await self._shelves.get(token)
        if shelf is None:
            raise Refusal(404, "There is no app with this public token.")
        origin = self.request.headers.get("Origin")
        if origin is not None and allowed(origin, shelf.shown.hosts):
            self._origin = origin
            self.set_header(ALLOW, origin)
            self.set_header(*CREDENTIALS)
        return shelf.shown

    def day(self) -> int:
        """The day that is asked for."""
        said = self.word("date")
        if said is None:
            raise self.wrong("date", "is missing")
        try:
            return day_of(said)
        except NotDay as error:
            raise self.wrong("date", str(error)) from None


class Counts(Public):
    """`GET /api/v1/stories/{public_token}/counts?date=[&story_id=][&limit=][&cursor=]`."""

    async def get(self, token: str) -> None:
        """A page of the events of each type with each story, on a day (UTC)."""
        app = (await self.app(token)).app
        day, story = self.day(), self.number("story_id")
        limit = self.number("limit", least=1, most=MOST_COUNTS) or COUNTS
        try:
            with self.waiting(app):
                found, cursor = await self.usage.stories(
                    app, day, story, limit=limit, cursor=self.word("cursor")
                )
        except BadCursor as error:
            raise self.wrong("cursor", str(error)) from None
        except StoreBusy as error:
            raise self.later(f"This cannot be counted now ({error})") from None
        rows = [
            {"story_id": each.story, "event_type": each.type, "count": each.events}
            for each in found
        ]
        answer = {"app_id": app, "date": text_of(day), "counts": rows, "cursor": cursor}
        self.send_value(answer)


class Users(Public):
    """`GET /api/v1/dau/{public_token}?date=[&days=N][&span=7|30]`."""

    async def get(self, token: str) -> None:
        """Users of a day, or of each of the `days` that end with it, the oldest first."""
        app = (await self.app(token)).app
        day, days = self.day(), self.number("days", least=1, most=MOST_DAYS)
        span = self.number("span")
        if span is None:
            span = 1
        if span not in CALLED:
            raise self.wrong("span", f"is none of {', '.join(map(str, SPANS))}")
        first = day if days is None else day - days + 1
        if first < 0:
            raise self.wrong("days", "reach back before the year 1")
        try:
            with self.waiting(app):
                found = await self.usage.active(app, first, day, span)
        except StoreBusy as error:
            raise self.later(f"This cannot be counted now ({error})") from None
        each_day = [
            {"date": text_of(number), CALLED[span]: users, "exact": True}
            for number, users in enumerate(found, first)
        ]
        answer = each_day[0] if days is None else {"days": each_day}
        self.send_value({"app_id": app, **answer})
