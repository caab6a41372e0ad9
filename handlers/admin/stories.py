"""Stories: what each app shows, how it was looked at, and its users of the last days."""

import json
from time import time_ns
from typing import Any
from urllib.parse import urlencode

from handlers.admin.page import Page, failing
from handlers.base import Refusal
from rules.charts import ceiling, line
from rules.days import day_at, text_of
from rules.faults import Fault
from rules.story import WrongStory
from rules.story import story as read
from rules.timestamp import text
from rules.words import number, plural
from store.apps import names
from store.database import Database
from store.errors import StoreBusy, StoreError
from store.stories import Kept, ListStories, PutStories, RemoveStories, story, unused
from store.usage import Usage

LIMIT, DAYS = 100, 30
FIELDS = ("id", "metadata", "order", "from", "until")


# Counts read for the page, and event types shown for each story.
COUNTED, TYPES_SHOWN = 10_000, 20


def first(some: list[str]) -> str:
    """Join the first `TYPES_SHOWN` items by commas."""
    return ", ".join(some[:TYPES_SHOWN]) + (", …" if len(some) > TYPES_SHOWN else "")


def routes(database: Database, usage: Usage) -> list[Any]:
    """Where these are."""
    parts = {"database": database}
    return [
        (r"/admin/stories", Stories, {**parts, "usage": usage}),
        (r"/admin/stories/edit", Edit, parts),
        (r"/admin/stories/(\d{1,19})/remove", Remove, parts),
    ]


class Stories(Page):
    """`/admin/stories?app=&start=`: an app's stories, and its users."""

    deeds = {"saved": "The story is kept, and shown in its time.", "removed": "The story is gone."}  # noqa: RUF012

    def initialize(self, database: Database, usage: Usage) -> None:
        """`usage` tells what stories were used for."""
        self.database = database
        self.usage = usage

    async def get(self) -> None:
        """The app's; the first one's if none is asked for."""
        apps = await names(self.database)
        app = self.number("app") or next(iter(apps), 0)
        if app not in apps:
            self.show("stories.html", "Stories", apps=apps, app=0, rows=[], asked={"app": ""})
            return
        start = self.number("start") or 0
        kept = await ListStories(str(app)).run(self.database)
        now = time_ns() // 1000
        today = day_at(now)
        try:
            counts, _ = await self.usage.stories(app, today, limit=COUNTED)
            users = await self.usage.active(app, today - DAYS + 1, today)
        except StoreBusy:
            counts, users = [], []
        used: dict[int, list[str]] = {}
        for each in counts:
            used.setdefault(each.story, []).append(f"{each.events:,} {each.type}")
        rows = [
            (each, image(each), state(each, now), first(used.get(each.id, [])))
            for each in kept[start : start + LIMIT]
        ]
        label = f"Users of {plural(DAYS, 'day')}, today {users[-1] if users else 'unknown'}"
        self.show(
            "stories.html",
            "Stories",
            apps=apps,
            app=app,
            asked={"app": str(app)},
            rows=rows,
            further=self.query(start=start + LIMIT) if len(kept) > start + LIMIT else None,
            users=users,
            drawn=line(users, label),
            top=number(ceiling(users)),
            since=text_of(today - DAYS + 1),
        )


class Edit(Page):
    """`/admin/stories/edit?id=` or `?app=` for a new one."""

    def initialize(self, database: Database) -> None:
        """`database` holds them."""
        self.database = database

    async def get(self) -> None:
        """The form."""
        said = self.number("id")
        kept = None if said is None else await story(self.database, said)
        if said is not None and kept is None:
            raise Refusal(404, "There is no story with this number.")
        if kept is None:
            first = next(iter(await names(self.database)), 0)
            fields = {"id": str(await unused(self.database)), "metadata": '{"img": ""}'}
            await self.form(self.number("app") or first, fields)
            return
        fields = {
            "id": str(kept.id),
            "metadata": json.dumps(json.loads(kept.metadata), indent=2, ensure_ascii=False),
            "order": str(kept.order),
            "from": moment(kept.shown_from),
            "until": moment(kept.shown_until),
        }
        await self.form(kept.app, fields)

    async def post(self) -> None:
        """Put the story in, at once."""
        app = self.whole("app")
        fields = {name: self.said(name) for name in FIELDS}
        try:
            put = read({"app": str(app), **fields})
        except WrongStory as wrong:
            await self.form(app, fields, 422, faults=wrong.faults)
            return
        try:
            (became,) = await PutStories((put,), by=self.by).run(self.database)
        except StoreError as error:
            raise failing(error) from None
        if became.verdict == "rejected":
            await self.form(app, fields, 422, faults=[Fault("", became.reason)])
            return
        self.done(f"/admin/stories?{urlencode({'app': app})}", "saved")

    async def form(
        self, app: int, fields: dict[str, str], status: int = 200, faults: list[Fault] | None = None
    ) -> None:
        """Answer with the form."""
        apps = await names(self.database)
        said = fields.get("id", "")
        known = said.isascii() and said.isdigit() and len(said) < 19
        kept = await story(self.database, int(said)) if known else None
        title = f"Story {kept.id}" if kept else "A new story"
        wrong = "This is not a right story." if faults else ""
        self.show(
            "story.html",
            title,
            status,
            app=app,
            apps=apps,
            fields={name: fields.get(name, "") for name in FIELDS},
            kept=kept,
            faults=faults or [],
            wrong=wrong,
        )


class Remove(Page):
    """`/admin/stories/{id}/remove`: asks once more."""

    def initialize(self, database: Database) -> None:
        """`database` holds them."""
        self.database = database

    async def get(self, said: str) -> None:
        """The question."""
        kept = await self.found(said)
        self.show("remove_story.html", "Remove a story", story=kept, image=image(kept))

    async def post(self, said: str) -> None:
        """Remove it; its events and counts stay."""
        kept = await self.found(said)
        try:
            await RemoveStories((kept.id,), by=self.by).run(self.database)
        except StoreError as error:
            raise failing(error) from None
        self.done(f"/admin/stories?{urlencode({'app': kept.app})}", "removed")

    async def found(self, said: str) -> Kept:
        """The story; raises 404."""
        kept = await story(self.database, min(int(said), 2**63 - 1))
        if kept is None:
            raise Refusal(404, "There is no story with this number.")
        return kept


def image(kept: Kept) -> str:
    """What its `img` says."""
    return str(json.loads(kept.metadata)["img"])


def state(kept: Kept, now: int) -> str:
    """Whether it is shown now."""
    if kept.shown_from is not None and now < kept.shown_from:
        return "later"
    return "over" if kept.shown_until is not None and now >= kept.shown_until else "now"


def moment(at: int | None) -> str:
    """A moment as forms have it; whole seconds without their fraction."""
    return "" if at is None else text(at).removesuffix(".000000Z").removesuffix("Z")
