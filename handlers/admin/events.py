"""The log: searched, followed through a session, one by one, deleted and forgotten."""

import re
from itertools import pairwise
from typing import Any

import msgspec

from handlers.admin.page import Page, failing
from handlers.asking import LARGEST
from handlers.base import Refusal
from rules.event import SOURCES
from rules.timestamp import micros
from rules.words import plural
from store.apps import names
from store.audit import add
from store.changes import Changes
from store.database import Database
from store.errors import StoreBusy, StoreError
from store.events import BadCursor, Events, Filter, LoggedEvent
from store.events import Page as Found

LIMIT = 50
# Types that are offered while one types, and apps that are offered in a list.
OFFERED = 200
MINUTE = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d")
LATER = "Events cannot be looked up now: the views are being made. Try again in a moment."


def routes(database: Database, events: Events, changes: Changes) -> list[Any]:
    """Where these are."""
    parts = {"database": database, "events": events, "changes": changes}
    return [
        (r"/admin/events", Search, parts),
        (r"/admin/events/(\d{1,19})", One, parts),
        (r"/admin/events/(\d{1,19})/delete", Delete, parts),
        (r"/admin/sessions", Session, parts),
        (r"/admin/sessions/forget", Forget, parts),
    ]


class Base(Page):
    """What has to do with events."""

    def initialize(self, database: Database, events: Events, changes: Changes) -> None:
        """`changes` are how events go."""
        self.database = database
        self.events = events
        self.changes = changes

    def moment(self, name: str) -> int | None:
        """A moment as the fields of forms have it, too, which leave seconds out; UTC."""
        said = self.word(name)
        if said is not None and MINUTE.fullmatch(said):
            return micros(f"{said}:00Z")
        return super().moment(name)

    async def found(self, number: str) -> LoggedEvent:
        """The event; raises 404."""
        event = await self.events.get(min(int(number), LARGEST))
        if event is None:
            raise Refusal(404, "There is no such event.")
        return event

    async def look(self, wanted: Filter, newest_first: bool) -> Found:
        """A page of events; raises `Refusal`."""
        try:
            return await self.events.find(
                wanted, newest_first=newest_first, limit=LIMIT, cursor=self.word("cursor")
            )
        except BadCursor:
            raise Refusal(422, "This page of the list is none. Begin anew.") from None
        except StoreBusy:
            raise Refusal(503, LATER) from None


class Search(Base):
    """`/admin/events?session_id=&category=&name=&app=&source=&from=&to=&order=&cursor=`."""

    deeds = {  # noqa: RUF012
        "deleted": "The event is gone, also from the files. Figures that counted it stay.",
        "forgotten": "What there was of this session is gone, also from the files.",
    }

    async def get(self) -> None:
        """What was asked for, newest first unless said otherwise."""
        page, wrong, status = Found([], None), "", 200
        newest_first = self.word("order") != "asc"
        try:
            page = await self.look(self.wanted(), newest_first)
        except Refusal as refusal:
            wrong, status = refusal.detail, refusal.status_code
        apps = await names(self.database)
        fields = ("session_id", "category", "name", "app", "source", "from", "to")
        self.show(
            "events.html",
            "Events",
            status,
            wrong=wrong,
            events=page.events,
            further=self.query(cursor=page.cursor) if page.cursor else None,
            newest_first=newest_first,
            apps=apps,
            listed=len(apps) <= OFFERED,
            sources=SOURCES,
            kinds=await self.events.kinds(OFFERED),
            asked={name: self.word(name) or "" for name in fields},
            shown=brief,
        )

    def wanted(self) -> Filter:
        """The filter; raises `Refusal`."""
        source = self.word("source")
        if source is not None and source not in SOURCES:
            raise self.wrong("source", f"is none of {', '.join(SOURCES)}")
        return Filter(
            session=self.word("session_id"),
            category=self.word("category"),
            name=self.word("name"),
            app=self.number("app"),
            source=None if source is None else SOURCES[source],
            since=self.moment("from"),
            until=self.moment("to"),
        )


class Session(Base):
    """`/admin/sessions?id=`: what one person did, from the first to the last."""

    async def get(self) -> None:
        """The timeline."""
        session = self.get_query_argument("id", "", strip=False)
        if not session:
            self.done("/admin/events")
            return
        page = await self.look(Filter(session=session), newest_first=False)
        times = [micros(event.timestamp) for event in page.events]
        gaps = [later - one for one, later in pairwise([*times[:1], *times])]
        self.show(
            "session.html",
            "A session",
            session=session,
            events=list(zip(page.events, gaps, strict=True)),
            apps=await names(self.database),
            further=self.query(cursor=page.cursor) if page.cursor else None,
            shown=brief,
        )


class One(Base):
    """`/admin/events/{id}`."""

    async def get(self, number: str) -> None:
        """All that is kept of it."""
        event = await self.found(number)
        apps = await names(self.database)
        data = pretty(bytes(event.data))
        self.show("event.html", event.name, event=event, data=data, apps=apps)


class Delete(Base):
    """`/admin/events/{id}/delete`: asks once more."""

    async def get(self, number: str) -> None:
        """The question."""
        self.show("delete_event.html", "Delete an event", event=await self.found(number))

    async def post(self, number: str) -> None:
        """Delete it."""
        event = await self.found(number)
        try:
            await self.changes.delete(int(event.id))
            about = f"{event.id}; {event.category} / {event.name} of app {event.app or 'none'}"
            await add(self.database, self.by, "deleted an event", about)
        except StoreError as error:
            raise failing(error) from None
        self.done("/admin/events", "deleted")


class Forget(Base):
    """`/admin/sessions/forget?id=`: asks once more."""

    def get(self) -> None:
        """The question."""
        self.show(
            "forget.html", "Forget a session", session=self.get_query_argument("id", "", False)
        )

    async def post(self) -> None:
        """Leave nothing of the session."""
        session = self.get_body_argument("id", "", strip=False)
        if not session:
            raise Refusal(422, "Which session is to be forgotten?")
        try:
            gone = await self.changes.forget(session, None)
            # Whose session it was is what is to be forgotten.
            about = f"{plural(gone.events, 'event')}, {plural(gone.rejects, 'reject')}"
            await add(self.database, self.by, "forgot a session", about)
        except StoreError as error:
            raise failing(error) from None
        self.done("/admin/events", "forgotten")


def brief(data: msgspec.Raw) -> str:
    """Data in one short line."""
    said = bytes(data).decode()
    return said if len(said) <= 120 else said[:117] + "…"


def pretty(data: bytes) -> str:
    """JSON in lines, for people; as it is if it is none."""
    try:
        return msgspec.json.format(data, indent=2).decode()
    except (msgspec.DecodeError, UnicodeDecodeError):
        return data.decode(errors="replace")
