"""Rejected events, judged again by the rules as they are by now."""

from dataclasses import dataclass
from time import time_ns
from typing import Literal

from rules.batch import CONFLICT, UNFIT
from rules.conversion import is_conversion
from rules.event import Row, WrongEvent, read
from rules.faults import Fault
from rules.words import plural
from store.audit import add
from store.batch import Outcome
from store.clicks import conversion
from store.commands import Command
from store.database import Database
from store.errors import StoreBusy, StoreRefused
from store.event_rejects import Reject, reject
from store.event_rules import EventRules
from store.log import Log


@dataclass(frozen=True)
class Replayed:
    """What became of a reject."""

    reject: str
    status: Literal["stored", "duplicate", "wrong", "gone"]
    event: str | None = None  # its id, if it is stored
    errors: tuple[Fault, ...] = ()  # what is still wrong


class NoteReplayed(Command[None], frozen=True):
    """Add one entry about replayed rejects to the list of changes, after the last of them."""

    stored: int
    wrong: int

    async def run(self, database: Database) -> None:
        """Write the entry."""
        about = f"{plural(self.stored, 'event')} stored; {self.wrong:,} still wrong"
        await add(database, self.by, "replayed rejects", about)


class Replays:
    """Takes rejects again; one that is right by now is a reject no more."""

    def __init__(self, database: Database, log: Log, rules: EventRules) -> None:
        """`log` is where they go if they are right by `rules`."""
        self._database = database
        self._log = log
        self._rules = rules

    async def replay(self, number: int, app: int | None = None) -> Outcome:
        """Take a reject (of one app alone, if it is given): what became of it, once on disk.

        Raises `WrongEvent` if it is still wrong, `StoreRefused` if there is none, `StoreBusy`
        while the log is full, and what the log raises.
        """
        found = await reject(self._database, number)
        if found is None or app not in (None, found[0].app):
            raise StoreRefused("there is no such rejected event")
        if not self._log.room(len(found[0].body)):
            raise StoreBusy("more events are waiting than can be held")
        row = await self._row(*found)
        (outcome,) = await self._log.replay(number, row)
        if outcome[1] == "gone":
            raise StoreRefused("there is no such rejected event any more")
        return outcome

    async def told(self, number: int, app: int | None = None) -> Replayed:
        """`replay`, with what is wrong told instead of raised."""
        try:
            event, verdict = await self.replay(number, app)
        except WrongEvent as wrong:
            return Replayed(str(number), "wrong", errors=tuple(wrong.faults))
        except StoreRefused:
            return Replayed(str(number), "gone")
        if verdict == "stored":
            return Replayed(str(number), "stored", str(event))
        if verdict == "duplicate":
            return Replayed(str(number), "duplicate", str(event))
        return Replayed(
            str(number), "wrong", errors=(CONFLICT if verdict == "conflict" else UNFIT,)
        )

    async def _row(self, kept: Reject, strict: bool) -> Row:
        now = time_ns() // 1000
        if is_conversion(kept.body):
            return await conversion(self._database, kept.body, kept.app, now)
        return read(kept.body, now, self._rules.book.of(kept.app, strict))
