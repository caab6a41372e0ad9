"""`/events/{id}`: read, replace or delete one event."""

from time import time_ns

from domain.events.event import InvalidEvent, parse_event, remove_server_members
from handlers.common.api_handler import MAX_INT64, ApiHandler
from handlers.common.base_handler import ApiError
from handlers.common.route import Route
from store.api.errors import StoreError, StoreRefused
from store.sqlite.admin.token_authenticator import AppAccess, TokenAuthenticator
from store.sqlite.events.event_mutations import EventMutations
from store.sqlite.events.event_queries import EventQueries
from store.sqlite.events.event_records import LoggedEvent
from store.sqlite.events.event_schemas import EventSchemaStore

# Members of an event that the server sets and a client cannot change.
SERVER_SET_FIELDS = ("id", "app", "source", "received_at")
EVENT_PATTERN = r"(?:/api/v1)?/events/(\d{1,19})"


def routes(
    events: EventQueries,
    mutations: EventMutations,
    apps: TokenAuthenticator,
    schemas: EventSchemaStore,
) -> list[Route]:
    """Return the Tornado route; `apps` knows which apps are strict."""
    arguments = {"events": events, "mutations": mutations, "apps": apps, "schemas": schemas}
    return [Route(EVENT_PATTERN, EventDetailHandler, arguments, "event")]


class EventDetailHandler(ApiHandler):
    """`GET`, `PUT` and `DELETE /events/{id}`."""

    def initialize(
        self,
        events: EventQueries,
        mutations: EventMutations,
        apps: TokenAuthenticator,
        schemas: EventSchemaStore,
    ) -> None:
        """Set the dependencies; see `routes`."""
        self._events = events
        self._mutations = mutations
        self._apps = apps
        self._schemas = schemas

    async def get(self, event_id: str) -> None:
        """Send the event."""
        access = await self.require_any_scope("read", "admin")
        self.send_struct(await self._find_event(event_id, access))

    async def put(self, event_id: str) -> None:
        """Replace the event by one that is valid under the same schemas."""
        access = await self.require_any_scope("write", "admin")
        event = await self._find_event(event_id, access)
        schemas = self._schemas.registry.of(event.app, await self._apps.is_strict(event.app))
        server_values = {name: getattr(event, name) for name in SERVER_SET_FIELDS}
        try:
            body = remove_server_members(self.request.body, server_values)
            row = parse_event(body, time_ns() // 1000, schemas)
        except InvalidEvent as error:
            status = 400 if error.malformed else 422
            detail = "The event is invalid; the stored one is unchanged."
            raise ApiError(status, detail, error.faults) from None
        try:
            if not await self._mutations.replace(int(event.id), row):
                raise ApiError(404, "The event was deleted.")
        except StoreRefused as error:
            raise ApiError(409, f"Not replaced: {error}.") from None
        except StoreError as error:
            raise self.retry_later_error(f"Not replaced ({error})") from None
        self.send_struct(await self._find_event(event_id, access))

    async def delete(self, event_id: str) -> None:
        """Erase the event from the files; stats that counted it are unchanged."""
        access = await self.require_any_scope("write", "admin")
        event = await self._find_event(event_id, access)
        await self.await_deletion(self._mutations.delete(int(event.id)))
        self.set_status(204)
        self.finish()

    async def _find_event(self, event_id: str, access: AppAccess) -> LoggedEvent:
        event = await self._events.get(min(int(event_id), MAX_INT64))
        if event is None or ("admin" not in access.scopes and event.app != access.app):
            raise ApiError(404, "Unknown event.")
        return event
