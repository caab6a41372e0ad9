"""Events: search, session timelines, details, deletion and erasure of a session."""

import re
from itertools import pairwise

from domain.common.formatting import format_count
from domain.common.timestamp import parse_timestamp
from domain.events.event import EVENT_SOURCES
from handlers.admin.admin_page import AdminPage, to_api_error
from handlers.common.api_handler import MAX_INT64
from handlers.common.base_handler import ApiError
from handlers.common.event_filter import event_filter
from handlers.common.route import Route
from handlers.common.text import indent_json, shorten
from store.api.errors import StoreBusy, StoreError
from store.sqlite.admin.apps import app_names
from store.sqlite.core.audit_log import add_audit_entry
from store.sqlite.core.database import Database
from store.sqlite.events.event_mutations import EventMutations
from store.sqlite.events.event_queries import EventQueries
from store.sqlite.events.event_records import (
    EventFilter,
    EventPage,
    InvalidEventCursor,
    LoggedEvent,
)

EVENTS_PER_PAGE = 50
# Event types suggested in the form, and apps offered in a drop-down list.
MAX_SUGGESTIONS = 200
EVENT_SEARCH_FIELDS = ("session_id", "category", "name", "app", "source", "from", "to")
MINUTE_PATTERN = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d")
EVENTS_UNAVAILABLE = (
    "Events cannot be searched now because the projections are not ready. Try again in a moment."
)


def routes(database: Database, events: EventQueries, mutations: EventMutations) -> list[Route]:
    """Return the routes of events and sessions."""
    parts = {"database": database, "events": events, "mutations": mutations}
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
    """The base of the pages about events."""

    def initialize(
        self, database: Database, events: EventQueries, mutations: EventMutations
    ) -> None:
        """Keep the parameters of `routes`."""
        self.database = database
        self.events = events
        self.mutations = mutations

    def time_argument(self, name: str) -> int | None:
        """Return a UTC timestamp in µs; browsers omit the seconds of `datetime-local` fields."""
        text = self.text_argument(name)
        if text is not None and MINUTE_PATTERN.fullmatch(text):
            return parse_timestamp(f"{text}:00Z")
        return super().time_argument(name)

    async def get_event(self, number: str) -> LoggedEvent:
        """Return the event with this id; raise 404 if there is none."""
        event = await self.events.get(min(int(number), MAX_INT64))
        if event is None:
            raise ApiError(404, "There is no event with this id.")
        return event

    async def find_page(self, conditions: EventFilter, newest_first: bool) -> EventPage:
        """Return a page of events; raise 422 for an invalid cursor, 503 without projections."""
        try:
            return await self.events.find(
                conditions,
                newest_first=newest_first,
                limit=EVENTS_PER_PAGE,
                cursor=self.text_argument("cursor"),
            )
        except InvalidEventCursor:
            raise ApiError(422, "Invalid cursor. Start the search again.") from None
        except StoreBusy:
            raise ApiError(503, EVENTS_UNAVAILABLE) from None


class AdminEventsPage(AdminEventsBasePage):
    """`/admin/events`: search events by `EVENT_SEARCH_FIELDS`, with `order` and `cursor`."""

    done_messages = {  # noqa: RUF012
        "deleted": "The event is deleted, also from the database files. Counts still include it.",
        "erased": "All data of the session is erased, also from the database files.",
    }

    async def get(self) -> None:
        """Send the matching events, by default the newest first."""
        page, error, status = EventPage([], None), "", 200
        newest_first = self.text_argument("order") != "asc"
        try:
            page = await self.find_page(event_filter(self, self.int_argument("app")), newest_first)
        except ApiError as api_error:
            error, status = api_error.detail, api_error.status_code
        apps = await app_names(self.database)
        self.send_page(
            "events.html",
            "Events",
            status,
            error=error,
            events=page.events,
            next_page_url=self.page_url(cursor=page.cursor) if page.cursor else None,
            newest_first=newest_first,
            apps=apps,
            has_app_list=len(apps) <= MAX_SUGGESTIONS,
            sources=EVENT_SOURCES,
            event_types=await self.events.list_event_types(MAX_SUGGESTIONS),
            filters={name: self.text_argument(name) or "" for name in EVENT_SEARCH_FIELDS},
            shorten=shorten,
        )


class AdminSessionPage(AdminEventsBasePage):
    """`/admin/sessions?id=`: the timeline of a session."""

    async def get(self) -> None:
        """Send the events of the session, oldest first, with the time between them."""
        session = self.get_query_argument("id", "", strip=False)
        if not session:
            self.redirect_done("/admin/events")
            return
        page = await self.find_page(EventFilter(session=session), newest_first=False)
        times = [parse_timestamp(event.timestamp) for event in page.events]
        gaps = [later - one for one, later in pairwise([*times[:1], *times])]
        self.send_page(
            "session.html",
            "Session",
            session=session,
            events=list(zip(page.events, gaps, strict=True)),
            apps=await app_names(self.database),
            next_page_url=self.page_url(cursor=page.cursor) if page.cursor else None,
            shorten=shorten,
        )


class AdminEventDetailPage(AdminEventsBasePage):
    """`/admin/events/{id}`: show an event."""

    async def get(self, number: str) -> None:
        """Send all members of the event."""
        event = await self.get_event(number)
        apps = await app_names(self.database)
        data = indent_json(bytes(event.data))
        self.send_page("event.html", event.name, event=event, data=data, apps=apps)


class AdminEventDeletePage(AdminEventsBasePage):
    """`/admin/events/{id}/delete`: delete an event after a confirmation."""

    async def get(self, number: str) -> None:
        """Send the confirmation page."""
        self.send_page("delete_event.html", "Delete event", event=await self.get_event(number))

    async def post(self, number: str) -> None:
        """Delete the event."""
        event = await self.get_event(number)
        try:
            await self.mutations.delete(int(event.id))
            about = f"{event.id}; {event.category} / {event.name} of app {event.app or 'none'}"
            await add_audit_entry(self.database, self.actor, "deleted an event", about)
        except StoreError as error:
            raise to_api_error(error) from None
        self.redirect_done("/admin/events", "deleted")


class AdminSessionErasePage(AdminEventsBasePage):
    """`/admin/sessions/erase?id=`: erase a session after a confirmation."""

    def get(self) -> None:
        """Send the confirmation page."""
        self.send_page(
            "erase_session.html",
            "Erase session",
            session=self.get_query_argument("id", "", False),
        )

    async def post(self) -> None:
        """Erase all events and rejected events of the session, in every app."""
        session = self.get_body_argument("id", "", strip=False)
        if not session:
            raise ApiError(422, "Name the session to erase.")
        try:
            gone = await self.mutations.erase_session(session, None)
            # The session id is personal data, so the audit log must not contain it.
            rejected = format_count(gone.rejected_events, "rejected event")
            about = f"{format_count(gone.events, 'event')}, {rejected}"
            await add_audit_entry(self.database, self.actor, "erased a session", about)
        except StoreError as error:
            raise to_api_error(error) from None
        self.redirect_done("/admin/events", "erased")
