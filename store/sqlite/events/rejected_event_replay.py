"""Rejected events, judged again by the rules as they are by now."""

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
    """What became of a reject."""

    reject: str
    status: Literal["stored", "duplicate", "wrong", "gone"]
    event: str | None = None  # its id, if it is stored
    errors: tuple[FieldError, ...] = ()  # what is still wrong


class RecordReplay(AdminCommand[None], frozen=True):
    """Add one entry about replayed rejects to the list of changes, after the last of them."""

    stored: int
    wrong: int

    async def run(self, database: Database) -> None:
        """Write the entry."""
        about = f"{format_count(self.stored, 'event')} stored; {self.wrong:,} still wrong"
        await add_audit_entry(database, self.by, "replayed rejects", about)


class RejectedEventReplayer:
    """Takes rejects again; one that is right by now is a reject no more."""

    def __init__(self, database: Database, log: EventLog, rules: EventSchemaStore) -> None:
        """`log` is where they go if they are right by `rules`."""
        self._database = database
        self._log = log
        self._rules = rules

    async def replay(self, number: int, app: int | None = None) -> AppendOutcome:
        """Take a reject (of one app alone, if it is given): what became of it, once on disk.

        Raises `WrongEvent` if it is still wrong, `StoreRefused` if there is none, `StoreBusy`
        while the log is full, and what the log raises.
        """
        found = await get_rejected_event(self._database, number)
        if found is None or app not in (None, found[0].app):
            raise StoreRefused("there is no such rejected event")
        if not self._log.room(len(found[0].body)):
            raise StoreBusy("more events are waiting than can be held")
        row = await self._row(*found)
        (outcome,) = await self._log.replay(number, row)
        if outcome[1] == "gone":
            raise StoreRefused("there is no such rejected event any more")
        return outcome

    async def try_replay(self, number: int, app: int | None = None) -> ReplayResult:
        """`replay`, with what is wrong told instead of raised."""
        try:
            event, verdict = await self.replay(number, app)
        except InvalidEvent as wrong:
            return ReplayResult(str(number), "wrong", errors=tuple(wrong.faults))
        except StoreRefused:
            return ReplayResult(str(number), "gone")
        if verdict == "stored":
            return ReplayResult(str(number), "stored", str(event))
        if verdict == "duplicate":
            return ReplayResult(str(number), "duplicate", str(event))
        return ReplayResult(
            str(number),
            "wrong",
            errors=(SENDER_ID_CONFLICT if verdict == "conflict" else EVENT_NOT_STORABLE,),
        )

    async def _row(self, kept: RejectedEvent, strict: bool) -> EventRow:
        now = time_ns() // 1000
        if looks_like_conversion(kept.body):
            return await resolve_conversion(self._database, kept.body, kept.app, now)
        return parse_event(kept.body, now, self._rules.book.of(kept.app, strict))
