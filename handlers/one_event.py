"""One event by its id: told, replaced, deleted."""

from time import time_ns
from typing import Any

from handlers.asking import LARGEST, Asking
from handlers.base import Refusal
from rules.event import WrongEvent, read, without_given
from store.apps import Access, Apps
from store.changes import Changes
from store.errors import StoreError, StoreRefused
from store.event_rules import EventRules
from store.events import Events, LoggedEvent

# Members of a shown event that the server sets, and a client cannot change.
GIVEN = ("id", "app", "source", "received_at")
ADDRESS = r"(?:/api/v1)?/events/(\d{1,19})"


class One(Asking):
    """`/events/{id}`."""

    def initialize(self, events: Events, changes: Changes, apps: Apps, rules: EventRules) -> None:
        """`rules` say what is right, and `apps` which of them are strict."""
        self._events = events
        self._changes = changes
        self._apps = apps
        self._rules = rules

    async def get(self, said: str) -> None:
        """The event."""
        access = await self.access_to("read", "admin")
        self.send_value(await self._found(said, access))

    async def put(self, said: str) -> None:
        """Another event in its place, which is right by the same rules."""
        access = await self.access_to("write", "admin")
        event = await self._found(said, access)
        rules = self._rules.book.of(event.app, await self._apps.strict(event.app))
        given = {name: getattr(event, name) for name in GIVEN}
        try:
            body = without_given(self.request.body, given)
            row = read(body, time_ns() // 1000, rules)
        except WrongEvent as wrong:
            status = 400 if wrong.malformed else 422
            words = "This is not a right event; the one that is here stays as it is."
            raise Refusal(status, words, wrong.faults) from None
        try:
            if not await self._changes.replace(int(event.id), row):
                raise Refusal(404, "There is no such event any more.")
        except StoreRefused as error:
            raise Refusal(409, f"This was not replaced: {error}.") from None
        except StoreError as error:
            raise self.later(f"This was not replaced ({error})") from None
        self.send_value(await self._found(said, access))

    async def delete(self, said: str) -> None:
        """Nothing of it is left; figures that counted it stay as they were."""
        access = await self.access_to("write", "admin")
        event = await self._found(said, access)
        await self.cleared(self._changes.delete(int(event.id)))
        self.set_status(204)
        self.finish()

    async def _found(self, said: str, access: Access) -> LoggedEvent:
        event = await self._events.get(min(int(said), LARGEST))
        if event is None or ("admin" not in access.scopes and event.app != access.app):
            raise Refusal(404, "There is no such event.")
        return event


def routes(events: Events, changes: Changes, apps: Apps, rules: EventRules) -> list[Any]:
    """Where this is."""
    parts = {"events": events, "changes": changes, "apps": apps, "rules": rules}
    return [(ADDRESS, One, parts)]
