"""The events that were not right: listed, filtered, one by one, and replayed."""

import asyncio
from collections import Counter
from typing import Any

import msgspec

from domain.common.formatting import format_count, format_moment
from domain.common.validation_errors import FieldError
from domain.events.event import InvalidEvent
from handlers.admin.admin_page import AdminPage
from handlers.common.api_handler import MAX_INT64
from handlers.common.base_handler import ApiError
from handlers.common.route import Route
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
# Rejects that one click replays; each is a commit, which others go before.
MAX_REPLAYS_PER_REQUEST = 2_000
MAX_LISTED_APPS = 200
# Characters of a body that are shown in a list.
BODY_PREVIEW_LENGTH = 120


def routes(database: Database, replays: RejectedEventReplayer) -> list[Route]:
    """Where these are."""
    parts = {"database": database, "replays": replays}
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
    """What has to do with rejects."""

    def initialize(self, database: Database, replays: RejectedEventReplayer) -> None:
        """`replays` judge them again."""
        self.database = database
        self.replays = replays


class AdminRejectedEventsPage(AdminRejectedBasePage):
    """`/admin/rejected-events?app=&from=&to=&before=`."""

    deeds = {"replayed": "It is right now, and stored."}  # noqa: RUF012

    async def get(self) -> None:
        """A page of them, newest first."""
        await self.list()

    async def list(self, status: int = 200, **more: Any) -> None:
        """Answer with the list, and `more`."""
        wrong, further = "", None
        found: list[RejectedEvent] = []
        try:
            wanted = RejectedEventFilter(
                self.int_argument("app"), self.time_argument("from"), self.time_argument("to")
            )
            found, cursor = await find_rejected_events(
                self.database, wanted, before=self.int_argument("before"), limit=REJECTED_PER_PAGE
            )
            further = self.query(before=cursor) if cursor else None
        except ApiError as refusal:
            wrong, status = refusal.detail, refusal.status_code
        apps = await app_names(self.database)
        values: dict[str, Any] = {"wrong": wrong, "result": None, **more}
        self.show(
            "rejected_events.html",
            "Rejects",
            status,
            rejects=[(each, stored_errors(each), body_preview(each.body)) for each in found],
            apps=apps,
            listed=len(apps) <= MAX_LISTED_APPS,
            asked={name: self.text_argument(name) or "" for name in ("app", "from", "to")},
            further=further,
            **values,
        )


class AdminRejectedDetailPage(AdminRejectedBasePage):
    """`/admin/rejected-events/{id}`: as it came, and why it was not taken."""

    async def get(self, number: str) -> None:
        """The reject."""
        await self.one(number, [])

    async def post(self, number: str) -> None:
        """Judge it again."""
        try:
            event, verdict = await self.replays.replay(min(int(number), MAX_INT64))
        except InvalidEvent as wrong:
            await self.one(number, wrong.faults, 422, "It is still not a right event.")
            return
        except StoreRefused:
            raise ApiError(404, "There is no such rejected event any more.") from None
        except StoreError as error:
            raise ApiError(503, f"It was not replayed: {error}. Try again in a moment.") from None
        if verdict in ("conflict", "rejected"):
            words = "Another event came with the same `sender_id`, so this one cannot be stored."
            await self.one(number, [], 422, words)
            return
        await add_audit_entry(
            self.database, self.by, "replayed a reject", f"{number}; stored as event {event}"
        )
        self.done("/admin/rejected-events", "replayed")

    async def one(
        self, number: str, still: list[FieldError], status: int = 200, wrong: str = ""
    ) -> None:
        """Answer with the reject, and what is wrong with it still."""
        found = await get_rejected_event(self.database, min(int(number), MAX_INT64))
        if found is None:
            raise ApiError(404, "There is no such rejected event.")
        kept, _ = found
        self.show(
            "rejected_event.html",
            f"Rejected {format_moment(kept.received)}",
            status,
            wrong=wrong,
            reject=kept,
            faults=still or stored_errors(kept),
            body=pretty_json(kept.body),
            apps=await app_names(self.database),
        )


class AdminRejectedReplayPage(AdminRejectedBasePage):
    """`/admin/rejected-events/replay`: all of a filter, or of all apps."""

    async def post(self) -> None:
        """Judge the newest of them again."""
        said = self.said("app")
        app = self.whole("app") if said else None
        counts: Counter[str] = Counter()
        before, stopped = None, ""
        while sum(counts.values()) < MAX_REPLAYS_PER_REQUEST and not stopped:
            some, before = await find_rejected_events(
                self.database, RejectedEventFilter(app=app), before=before, limit=REJECTED_PER_PAGE
            )
            outcomes = await asyncio.gather(*map(self.replay, some))
            counts.update(outcomes)
            stopped = next((each for each in outcomes if each.startswith("!")), "")
            if before is None:
                break
        stored = counts["stored"] + counts["duplicate"]
        wrong = counts["wrong"]
        result = f"{format_count(stored, 'event')} stored, {wrong:,} still wrong."
        if stopped:
            result += f" It ended early: {stopped[1:]}."
        elif before is not None:
            result += (
                f" That were the newest {MAX_REPLAYS_PER_REQUEST:,}; older ones were not looked at."
            )
        if stored:
            await RecordReplay(stored, wrong, by=self.by).run(self.database)
        self.show("replay_report.html", "Replayed", result=result, app=app)

    async def replay(self, kept: RejectedEvent) -> str:
        """What became of one."""
        try:
            return (await self.replays.told(kept.id)).status
        except StoreError as error:
            return f"!{error}"


def stored_errors(kept: RejectedEvent) -> list[FieldError]:
    """Why it was not taken."""
    try:
        return msgspec.json.decode(kept.errors, type=list[FieldError])
    except msgspec.DecodeError:
        return []


def body_preview(body: bytes) -> str:
    """The beginning of a body."""
    # A character has at most four bytes, so that none of those shown is cut.
    said = body[: 4 * BODY_PREVIEW_LENGTH].decode(errors="replace")
    return said if len(said) < BODY_PREVIEW_LENGTH else said[: BODY_PREVIEW_LENGTH - 3] + "…"


def pretty_json(body: bytes) -> str:
    """A body as it came; in lines where it is JSON."""
    try:
        return msgspec.json.format(body, indent=2).decode()
    except (msgspec.DecodeError, UnicodeDecodeError):
        return body.decode(errors="replace")
