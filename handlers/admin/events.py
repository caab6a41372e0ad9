"""The log: searched, followed through a session, one by one, deleted and forgotten."""

import re
from itertools import pairwise

import msgspec

from domain.common.formatting import format_count
from domain.common.timestamp import parse_timestamp
from domain.events.event import EVENT_SOURCES
from handlers.admin.admin_page import AdminPage, store_error_refusal
from handlers.common.api_handler import MAX_INT64
from handlers.common.base_handler import ApiError
from handlers.common.event_filter import event_filter
from handlers.common.route import Route
from store.api.errors import StoreBusy, StoreError
from store.sqlite.admin.apps import app_names
from store.sqlite.core.audit_log import add_audit_entry
from store.sqlite.core.database import Database
from store.sqlite.events.event_mutations import EventMutations
from store.sqlite.events.event_queries import (
    EventFilter,
    EventQueries,
    InvalidEventCursor,
    LoggedEvent,
)
from store.sqlite.events.event_queries import EventPage as Found

EVENTS_PER_PAGE = 50
# Types that are offered while one types, and apps that are offered in a list.
MAX_SUGGESTIONS = 200
MINUTE_PATTERN = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d")
EVENTS_UNAVAILABLE = (
    "Events cannot be looked up now: the views are being made. Try again in a moment."
)


def routes(database: Database, events: EventQueries, changes: EventMutations) -> list[Route]:
    """Where these are."""
    parts = {"database": database, "events": events, "changes": changes}
    return [
        Route(r"/admin/events", AdminEventsPage, parts, "admin events"),
        Route(r"/admin/events/(\d{1,19})", AdminEventDetailPage, parts, "admin event"),
        Route(
            r"/admin/events/(\d{1,19})/delete", AdminEventDeletePage, parts, "admin event deletion"
        ),
        Route(r"/admin/sessions", AdminSessionPage, parts, "admin session"),
        Route(r"/admin/sessions/erase", AdminSessionErasePage, parts, "admin session erasure"),
    ]


class AdminEventsBasePage(AdminPage):
    """What has to do with events."""

    def initialize(self, database: Database, events: EventQueries, changes: EventMutations) -> None:
        """`changes` are how events go."""
        self.database = database
        self.events = events
        self.changes = changes

    def time_argument(self, name: str) -> int | None:
        """A moment as the fields of forms have it, too, which leave seconds out; UTC."""
        said = self.text_argument(name)
        if said is not None and MINUTE_PATTERN.fullmatch(said):
            return parse_timestamp(f"{said}:00Z")
        return super().time_argument(name)

    async def found(self, number: str) -> LoggedEvent:
        """The event; raises 404."""
        event = await self.events.get(min(int(number), MAX_INT64))
        if event is None:
            raise ApiError(404, "There is no such event.")
        return event

    async def look(self, wanted: EventFilter, newest_first: bool) -> Found:
        """A page of events; raises `Refusal`."""
        try:
            return await self.events.find(
                wanted,
                newest_first=newest_first,
                limit=EVENTS_PER_PAGE,
                cursor=self.text_argument("cursor"),
            )
        except InvalidEventCursor:
            raise ApiError(422, "This page of the list is none. Begin anew.") from None
        except StoreBusy:
            raise ApiError(503, EVENTS_UNAVAILABLE) from None


class AdminEventsPage(AdminEventsBasePage):
    """`/admin/events?session_id=&category=&name=&app=&source=&from=&to=&order=&cursor=`."""

    deeds = {  # noqa: RUF012
        "deleted": "The event is gone, also from the files. Figures that counted it stay.",
        "forgotten": "What there was of this session is gone, also from the files.",
    }

    async def get(self) -> None:
        """What was asked for, newest first unless said otherwise."""
        page, wrong, status = Found([], None), "", 200
        newest_first = self.text_argument("order") != "asc"
        try:
            page = await self.look(self.wanted(), newest_first)
        except ApiError as refusal:
            wrong, status = refusal.detail, refusal.status_code
        apps = await app_names(self.database)
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
            listed=len(apps) <= MAX_SUGGESTIONS,
            sources=EVENT_SOURCES,
            kinds=await self.events.kinds(MAX_SUGGESTIONS),
            asked={name: self.text_argument(name) or "" for name in fields},
            shown=abbreviate_json,
        )

    def wanted(self) -> EventFilter:
        """The filter; raises `Refusal`."""
        return event_filter(self, self.int_argument("app"))


class AdminSessionPage(AdminEventsBasePage):
    """`/admin/sessions?id=`: what one person did, from the first to the last."""

    async def get(self) -> None:
        """The timeline."""
        session = self.get_query_argument("id", "", strip=False)
        if not session:
            self.done("/admin/events")
            return
        page = await self.look(EventFilter(session=session), newest_first=False)
        times = [parse_timestamp(event.timestamp) for event in page.events]
        gaps = [later - one for one, later in pairwise([*times[:1], *times])]
        self.show(
            "session.html",
            "A session",
            session=session,
            events=list(zip(page.events, gaps, strict=True)),
            apps=await app_names(self.database),
            further=self.query(cursor=page.cursor) if page.cursor else None,
            shown=abbreviate_json,
        )


class AdminEventDetailPage(AdminEventsBasePage):
    """`/admin/events/{id}`."""

    async def get(self, number: str) -> None:
        """All that is kept of it."""
        event = await self.found(number)
        apps = await app_names(self.database)
        data = pretty_json(bytes(event.data))
        self.show("event.html", event.name, event=event, data=data, apps=apps)


class AdminEventDeletePage(AdminEventsBasePage):
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
            await add_audit_entry(self.database, self.by, "deleted an event", about)
        except StoreError as error:
            raise store_error_refusal(error) from None
        self.done("/admin/events", "deleted")


class AdminSessionErasePage(AdminEventsBasePage):
    """`/admin/sessions/erase?id=`: asks once more."""

    def get(self) -> None:
        """The question."""
        self.show(
            "erase_session.html",
            "Forget a session",
            session=self.get_query_argument("id", "", False),
        )

    async def post(self) -> None:
        """Leave nothing of the session."""
        session = self.get_body_argument("id", "", strip=False)
        if not session:
            raise ApiError(422, "Which session is to be forgotten?")
        try:
            gone = await self.changes.forget(session, None)
            # Whose session it was is what is to be forgotten.
            rejected = format_count(gone.rejected_events, "rejected event")
            about = f"{format_count(gone.events, 'event')}, {rejected}"
            await add_audit_entry(self.database, self.by, "forgot a session", about)
        except StoreError as error:
            raise store_error_refusal(error) from None
        self.done("/admin/events", "forgotten")


def abbreviate_json(data: msgspec.Raw) -> str:
    """Data in one short line."""
    said = bytes(data).decode()
    return said if len(said) <= 120 else said[:117] + "…"


def pretty_json(data: bytes) -> str:
    """JSON in lines, for people; as it is if it is none."""
    try:
        return msgspec.json.format(data, indent=2).decode()
    except (msgspec.DecodeError, UnicodeDecodeError):
        return data.decode(errors="replace")
