"""Stories of an app, their counts of today, and the app's daily users."""

import json
from collections.abc import Sequence
from time import time_ns
from urllib.parse import urlencode

from domain.admin.charts import axis_maximum, line_chart_svg
from domain.common.days import day_from_micros, format_day
from domain.common.formatting import format_count, format_number
from domain.common.timestamp import format_timestamp
from domain.common.validation_errors import FieldError
from domain.stories.story import InvalidStory, parse_story
from handlers.admin.admin_page import AdminPage, to_api_error
from handlers.common.api_handler import MAX_INT64
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


def routes(database: Database, story_stats: StoryStats) -> list[Route]:
    """Return the routes of stories."""
    parts = {"database": database}
    return [
        Route(
            r"/admin/stories",
            AdminStoriesPage,
            {**parts, "story_stats": story_stats},
            "admin stories",
        ),
        Route(r"/admin/stories/edit", AdminStoryEditPage, parts, "admin story edit"),
        Route(
            r"/admin/stories/(\d{1,19})/remove", AdminStoryRemovePage, parts, "admin story removal"
        ),
    ]


class AdminStoriesPage(AdminPage):
    """`/admin/stories?app=&start=`: list an app's stories and chart its daily users."""

    done_messages = {"saved": "The story is saved.", "removed": "The story is removed."}  # noqa: RUF012

    def initialize(self, database: Database, story_stats: StoryStats) -> None:
        """Keep the parameters of `routes`."""
        self.database = database
        self.story_stats = story_stats

    async def get(self) -> None:
        """Send the stories of the app, by default of the first one."""
        apps = await app_names(self.database)
        app = self.int_argument("app") or next(iter(apps), 0)
        if app not in apps:
            self.send_page("stories.html", "Stories", apps=apps, app=0, rows=[])
            return
        start = self.int_argument("start") or 0
        stories = await ListStories(str(app)).run(self.database)
        now = time_ns() // 1000
        today = day_from_micros(now)
        try:
            counts, _ = await self.story_stats.stories(app, today, limit=MAX_COUNTS_READ)
            users = await self.story_stats.active(app, today - ACTIVE_USERS_DAYS + 1, today)
        except StoreBusy:
            counts, users = [], []
        counts_by_story: dict[int, list[str]] = {}
        for each in counts:
            counts_by_story.setdefault(each.story, []).append(f"{each.events:,} {each.type}")
        rows = [
            (
                each,
                story_image(each),
                display_state(each, now),
                join_event_types(counts_by_story.get(each.id, [])),
            )
            for each in stories[start : start + STORIES_PER_PAGE]
        ]
        newest = users[-1] if users else "unknown"
        label = f"Daily users of the last {format_count(ACTIVE_USERS_DAYS, 'day')}; today: {newest}"
        self.send_page(
            "stories.html",
            "Stories",
            apps=apps,
            app=app,
            rows=rows,
            next_page_url=self.page_url(start=start + STORIES_PER_PAGE)
            if len(stories) > start + STORIES_PER_PAGE
            else None,
            users=users,
            chart_svg=line_chart_svg(users, label),
            maximum=format_number(axis_maximum(users)),
            first_day=format_day(today - ACTIVE_USERS_DAYS + 1),
        )


class AdminStoryEditPage(AdminPage):
    """`/admin/stories/edit?id=`, or `?app=` to create one."""

    def initialize(self, database: Database) -> None:
        """Keep `database`, which holds the stories."""
        self.database = database

    async def get(self) -> None:
        """Send the form."""
        story_id = self.int_argument("id")
        story = None if story_id is None else await get_story(self.database, story_id)
        if story_id is not None and story is None:
            raise ApiError(404, "There is no story with this id.")
        if story is None:
            first = next(iter(await app_names(self.database)), 0)
            fields = {"id": str(await next_story_id(self.database)), "metadata": '{"img": ""}'}
            await self.send_form(self.int_argument("app") or first, fields)
            return
        fields = {
            "id": str(story.id),
            "metadata": json.dumps(json.loads(story.metadata), indent=2, ensure_ascii=False),
            "order": str(story.order),
            "from": form_timestamp(story.shown_from),
            "until": form_timestamp(story.shown_until),
        }
        await self.send_form(story.app, fields)

    async def post(self) -> None:
        """Validate and save the story; clients see it at once."""
        app = self.form_number("app")
        fields = {name: self.form_text(name) for name in STORY_FORM_FIELDS}
        try:
            story = parse_story({"app": str(app), **fields})
        except InvalidStory as invalid:
            await self.send_form(app, fields, 422, invalid.faults)
            return
        try:
            (result,) = await PutStories((story,), by=self.actor).run(self.database)
        except StoreError as error:
            raise to_api_error(error) from None
        if result.verdict == "rejected":
            await self.send_form(app, fields, 422, [FieldError("", result.reason)])
            return
        self.redirect_done(f"/admin/stories?{urlencode({'app': app})}", "saved")

    async def send_form(
        self,
        app: int,
        fields: dict[str, str],
        status: int = 200,
        errors: Sequence[FieldError] = (),
    ) -> None:
        """Send the form with these field values."""
        apps = await app_names(self.database)
        text = fields.get("id", "")
        is_number = text.isascii() and text.isdigit() and len(text) < 19
        stored = await get_story(self.database, int(text)) if is_number else None
        title = f"Story {stored.id}" if stored else "New story"
        self.send_page(
            "story.html",
            title,
            status,
            app=app,
            apps=apps,
            fields={name: fields.get(name, "") for name in STORY_FORM_FIELDS},
            stored=stored,
            errors=errors,
            error="Invalid story." if errors else "",
        )


class AdminStoryRemovePage(AdminPage):
    """`/admin/stories/{id}/remove`: remove a story after a confirmation."""

    def initialize(self, database: Database) -> None:
        """Keep `database`, which holds the stories."""
        self.database = database

    async def get(self, number: str) -> None:
        """Send the confirmation page."""
        story = await self.get_story(number)
        self.send_page("remove_story.html", "Remove story", story=story, image=story_image(story))

    async def post(self, number: str) -> None:
        """Remove the story; its events and counts stay."""
        story = await self.get_story(number)
        try:
            await RemoveStories((story.id,), by=self.actor).run(self.database)
        except StoreError as error:
            raise to_api_error(error) from None
        self.redirect_done(f"/admin/stories?{urlencode({'app': story.app})}", "removed")

    async def get_story(self, number: str) -> StoredStory:
        """Return the story with this id; raise 404 if there is none."""
        story = await get_story(self.database, min(int(number), MAX_INT64))
        if story is None:
            raise ApiError(404, "There is no story with this id.")
        return story


def join_event_types(counts: list[str]) -> str:
    """Join the first `MAX_EVENT_TYPES_SHOWN` items by commas."""
    ellipsis = ", …" if len(counts) > MAX_EVENT_TYPES_SHOWN else ""
    return ", ".join(counts[:MAX_EVENT_TYPES_SHOWN]) + ellipsis


def story_image(story: StoredStory) -> str:
    """Return the member `img` of the metadata."""
    return str(json.loads(story.metadata)["img"])


def display_state(story: StoredStory, now: int) -> str:
    """Return "scheduled", "active" or "expired" for the time `now` in µs."""
    if story.shown_from is not None and now < story.shown_from:
        return "scheduled"
    return "expired" if story.shown_until is not None and now >= story.shown_until else "active"


def form_timestamp(at: int | None) -> str:
    """Return a timestamp in µs for a form field; whole seconds without a fraction."""
    return "" if at is None else format_timestamp(at).removesuffix(".000000Z").removesuffix("Z")
