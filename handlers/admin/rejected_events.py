"""Rejected events: list, details and replay."""

import asyncio
from collections import Counter

import msgspec

from domain.common.formatting import format_count, format_moment
from domain.common.validation_errors import FieldError
from domain.events.event import InvalidEvent
from handlers.admin.admin_page import AdminPage
from handlers.common.api_handler import MAX_INT64
from handlers.common.base_handler import ApiError
from handlers.common.route import Route
from handlers.common.text import indent_json, shorten
from store.api.errors import StoreError, StoreRefused
from store.sqlite.admin.apps import app_names
from store.sqlite.core.audit_log import add_audit_entry
from store.sqlite.core.database import Database
from store.sqlite.events.rejected_event_queries import (
    RejectedEvent,
    RejectedEventFilter,
    find_rejected_events,
    get_rejected_event,
)
from store.sqlite.events.rejected_event_replay import RecordReplay, RejectedEventReplayer

REJECTED_PER_PAGE = 50
# Events that one request replays. Each is a commit of its own behind those of ingest.
MAX_REPLAYS_PER_REQUEST = 2_000
MAX_LISTED_APPS = 200
# Status for a store error during a replay of several events; its message follows.
ERROR_PREFIX = "!"


def routes(database: Database, replayer: RejectedEventReplayer) -> list[Route]:
    """Return the routes of rejected events."""
    parts = {"database": database, "replayer": replayer}
    return [
        Route(r"/admin/rejected-events", AdminRejectedEventsPage, parts, "admin rejected events"),
        Route(
            r"/admin/rejected-events/replay",
            AdminRejectedReplayPage,
            parts,
            "admin rejected events replay",
        ),
        Route(
            r"/admin/rejected-events/(\d{1,19})",
            AdminRejectedDetailPage,
            parts,
            "admin rejected event",
        ),
    ]


class AdminRejectedBasePage(AdminPage):
    """The base of the pages about rejected events."""

    def initialize(self, database: Database, replayer: RejectedEventReplayer) -> None:
        """Keep the parameters of `routes`."""
        self.database = database
        self.replayer = replayer


class AdminRejectedEventsPage(AdminRejectedBasePage):
    """`/admin/rejected-events?app=&from=&to=&before=`: list rejected events."""

    done_messages = {"replayed": "The event is valid now and stored."}  # noqa: RUF012

    async def get(self) -> None:
        """Send a page of rejected events, newest first."""
        error, status, next_page_url = "", 200, None
        found: list[RejectedEvent] = []
        try:
            event_filter = RejectedEventFilter(
                self.int_argument("app"), self.time_argument("from"), self.time_argument("to")
            )
            found, cursor = await find_rejected_events(
                self.database,
                event_filter,
                before=self.int_argument("before"),
                limit=REJECTED_PER_PAGE,
            )
            next_page_url = self.page_url(before=cursor) if cursor else None
        except ApiError as api_error:
            error, status = api_error.detail, api_error.status_code
        apps = await app_names(self.database)
        self.send_page(
            "rejected_events.html",
            "Rejected events",
            status,
            error=error,
            rejected_events=[(each, stored_errors(each), shorten(each.body)) for each in found],
            apps=apps,
            has_app_list=len(apps) <= MAX_LISTED_APPS,
            filters={name: self.text_argument(name) or "" for name in ("app", "from", "to")},
            next_page_url=next_page_url,
        )


class AdminRejectedDetailPage(AdminRejectedBasePage):
    """`/admin/rejected-events/{id}`: show a rejected event and its errors."""

    async def get(self, number: str) -> None:
        """Send the body as received, and the errors."""
        await self.send_detail(number, [])

    async def post(self, number: str) -> None:
        """Validate the event again; store it if it is valid now."""
        try:
            event, verdict = await self.replayer.replay(min(int(number), MAX_INT64))
        except InvalidEvent as invalid:
            await self.send_detail(number, invalid.faults, 422, "The event is still invalid.")
            return
        except StoreRefused:
            raise ApiError(404, "This rejected event no longer exists.") from None
        except StoreError as error:
            raise ApiError(
                503, f"The event was not replayed: {error}. Try again in a moment."
            ) from None
        if verdict in ("conflict", "rejected"):
            message = "Another event has the same `sender_id`, so this one cannot be stored."
            await self.send_detail(number, [], 422, message)
            return
        await add_audit_entry(
            self.database,
            self.actor,
            "replayed a rejected event",
            f"{number}; stored as event {event}",
        )
        self.redirect_done("/admin/rejected-events", "replayed")

    async def send_detail(
        self, number: str, current_errors: list[FieldError], status: int = 200, error: str = ""
    ) -> None:
        """Send the page of a rejected event; without `current_errors`, show the stored ones."""
        found = await get_rejected_event(self.database, min(int(number), MAX_INT64))
        if found is None:
            raise ApiError(404, "There is no rejected event with this id.")
        rejected, _ = found
        self.send_page(
            "rejected_event.html",
            f"Rejected {format_moment(rejected.received)}",
            status,
            error=error,
            rejected=rejected,
            errors=current_errors or stored_errors(rejected),
            body=indent_json(rejected.body),
            apps=await app_names(self.database),
        )


class AdminRejectedReplayPage(AdminRejectedBasePage):
    """`/admin/rejected-events/replay`: replay the rejected events of an app, or all."""

    async def post(self) -> None:
        """Validate the newest rejected events again and store the valid ones."""
        app = self.form_number("app") if self.form_text("app") else None
        counts: Counter[str] = Counter()
        before, store_error = None, ""
        while sum(counts.values()) < MAX_REPLAYS_PER_REQUEST and not store_error:
            page, before = await find_rejected_events(
                self.database, RejectedEventFilter(app=app), before=before, limit=REJECTED_PER_PAGE
            )
            outcomes = await asyncio.gather(*map(self.replay_one, page))
            counts.update(outcomes)
            store_error = next((each for each in outcomes if each.startswith(ERROR_PREFIX)), "")
            if before is None:
                break
        stored = counts["stored"] + counts["duplicate"]
        invalid = counts["wrong"]
        result = f"{format_count(stored, 'event')} stored, {invalid:,} still invalid."
        if store_error:
            result += f" Replay stopped: {store_error.removeprefix(ERROR_PREFIX)}."
        elif before is not None:
            result += f" Only the newest {MAX_REPLAYS_PER_REQUEST:,} were replayed."
        if stored:
            await RecordReplay(stored, invalid, by=self.actor).run(self.database)
        self.send_page("replay_report.html", "Replay", result=result, app=app)

    async def replay_one(self, rejected: RejectedEvent) -> str:
        """Return the status of the replay, or `ERROR_PREFIX` and a store error's message."""
        try:
            return (await self.replayer.try_replay(rejected.id)).status
        except StoreError as error:
            return f"{ERROR_PREFIX}{error}"


def stored_errors(rejected: RejectedEvent) -> list[FieldError]:
    """Return the errors of the first validation; empty if they cannot be decoded."""
    try:
        return msgspec.json.decode(rejected.errors, type=list[FieldError])
    except msgspec.DecodeError:
        return []
