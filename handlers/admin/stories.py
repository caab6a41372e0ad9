"""Stories: what each app shows, how it was looked at, and its users of the last days."""

import json
from time import time_ns
from urllib.parse import urlencode

from domain.admin.charts import axis_maximum, line_chart_svg
from domain.common.days import day_from_micros, format_day
from domain.common.formatting import format_count, format_number
from domain.common.timestamp import format_timestamp
from domain.common.validation_errors import FieldError
from domain.stories.story import InvalidStory
from domain.stories.story import parse_story as read
from handlers.admin.admin_page import AdminPage, store_error_refusal
from handlers.common.base_handler import ApiError
from handlers.common.route import Route
from store.api.errors import StoreBusy, StoreError
from store.sqlite.admin.apps import app_names
from store.sqlite.core.database import Database
from store.sqlite.stories.stories import (
    ListStories,
    PutStories,
    RemoveStories,
    StoredStory,
    get_story,
    next_story_id,
)
from store.sqlite.stories.story_stats import StoryStats

STORIES_PER_PAGE, ACTIVE_USERS_DAYS = 100, 30
STORY_FORM_FIELDS = ("id", "metadata", "order", "from", "until")


# Counts read for the page, and event types shown for each story.
MAX_COUNTS_READ, MAX_EVENT_TYPES_SHOWN = 10_000, 20


def join_event_types(some: list[str]) -> str:
    """Join the first `TYPES_SHOWN` items by commas."""
    return ", ".join(some[:MAX_EVENT_TYPES_SHOWN]) + (
        ", …" if len(some) > MAX_EVENT_TYPES_SHOWN else ""
    )


def routes(database: Database, usage: StoryStats) -> list[Route]:
    """Where these are."""
    parts = {"database": database}
    return [
        Route(r"/admin/stories", AdminStoriesPage, {**parts, "usage": usage}, "admin stories"),
        Route(r"/admin/stories/edit", AdminStoryEditPage, parts, "admin story edit"),
        Route(
            r"/admin/stories/(\d{1,19})/remove", AdminStoryRemovePage, parts, "admin story removal"
        ),
    ]


class AdminStoriesPage(AdminPage):
    """`/admin/stories?app=&start=`: an app's stories, and its users."""

    deeds = {"saved": "The story is kept, and shown in its time.", "removed": "The story is gone."}  # noqa: RUF012

    def initialize(self, database: Database, usage: StoryStats) -> None:
        """`usage` tells what stories were used for."""
        self.database = database
        self.usage = usage

    async def get(self) -> None:
        """The app's; the first one's if none is asked for."""
        apps = await app_names(self.database)
        app = self.int_argument("app") or next(iter(apps), 0)
        if app not in apps:
            self.show("stories.html", "Stories", apps=apps, app=0, rows=[], asked={"app": ""})
            return
        start = self.int_argument("start") or 0
        kept = await ListStories(str(app)).run(self.database)
        now = time_ns() // 1000
        today = day_from_micros(now)
        try:
            counts, _ = await self.usage.stories(app, today, limit=MAX_COUNTS_READ)
            users = await self.usage.active(app, today - ACTIVE_USERS_DAYS + 1, today)
        except StoreBusy:
            counts, users = [], []
        used: dict[int, list[str]] = {}
        for each in counts:
            used.setdefault(each.story, []).append(f"{each.events:,} {each.type}")
        rows = [
            (
                each,
                story_image(each),
                display_state(each, now),
                join_event_types(used.get(each.id, [])),
            )
            for each in kept[start : start + STORIES_PER_PAGE]
        ]
        newest = users[-1] if users else "unknown"
        label = f"Users of {format_count(ACTIVE_USERS_DAYS, 'day')}, today {newest}"
        self.show(
            "stories.html",
            "Stories",
            apps=apps,
            app=app,
            asked={"app": str(app)},
            rows=rows,
            further=self.query(start=start + STORIES_PER_PAGE)
            if len(kept) > start + STORIES_PER_PAGE
            else None,
            users=users,
            drawn=line_chart_svg(users, label),
            top=format_number(axis_maximum(users)),
            since=format_day(today - ACTIVE_USERS_DAYS + 1),
        )


class AdminStoryEditPage(AdminPage):
    """`/admin/stories/edit?id=` or `?app=` for a new one."""

    def initialize(self, database: Database) -> None:
        """`database` holds them."""
        self.database = database

    async def get(self) -> None:
        """The form."""
        said = self.int_argument("id")
        kept = None if said is None else await get_story(self.database, said)
        if said is not None and kept is None:
            raise ApiError(404, "There is no story with this number.")
        if kept is None:
            first = next(iter(await app_names(self.database)), 0)
            fields = {"id": str(await next_story_id(self.database)), "metadata": '{"img": ""}'}
            await self.form(self.int_argument("app") or first, fields)
            return
        fields = {
            "id": str(kept.id),
            "metadata": json.dumps(json.loads(kept.metadata), indent=2, ensure_ascii=False),
            "order": str(kept.order),
            "from": form_timestamp(kept.shown_from),
            "until": form_timestamp(kept.shown_until),
        }
        await self.form(kept.app, fields)

    async def post(self) -> None:
        """Put the story in, at once."""
        app = self.whole("app")
        fields = {name: self.said(name) for name in STORY_FORM_FIELDS}
        try:
            put = read({"app": str(app), **fields})
        except InvalidStory as wrong:
            await self.form(app, fields, 422, faults=wrong.faults)
            return
        try:
            (became,) = await PutStories((put,), by=self.by).run(self.database)
        except StoreError as error:
            raise store_error_refusal(error) from None
        if became.verdict == "rejected":
            await self.form(app, fields, 422, faults=[FieldError("", became.reason)])
            return
        self.done(f"/admin/stories?{urlencode({'app': app})}", "saved")

    async def form(
        self,
        app: int,
        fields: dict[str, str],
        status: int = 200,
        faults: list[FieldError] | None = None,
    ) -> None:
        """Answer with the form."""
        apps = await app_names(self.database)
        said = fields.get("id", "")
        known = said.isascii() and said.isdigit() and len(said) < 19
        kept = await get_story(self.database, int(said)) if known else None
        title = f"Story {kept.id}" if kept else "A new story"
        wrong = "This is not a right story." if faults else ""
        self.show(
            "story.html",
            title,
            status,
            app=app,
            apps=apps,
            fields={name: fields.get(name, "") for name in STORY_FORM_FIELDS},
            kept=kept,
            faults=faults or [],
            wrong=wrong,
        )


class AdminStoryRemovePage(AdminPage):
    """`/admin/stories/{id}/remove`: asks once more."""

    def initialize(self, database: Database) -> None:
        """`database` holds them."""
        self.database = database

    async def get(self, said: str) -> None:
        """The question."""
        kept = await self.found(said)
        self.show("remove_story.html", "Remove a story", story=kept, image=story_image(kept))

    async def post(self, said: str) -> None:
        """Remove it; its events and counts stay."""
        kept = await self.found(said)
        try:
            await RemoveStories((kept.id,), by=self.by).run(self.database)
        except StoreError as error:
            raise store_error_refusal(error) from None
        self.done(f"/admin/stories?{urlencode({'app': kept.app})}", "removed")

    async def found(self, said: str) -> StoredStory:
        """The story; raises 404."""
        kept = await get_story(self.database, min(int(said), 2**63 - 1))
        if kept is None:
            raise ApiError(404, "There is no story with this number.")
        return kept


def story_image(kept: StoredStory) -> str:
    """What its `img` says."""
    return str(json.loads(kept.metadata)["img"])


def display_state(kept: StoredStory, now: int) -> str:
    """Whether it is shown now."""
    if kept.shown_from is not None and now < kept.shown_from:
        return "later"
    return "over" if kept.shown_until is not None and now >= kept.shown_until else "now"


def form_timestamp(at: int | None) -> str:
    """A moment as forms have it; whole seconds without their fraction."""
    return "" if at is None else format_timestamp(at).removesuffix(".000000Z").removesuffix("Z")
