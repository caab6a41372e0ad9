"""Replay of rejected events: validation against the current schemas, then storage."""

from dataclasses import dataclass
from time import time_ns
from typing import Literal

from domain.banners.conversion import looks_like_conversion
from domain.common.formatting import format_count
from domain.common.validation_errors import FieldError
from domain.events.event import EventRow, InvalidEvent, parse_event
from domain.events.event_batch import EVENT_NOT_STORABLE, SENDER_ID_CONFLICT
from store.api.errors import StoreBusy, StoreRefused
from store.sqlite.core.audit_log import add_audit_entry
from store.sqlite.core.command import AdminCommand
from store.sqlite.core.database import Database
from store.sqlite.events.click_log import resolve_conversion
from store.sqlite.events.commit_batch import AppendOutcome
from store.sqlite.events.event_log import EventLog
from store.sqlite.events.event_schemas import EventSchemaStore
from store.sqlite.events.rejected_event_queries import RejectedEvent, get_rejected_event


@dataclass(frozen=True)
class ReplayResult:
    """Outcome of the replay of a rejected event."""

    reject: str
    status: Literal["stored", "duplicate", "wrong", "gone"]
    event: str | None = None  # its id, if it was stored
    errors: tuple[FieldError, ...] = ()  # why it is still invalid


class RecordReplay(AdminCommand[None], frozen=True):
    """Write one audit entry for all events replayed by a command."""

    stored: int
    wrong: int

    async def run(self, database: Database) -> None:
        """Write the entry."""
        details = f"{format_count(self.stored, 'event')} stored; {self.wrong:,} still invalid"
        await add_audit_entry(database, self.by, "replayed rejected events", details)


class RejectedEventReplayer:
    """Replays rejected events; one that is stored is no longer a rejected event."""

    def __init__(self, database: Database, log: EventLog, schemas: EventSchemaStore) -> None:
        self._database = database
        self._log = log
        self._schemas = schemas

    async def replay(self, number: int, app: int | None = None) -> AppendOutcome:
        """Replay a rejected event, with `app` of that app only; return its committed outcome.

        Raises `InvalidEvent` if it is still invalid, `StoreRefused` if it does not exist,
        `StoreBusy` while the queue is full, and the errors of the log.
        """
        rejected = await get_rejected_event(self._database, number)
        if rejected is None or app not in (None, rejected[0].app):
            raise StoreRefused("there is no such rejected event")
        if not self._log.has_room(len(rejected[0].body)):
            raise StoreBusy("the queue of the event log is full")
        row = await self._parse(*rejected)
        (outcome,) = await self._log.replay(number, row)
        if outcome[1] == "gone":
            raise StoreRefused("the rejected event no longer exists")
        return outcome

    async def try_replay(self, number: int, app: int | None = None) -> ReplayResult:
        """Replay like `replay`, but return validation errors instead of raising them."""
        try:
            event, outcome = await self.replay(number, app)
        except InvalidEvent as error:
            return ReplayResult(str(number), "wrong", errors=tuple(error.faults))
        except StoreRefused:
            return ReplayResult(str(number), "gone")
        if outcome == "stored":
            return ReplayResult(str(number), "stored", str(event))
        if outcome == "duplicate":
            return ReplayResult(str(number), "duplicate", str(event))
        return ReplayResult(
            str(number),
            "wrong",
            errors=(SENDER_ID_CONFLICT if outcome == "conflict" else EVENT_NOT_STORABLE,),
        )

    async def _parse(self, rejected: RejectedEvent, strict: bool) -> EventRow:
        now = time_ns() // 1000
        if looks_like_conversion(rejected.body):
            return await resolve_conversion(self._database, rejected.body, rejected.app, now)
        return parse_event(rejected.body, now, self._schemas.registry.of(rejected.app, strict))
