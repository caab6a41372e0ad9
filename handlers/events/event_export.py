"""`GET /events/export`: all events of a filter as a stream."""

from tornado.iostream import StreamClosedError

from handlers.common.api_handler import ApiHandler
from handlers.common.event_filter import FILTER_PARAMETERS, event_filter, is_newest_first
from handlers.common.route import Route
from httpserver import MemoryBudget, MemoryReservation, reservation_owners
from store.api.errors import StoreBusy
from store.sqlite.events.event_export import EventExport, ExportFormat
from store.sqlite.events.event_queries import EventQueries

EXPORT_CONTENT_TYPES: dict[ExportFormat, str] = {
    "ndjson": "application/x-ndjson",
    "csv": "text/csv; charset=utf-8",
}
# Memory of one export while its client reads slowly: events and their encoded lines.
EXPORT_BUFFER_BYTES = 524_288


def routes(events: EventQueries, export_budget: MemoryBudget) -> list[Route]:
    """Return the Tornado route; all exports in progress share `export_budget`."""
    arguments = {"events": events, "export_budget": export_budget}
    return [Route(r"(?:/api/v1)?/events/export", EventExportHandler, arguments, "event export")]


class EventExportHandler(ApiHandler):
    """`GET /events/export?format=ndjson|csv&…`."""

    def initialize(self, events: EventQueries, export_budget: MemoryBudget) -> None:
        """Set the dependencies; see `routes`."""
        self._events = events
        self._export_budget = export_budget

    async def get(self) -> None:
        """Send the events; an error after the first bytes closes the connection."""
        wanted = event_filter(self, await self.readable_app())
        newest_first = is_newest_first(self)
        self.reject_unknown_arguments(*FILTER_PARAMETERS, "format")
        name = self.text_argument("format")
        export_format = next((each for each in EXPORT_CONTENT_TYPES if name in (None, each)), None)
        if export_format is None:
            raise self.argument_error("format", f"must be one of {', '.join(EXPORT_CONTENT_TYPES)}")
        request = self.request
        authorization = request.headers.get("Authorization")
        reservation = MemoryReservation(
            self._export_budget, reservation_owners(request.remote_ip or "", authorization)
        )
        if not reservation.resize(EXPORT_BUFFER_BYTES):
            raise self.retry_later_error("Too many exports are in progress")
        try:
            await self._send_export(EventExport(wanted, export_format, newest_first))
        finally:
            reservation.resize(0)

    async def _send_export(self, export: EventExport) -> None:
        self.set_header("Content-Type", EXPORT_CONTENT_TYPES[export.format])
        self.set_header("Content-Disposition", f'attachment; filename="events.{export.format}"')
        try:
            async for piece in export.chunks(self._events):
                self.write(piece)
                await self.flush()
        except StreamClosedError:
            return
        except StoreBusy as error:
            if self._headers_written:
                raise
            self.clear()
            raise self.retry_later_error(f"The event store is busy ({error})") from None
