"""Which events are right: rules in the database, compiled in memory, in force at once."""

import asyncio
import logging
import sqlite3
from dataclasses import dataclass
from time import time_ns
from typing import Any

import msgspec

from domain.events.event_schema import CompiledEventSchema, InvalidSchema
from domain.events.schema_registry import ALL_APPS, SchemaKey, SchemaRegistry
from store.api.errors import StoreRefused
from store.sqlite.core.audit_log import format_changes, format_value, write_audit_entry
from store.sqlite.core.database import Database
from store.sqlite.core.paging import TableScan, map_pages

LOG = logging.getLogger("marquee.rules")

# All are in memory, compiled.
MAX_EVENT_SCHEMAS = 10_000
EVENT_SCHEMA_TABLE = TableScan(
    "event_rule", ("category", "name", "app"), "app, category, name, schema, changed_at"
)
# Schemas may be large.
SCHEMA_PAGE_ROWS = 100
PUT_SCHEMA_SQL = """
INSERT INTO event_rule (app, category, name, schema, changed_at) VALUES (?, ?, ?, ?, ?)
ON CONFLICT DO UPDATE SET schema = excluded.schema, changed_at = excluded.changed_at
"""
GET_SCHEMA_SQL = "SELECT schema FROM event_rule WHERE app = ? AND category = ? AND name = ?"
DELETE_SCHEMA_SQL = "DELETE FROM event_rule WHERE app = ? AND category = ? AND name = ?"


@dataclass(frozen=True)
class StoredEventSchema:
    """A rule as it is kept; `app` 0 is for all, `schema` JSON, `changed_at` in µs (0: built in)."""

    app: int
    category: str
    name: str
    schema: str
    changed_at: int

    @property
    def key(self) -> SchemaKey:
        """What it is known by."""
        return self.app, self.category, self.name


class EventSchemaStore:
    """The rules in force. `open` makes it."""

    def __init__(self, database: Database, kept: list[StoredEventSchema]) -> None:
        self._database = database
        self._lock = asyncio.Lock()
        self._compiled: dict[SchemaKey, tuple[str, CompiledEventSchema]] = {}
        self._take(kept)

    @classmethod
    async def open(cls, database: Database) -> "EventSchemaStore":
        """The rules of the database."""
        return cls(database, await _load_schemas(database))

    @property
    def kept(self) -> list[StoredEventSchema]:
        """All rules, by category, name and app."""
        return self._kept

    def get(self, key: SchemaKey) -> StoredEventSchema | None:
        """The rule, if there is one."""
        return next((each for each in self._kept if each.key == key), None)

    async def put(self, key: SchemaKey, schema: Any, by: str) -> bool:
        """Put a rule in force, in place of the one that was; whether there was none.

        `by` says who does it, in the list of what was changed.

        Raises `BadSchema` for a schema that cannot be a rule, `StoreRefused` for an unknown app.
        """
        # Off the loop: what walks through the schema takes a while for a large one.
        rule = await asyncio.to_thread(CompiledEventSchema, schema)
        text = rule.text
        known = self.get(key)
        if known is not None and known.schema == text:
            return False  # it stays as it is, with the time of its last change

        def job(connection: sqlite3.Connection) -> bool:
            app, *_ = key
            if (
                app != ALL_APPS
                and not connection.execute("SELECT 1 FROM app WHERE id = ?", (app,)).fetchone()
            ):
                raise StoreRefused(f"there is no app {app}")
            was = connection.execute(GET_SCHEMA_SQL, key).fetchone()
            before = connection.execute("SELECT count(*) FROM event_rule").fetchone()[0]
            if before >= MAX_EVENT_SCHEMAS:
                raise StoreRefused(f"there are {MAX_EVENT_SCHEMAS} rules already")
            connection.execute(PUT_SCHEMA_SQL, (*key, text, time_ns() // 1000))
            said = format_changes({"schema": was[0] if was else None}, {"schema": text})
            write_audit_entry(connection, by, "set an event rule", f"{_schema_label(key)}; {said}")
            return bool(
                connection.execute("SELECT count(*) FROM event_rule").fetchone()[0] > before
            )

        async with self._lock:
            new = await self._database.write(job)
            self._compiled[key] = text, rule
            self._take(await _load_schemas(self._database))
        return new

    async def delete(self, key: SchemaKey, by: str) -> bool:
        """Let a rule no longer hold; whether there was one."""

        def job(connection: sqlite3.Connection) -> int:
            was = connection.execute(GET_SCHEMA_SQL, key).fetchone()
            count = connection.execute(DELETE_SCHEMA_SQL, key).rowcount
            if was:
                about = f"{_schema_label(key)}; schema: {format_value(was[0])}"
                write_audit_entry(connection, by, "removed an event rule", about)
            return count

        async with self._lock:
            count = await self._database.write(job)
            self._take(await _load_schemas(self._database))
        return bool(count)

    async def reload(self) -> None:
        """Have those in force that the database has."""
        async with self._lock:
            self._take(await _load_schemas(self._database))

    def _take(self, kept: list[StoredEventSchema]) -> None:
        compiled = {}
        for each in kept:
            text, rule = self._compiled.get(each.key, ("", None))
            if rule is None or text != each.schema:
                rule = _compile_schema(each)
            compiled[each.key] = each.schema, rule
        self._kept = kept
        self._compiled = compiled
        self.book = SchemaRegistry({key: rule for key, (_, rule) in compiled.items()})


def _schema_label(key: SchemaKey) -> str:
    app, category, name = key
    return f"{category} / {name}" + (f" of app {app}" if app != ALL_APPS else "")


async def _load_schemas(database: Database) -> list[StoredEventSchema]:
    kept: list[StoredEventSchema] = []
    async for rows in map_pages(
        database.read_internal, EVENT_SCHEMA_TABLE, list, page_rows=SCHEMA_PAGE_ROWS
    ):
        kept += [StoredEventSchema(*row) for row in rows]
    return kept


def _compile_schema(kept: StoredEventSchema) -> CompiledEventSchema:
    try:
        return CompiledEventSchema(msgspec.json.decode(kept.schema))
    except (msgspec.DecodeError, InvalidSchema) as error:
        # Better refused, and kept among the rejects, than taken unseen.
        LOG.error("the rule for %s takes nothing, as it cannot be used: %s", kept.key, error)
        return CompiledEventSchema(False)
