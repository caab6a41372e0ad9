"""Which events are right: rules in the database, compiled in memory, in force at once."""

import asyncio
import logging
import sqlite3
from dataclasses import dataclass
from time import time_ns
from typing import Any

import msgspec

from rules.rulebook import ALL, Key, Rulebook
from rules.schema import BadSchema, Rule
from store.audit import changes, note, value
from store.database import Database
from store.errors import StoreRefused
from store.paging import Table, scan

LOG = logging.getLogger("marquee.rules")

# All are in memory, compiled.
MOST = 10_000
RULES = Table("event_rule", ("category", "name", "app"), "app, category, name, schema, changed_at")
# Schemas may be large.
PAGE_ROWS = 100
PUT = """
INSERT INTO event_rule (app, category, name, schema, changed_at) VALUES (?, ?, ?, ?, ?)
ON CONFLICT DO UPDATE SET schema = excluded.schema, changed_at = excluded.changed_at
"""
SCHEMA = "SELECT schema FROM event_rule WHERE app = ? AND category = ? AND name = ?"
DELETE = "DELETE FROM event_rule WHERE app = ? AND category = ? AND name = ?"


@dataclass(frozen=True)
class EventRule:
    """A rule as it is kept; `app` 0 is for all, `schema` JSON, `changed_at` in µs (0: built in)."""

    app: int
    category: str
    name: str
    schema: str
    changed_at: int

    @property
    def key(self) -> Key:
        """What it is known by."""
        return self.app, self.category, self.name


class EventRules:
    """The rules in force. `open` makes it."""

    def __init__(self, database: Database, kept: list[EventRule]) -> None:
        self._database = database
        self._lock = asyncio.Lock()
        self._compiled: dict[Key, tuple[str, Rule]] = {}
        self._take(kept)

    @classmethod
    async def open(cls, database: Database) -> "EventRules":
        """The rules of the database."""
        return cls(database, await _load(database))

    @property
    def kept(self) -> list[EventRule]:
        """All rules, by category, name and app."""
        return self._kept

    def get(self, key: Key) -> EventRule | None:
        """The rule, if there is one."""
        return next((each for each in self._kept if each.key == key), None)

    async def put(self, key: Key, schema: Any, by: str) -> bool:
        """Put a rule in force, in place of the one that was; whether there was none.

        `by` says who does it, in the list of what was changed.

        Raises `BadSchema` for a schema that cannot be a rule, `StoreRefused` for an unknown app.
        """
        # Off the loop: what walks through the schema takes a while for a large one.
        rule = await asyncio.to_thread(Rule, schema)
        text = rule.text
        known = self.get(key)
        if known is not None and known.schema == text:
            return False  # it stays as it is, with the time of its last change

        def job(connection: sqlite3.Connection) -> bool:
            app, *_ = key
            if (
                app != ALL
                and not connection.execute("SELECT 1 FROM app WHERE id = ?", (app,)).fetchone()
            ):
                raise StoreRefused(f"there is no app {app}")
            was = connection.execute(SCHEMA, key).fetchone()
            before = connection.execute("SELECT count(*) FROM event_rule").fetchone()[0]
            if before >= MOST:
                raise StoreRefused(f"there are {MOST} rules already")
            connection.execute(PUT, (*key, text, time_ns() // 1000))
            said = changes({"schema": was[0] if was else None}, {"schema": text})
            note(connection, by, "set an event rule", f"{_words(key)}; {said}")
            return bool(
                connection.execute("SELECT count(*) FROM event_rule").fetchone()[0] > before
            )

        async with self._lock:
            new = await self._database.write(job)
            self._compiled[key] = text, rule
            self._take(await _load(self._database))
        return new

    async def delete(self, key: Key, by: str) -> bool:
        """Let a rule no longer hold; whether there was one."""

        def job(connection: sqlite3.Connection) -> int:
            was = connection.execute(SCHEMA, key).fetchone()
            count = connection.execute(DELETE, key).rowcount
            if was:
                about = f"{_words(key)}; schema: {value(was[0])}"
                note(connection, by, "removed an event rule", about)
            return count

        async with self._lock:
            count = await self._database.write(job)
            self._take(await _load(self._database))
        return bool(count)

    async def reload(self) -> None:
        """Have those in force that the database has."""
        async with self._lock:
            self._take(await _load(self._database))

    def _take(self, kept: list[EventRule]) -> None:
        compiled = {}
        for each in kept:
            text, rule = self._compiled.get(each.key, ("", None))
            if rule is None or text != each.schema:
                rule = _compile(each)
            compiled[each.key] = each.schema, rule
        self._kept = kept
        self._compiled = compiled
        self.book = Rulebook({key: rule for key, (_, rule) in compiled.items()})


def _words(key: Key) -> str:
    app, category, name = key
    return f"{category} / {name}" + (f" of app {app}" if app != ALL else "")


async def _load(database: Database) -> list[EventRule]:
    kept: list[EventRule] = []
    async for rows in scan(database.read_internal, RULES, list, page_rows=PAGE_ROWS):
        kept += [EventRule(*row) for row in rows]
    return kept


def _compile(kept: EventRule) -> Rule:
    try:
        return Rule(msgspec.json.decode(kept.schema))
    except (msgspec.DecodeError, BadSchema) as error:
        # Better refused, and kept among the rejects, than taken unseen.
        LOG.error("the rule for %s takes nothing, as it cannot be used: %s", kept.key, error)
        return Rule(False)
