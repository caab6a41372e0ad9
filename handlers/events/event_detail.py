"""One event by its id: told, replaced, deleted."""

from time import time_ns
from typing import Any

from domain.events.event import InvalidEvent, parse_event, remove_server_members
from handlers.common.api_handler import MAX_INT64, ApiHandler
from handlers.common.base_handler import ApiError
from store.api.errors import StoreError, StoreRefused
from store.sqlite.admin.apps import AppAccess, TokenAuthenticator
from store.sqlite.events.event_mutations import EventMutations
from store.sqlite.events.event_queries import EventQueries, LoggedEvent
from store.sqlite.events.event_schemas import EventSchemaStore

# Members of a shown event that the server sets, and a client cannot change.
SERVER_SET_FIELDS = ("id", "app", "source", "received_at")
EVENT_PATTERN = r"(?:/api/v1)?/events/(\d{1,19})"


class EventDetailHandler(ApiHandler):
    """`/events/{id}`."""

    def initialize(
        self,
        events: EventQueries,
        changes: EventMutations,
        apps: TokenAuthenticator,
        rules: EventSchemaStore,
    ) -> None:
        """`rules` say what is right, and `apps` which of them are strict."""
        self._events = events
        self._changes = changes
        self._apps = apps
        self._rules = rules

    async def get(self, said: str) -> None:
        """The event."""
        access = await self.require_any_scope("read", "admin")
        self.send_struct(await self._found(said, access))

    async def put(self, said: str) -> None:
        """Another event in its place, which is right by the same rules."""
        access = await self.require_any_scope("write", "admin")
        event = await self._found(said, access)
        rules = self._rules.book.of(event.app, await self._apps.strict(event.app))
        given = {name: getattr(event, name) for name in SERVER_SET_FIELDS}
        try:
            body = remove_server_members(self.request.body, given)
            row = parse_event(body, time_ns() // 1000, rules)
        except InvalidEvent as wrong:
            status = 400 if wrong.malformed else 422
            words = "This is not a right event; the one that is here stays as it is."
            raise ApiError(status, words, wrong.faults) from None
        try:
            if not await self._changes.replace(int(event.id), row):
                raise ApiError(404, "There is no such event any more.")
        except StoreRefused as error:
            raise ApiError(409, f"This was not replaced: {error}.") from None
        except StoreError as error:
            raise self.retry_later_error(f"This was not replaced ({error})") from None
        self.send_struct(await self._found(said, access))

    async def delete(self, said: str) -> None:
        """Nothing of it is left; figures that counted it stay as they were."""
        access = await self.require_any_scope("write", "admin")
        event = await self._found(said, access)
        await self.await_deletion(self._changes.delete(int(event.id)))
        self.set_status(204)
        self.finish()

    async def _found(self, said: str, access: AppAccess) -> LoggedEvent:
        event = await self._events.get(min(int(said), MAX_INT64))
        if event is None or ("admin" not in access.scopes and event.app != access.app):
            raise ApiError(404, "There is no such event.")
        return event


def routes(
    events: EventQueries, changes: EventMutations, apps: TokenAuthenticator, rules: EventSchemaStore
) -> list[Any]:
    """Where this is."""
    parts = {"events": events, "changes": changes, "apps": apps, "rules": rules}
    return [(EVENT_PATTERN, EventDetailHandler, parts)]
