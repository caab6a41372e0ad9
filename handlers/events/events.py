"""`/events`: search (GET), erase a session (DELETE), ingest a large body (POST).

A fast route serves `POST /events` with small bodies (handlers/events/event_ingest.py).
"""

import contextlib

from tornado.iostream import StreamClosedError
from tornado.web import stream_request_body

from handlers.common.api_handler import ApiHandler
from handlers.common.base_handler import ApiError
from handlers.common.event_filter import FILTER_PARAMETERS, event_filter, is_newest_first
from handlers.common.ingest import BATCH_RESPONSE_END, batch_response
from handlers.common.route import Route
from handlers.events.event_ingest import EVENTS_PATTERN
from handlers.events.event_ingest_stream import EventStream, EventStreamContext
from store.api.errors import StoreBusy
from store.sqlite.events.event_mutations import EventMutations
from store.sqlite.events.event_queries import EventQueries
from store.sqlite.events.event_records import InvalidEventCursor


def routes(
    events: EventQueries, mutations: EventMutations, stream: EventStreamContext
) -> list[Route]:
    """Return the Tornado route of `/events`."""
    arguments = {"events": events, "mutations": mutations, "stream": stream}
    return [Route(EVENTS_PATTERN, EventsHandler, arguments, "event list and stream")]


@stream_request_body
class EventsHandler(ApiHandler):
    """`GET /events?…`, `DELETE /events?session_id=`, `POST /events`."""

    def initialize(
        self, events: EventQueries, mutations: EventMutations, stream: EventStreamContext
    ) -> None:
        """Set the dependencies; `stream` is what a POST needs."""
        self._events = events
        self._mutations = mutations
        self._stream = EventStream(stream, self.request)

    def count_refused(self) -> None:
        """Count a POST above the rate limit among the refused events."""
        if self.request.method == "POST":
            self._stream.count_refused()

    async def prepare(self) -> None:
        """Authenticate a POST before its body arrives."""
        if self.request.method == "POST":
            self._stream.begin(await self.require_any_scope("write"))

    async def data_received(self, chunk: bytes) -> None:
        """Append the complete lines of a body."""
        await self._stream.receive(chunk)

    async def get(self) -> None:
        """Send a page of events, ordered by time of occurrence."""
        wanted = event_filter(self, await self.readable_app())
        newest_first = is_newest_first(self)
        self.reject_unknown_arguments(*FILTER_PARAMETERS, "limit", "cursor")
        try:
            page = await self._events.find(
                wanted,
                newest_first=newest_first,
                limit=self.page_size(),
                cursor=self.text_argument("cursor"),
            )
        except InvalidEventCursor:
            raise self.argument_error("cursor", "is not a cursor of this server") from None
        except StoreBusy as error:
            raise self.retry_later_error(f"The event store is busy ({error})") from None
        self.send_struct(page)

    async def delete(self) -> None:
        """Erase the events of a session; stats that counted them are unchanged."""
        access = await self.require_any_scope("write", "admin")
        self.reject_unknown_arguments("session_id", "app")
        session, app = self.text_argument("session_id"), self.int_argument("app")
        if not session:
            raise self.argument_error("session_id", "is missing: name the session to erase")
        if "admin" not in access.scopes:
            if app not in (None, access.app):
                raise ApiError(
                    403, "A `write` token deletes only events of its own app; use `admin`."
                )
            app = access.app
        self.send_struct(await self.await_deletion(self._mutations.erase_session(session, app)))

    async def post(self) -> None:
        """Send the response of the body once it is on disk."""
        response = await self._stream.finish()
        if response is not None:
            self.send_response(response)
            return
        with contextlib.suppress(StreamClosedError):
            await self._send_results()

    async def _send_results(self) -> None:
        """Write the results in parts, as fast as the client reads them."""
        frame = batch_response([], self._stream.failure)
        self.set_status(frame.status)
        for name, value in frame.headers:
            self.set_header(name, value)
        self.write(frame.body[: -len(BATCH_RESPONSE_END)])
        for number, part in enumerate(self._stream.results.parts()):
            if number:
                await self.flush()
            self.write(part)
        self.finish(BATCH_RESPONSE_END)

    def on_finish(self) -> None:
        """Release the memory of the body."""
        self._stream.release()

    def on_connection_close(self) -> None:
        """Release the memory after an early disconnect; received lines are still appended."""
        super().on_connection_close()
        self._stream.disconnect()
