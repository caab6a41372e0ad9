"""The events that were not right: listed, and replayed when a rule has changed."""

import base64
from time import time_ns
from typing import Any

import msgspec

from handlers.asking import Asking
from handlers.base import Refusal
from rules.conversion import is_conversion
from rules.event import Row, WrongEvent, read
from rules.timestamp import text
from store.clicks import conversion
from store.database import Database
from store.event_rejects import Filter, Reject, reject, rejects
from store.event_rules import EventRules
from store.log import Log

BASE = r"(?:/api/v1)?/events/rejected"


def routes(database: Database, log: Log, rules: EventRules) -> list[Any]:
    """Where these are."""
    return [
        (BASE, Rejected, {"database": database}),
        (BASE + r"/(\d{1,19})/replay", Replay, {"database": database, "log": log, "rules": rules}),
    ]


class Rejected(Asking):
    """`GET /events/rejected?app=&from=&to=&limit=&cursor=`."""

    def initialize(self, database: Database) -> None:
        """`database` holds them."""
        self._database = database

    async def get(self) -> None:
        """A page of them, newest first."""
        wanted = Filter(await self.reader(), self.moment("from"), self.moment("to"))
        found, cursor = await rejects(
            self._database, wanted, before=self.number("cursor"), limit=self.limit()
        )
        page = {
            "rejected": [_shown(each) for each in found],
            "cursor": None if cursor is None else str(cursor),
        }
        self.send_value(page)


class Replay(Asking):
    """`POST /events/rejected/{id}/replay`."""

    def initialize(self, database: Database, log: Log, rules: EventRules) -> None:
        """`log` is where it goes if it is right by `rules`, as they are now."""
        self._database = database
        self._journal = log
        self._rules = rules

    async def post(self, said: str) -> None:
        """Take it now; once it is on disk it is no reject any more."""
        access = await self.access_to("write", "admin")
        number = min(int(said), 2**63 - 1)
        found = await reject(self._database, number)
        if found is None or ("admin" not in access.scopes and found[0].app != access.app):
            raise Refusal(404, "There is no such rejected event.")
        if not self._journal.room(len(found[0].body)):
            raise self.later("More events are waiting than can be held")
        try:
            row = await self._row(*found)
        except WrongEvent as wrong:
            raise Refusal(422, "It is still not a right event.", wrong.faults) from None
        event, verdict = await self.stored(self._journal.replay(number, row))
        if verdict == "gone":
            raise Refusal(404, "There is no such rejected event any more.")
        self.send_json({"id": str(event), "status": verdict})

    async def _row(self, kept: Reject, strict: bool) -> Row:
        now = time_ns() // 1000
        if is_conversion(kept.body):
            return await conversion(self._database, kept.body, kept.app, now)
        return read(kept.body, now, self._rules.book.of(kept.app, strict))


def _shown(kept: Reject) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "id": str(kept.id),
        "app": kept.app,
        "received_at": text(kept.received),
        "errors": msgspec.Raw(kept.errors.encode()),
    }
    try:
        shown["body"] = kept.body.decode()
    except UnicodeDecodeError:
        shown["body"] = base64.b64encode(kept.body).decode()
        shown["encoding"] = "base64"
    return shown
