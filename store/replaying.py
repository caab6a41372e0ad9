"""Rejected events, judged again by the rules as they are by now."""

from time import time_ns

from rules.conversion import is_conversion
from rules.event import Row, read
from store.batch import Outcome
from store.clicks import conversion
from store.database import Database
from store.errors import StoreBusy, StoreRefused
from store.event_rejects import Reject, reject
from store.event_rules import EventRules
from store.log import Log


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

    async def _row(self, kept: Reject, strict: bool) -> Row:
        now = time_ns() // 1000
        if is_conversion(kept.body):
            return await conversion(self._database, kept.body, kept.app, now)
        return read(kept.body, now, self._rules.book.of(kept.app, strict))
