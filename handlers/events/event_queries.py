"""Asking for events: found, exported, and forgotten.

A `read` token sees its own app's events and an `admin` token those of all.
"""

from typing import Any

from tornado.iostream import StreamClosedError

from domain.events.event import EVENT_SOURCES
from handlers.common.api_handler import ApiHandler
from handlers.common.base_handler import ApiError
from httpserver import MemoryBudget, MemoryReservation, reservation_owners
from store.api.errors import StoreBusy
from store.sqlite.events.event_export import EventExport, ExportFormat
from store.sqlite.events.event_mutations import EventMutations
from store.sqlite.events.event_queries import EventFilter, EventQueries, InvalidEventCursor

FILTER_PARAMETERS = ("session_id", "category", "name", "app", "source", "from", "to", "order")
EXPORT_CONTENT_TYPES: dict[ExportFormat, str] = {
    "ndjson": "application/x-ndjson",
    "csv": "text/csv; charset=utf-8",
}


# Bytes that an export holds while its reader is slow: events and their lines.
EXPORT_BUFFER_BYTES = 524_288


def routes(events: EventQueries, exports: MemoryBudget) -> list[Any]:
    """Where the export is; the list shares its address (handlers/events/event_ingest_stream.py).

    All exports that are read at once hold memory of `exports`.
    """
    parts = {"events": events, "exports": exports}
    return [(r"(?:/api/v1)?/events/export", EventExportHandler, parts)]


class EventFilterHandler(ApiHandler):
    """The base of what takes a filter."""

    def initialize(self, **parts: Any) -> None:
        """Of the `parts`, `events` are all that there are."""
        self.events: EventQueries = parts["events"]

    async def wanted(self) -> EventFilter:
        """What the query asks for, as far as the asker may see it."""
        source = self.text_argument("source")
        if source is not None and source not in EVENT_SOURCES:
            raise self.argument_error("source", f"is none of {', '.join(EVENT_SOURCES)}")
        return EventFilter(
            session=self.text_argument("session_id"),
            category=self.text_argument("category"),
            name=self.text_argument("name"),
            app=await self.readable_app(),
            source=None if source is None else EVENT_SOURCES[source],
            since=self.time_argument("from"),
            until=self.time_argument("to"),
        )

    def newest_first(self) -> bool:
        """Whether the order is turned round."""
        order = self.text_argument("order")
        if order not in (None, "asc", "desc"):
            raise self.argument_error("order", "is neither asc nor desc")
        return order == "desc"


class EventListHandler(EventFilterHandler):
    """`GET /events?…` and `DELETE /events?session_id=`."""

    def initialize(self, **parts: Any) -> None:
        """Of the `parts`, `changes` are how events are forgotten."""
        super().initialize(**parts)
        self.changes: EventMutations = parts["changes"]

    async def get(self) -> None:
        """A page of events in the order in which they happened."""
        wanted, newest_first = await self.wanted(), self.newest_first()
        self.reject_unknown_arguments(*FILTER_PARAMETERS, "limit", "cursor")
        try:
            page = await self.events.find(
                wanted,
                newest_first=newest_first,
                limit=self.page_size(),
                cursor=self.text_argument("cursor"),
            )
        except InvalidEventCursor:
            raise self.argument_error("cursor", "is none that this server gave") from None
        except StoreBusy as error:
            raise self.retry_later_error(f"Events cannot be looked up now ({error})") from None
        self.send_struct(page)

    async def delete(self) -> None:
        """Forget a session: nothing of it is left; figures that counted it stay as they were."""
        access = await self.require_any_scope("write", "admin")
        self.reject_unknown_arguments("session_id", "app")
        session, app = self.text_argument("session_id"), self.int_argument("app")
        if not session:
            raise self.argument_error("session_id", "is missing: it says who is to be forgotten")
        if "admin" not in access.scopes:
            if app not in (None, access.app):
                raise ApiError(403, "A `write` token deletes its own app's events; `admin` all.")
            app = access.app
        self.send_struct(await self.await_deletion(self.changes.forget(session, app)))


class EventExportHandler(EventFilterHandler):
    """`GET /events/export?format=ndjson|csv&…`: all that is asked for, as a stream."""

    def initialize(self, **parts: Any) -> None:
        """See `routes`."""
        super().initialize(**parts)
        self.exports: MemoryBudget = parts["exports"]

    async def get(self) -> None:
        """The events; an error on the way cuts the connection, so that no end is made up."""
        wanted, newest_first = await self.wanted(), self.newest_first()
        self.reject_unknown_arguments(*FILTER_PARAMETERS, "format")
        said = self.text_argument("format")
        kind = next((each for each in EXPORT_CONTENT_TYPES if said in (None, each)), None)
        if kind is None:
            raise self.argument_error("format", f"is none of {', '.join(EXPORT_CONTENT_TYPES)}")
        request = self.request
        authorization = request.headers.get("Authorization")
        share = MemoryReservation(
            self.exports, reservation_owners(request.remote_ip or "", authorization)
        )
        if not share.hold(EXPORT_BUFFER_BYTES):
            raise self.retry_later_error("Too many exports are in progress")
        try:
            await self._export(EventExport(wanted, kind, newest_first))
        finally:
            share.hold(0)

    async def _export(self, export: EventExport) -> None:
        kind = export.format
        self.set_header("Content-Type", EXPORT_CONTENT_TYPES[kind])
        self.set_header("Content-Disposition", f'attachment; filename="events.{kind}"')
        try:
            async for piece in export.pieces(self.events):
                self.write(piece)
                await self.flush()
        except StreamClosedError:
            return
        except StoreBusy as error:
            if self._headers_written:
                raise
            self.clear()
            raise self.retry_later_error(f"Events cannot be looked up now ({error})") from None
