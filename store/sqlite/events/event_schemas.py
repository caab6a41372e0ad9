"""Event schemas: stored in the database, compiled in memory."""

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

# All schemas are compiled in memory.
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
    """A stored schema: `app` 0 is all apps, `schema` is JSON, `changed_at` in µs (0: built in)."""

    app: int
    category: str
    name: str
    schema: str
    changed_at: int

    @property
    def key(self) -> SchemaKey:
        """App, category and name."""
        return self.app, self.category, self.name


class EventSchemaStore:
    """The stored schemas and their compiled registry; create it with `open`."""

    def __init__(self, database: Database, schemas: list[StoredEventSchema]) -> None:
        self._database = database
        self._lock = asyncio.Lock()
        self._compiled: dict[SchemaKey, tuple[str, CompiledEventSchema]] = {}
        self._set_schemas(schemas)

    @classmethod
    async def open(cls, database: Database) -> "EventSchemaStore":
        """Load the schemas of the database."""
        return cls(database, await _load_schemas(database))

    @property
    def schemas(self) -> list[StoredEventSchema]:
        """All schemas in order of category, name and app."""
        return self._schemas

    def get(self, key: SchemaKey) -> StoredEventSchema | None:
        """Return a schema; None if it does not exist."""
        return next((each for each in self._schemas if each.key == key), None)

    async def put(self, key: SchemaKey, schema: Any, by: str) -> bool:
        """Store a schema; return whether it is new. `by` is the actor in the audit log.

        Raises `InvalidSchema`, and `StoreRefused` for an unknown app or too many schemas.
        """
        # In a thread, as compiling a large schema takes long.
        compiled = await asyncio.to_thread(CompiledEventSchema, schema)
        text = compiled.text
        current = self.get(key)
        if current is not None and current.schema == text:
            return False  # keep the time of its last change

        def write(connection: sqlite3.Connection) -> bool:
            app, *_ = key
            if (
                app != ALL_APPS
                and not connection.execute("SELECT 1 FROM app WHERE id = ?", (app,)).fetchone()
            ):
                raise StoreRefused(f"there is no app {app}")
            previous = connection.execute(GET_SCHEMA_SQL, key).fetchone()
            before = connection.execute("SELECT count(*) FROM event_rule").fetchone()[0]
            if before >= MAX_EVENT_SCHEMAS:
                raise StoreRefused(f"there are {MAX_EVENT_SCHEMAS} event schemas already")
            connection.execute(PUT_SCHEMA_SQL, (*key, text, time_ns() // 1000))
            changes = format_changes(
                {"schema": previous[0] if previous else None}, {"schema": text}
            )
            details = f"{_schema_label(key)}; {changes}"
            write_audit_entry(connection, by, "set an event schema", details)
            return bool(
                connection.execute("SELECT count(*) FROM event_rule").fetchone()[0] > before
            )

        async with self._lock:
            is_new = await self._database.write(write)
            self._compiled[key] = text, compiled
            self._set_schemas(await _load_schemas(self._database))
        return is_new

    async def delete(self, key: SchemaKey, by: str) -> bool:
        """Delete a schema; return whether it existed."""

        def write(connection: sqlite3.Connection) -> int:
            previous = connection.execute(GET_SCHEMA_SQL, key).fetchone()
            count = connection.execute(DELETE_SCHEMA_SQL, key).rowcount
            if previous:
                details = f"{_schema_label(key)}; schema: {format_value(previous[0])}"
                write_audit_entry(connection, by, "removed an event schema", details)
            return count

        async with self._lock:
            count = await self._database.write(write)
            self._set_schemas(await _load_schemas(self._database))
        return bool(count)

    async def reload(self) -> None:
        """Read the schemas from the database again."""
        async with self._lock:
            self._set_schemas(await _load_schemas(self._database))

    def _set_schemas(self, schemas: list[StoredEventSchema]) -> None:
        all_compiled = {}
        for each in schemas:
            text, compiled = self._compiled.get(each.key, ("", None))
            if compiled is None or text != each.schema:
                compiled = _compile_schema(each)
            all_compiled[each.key] = each.schema, compiled
        self._schemas = schemas
        self._compiled = all_compiled
        self.registry = SchemaRegistry({key: each for key, (_, each) in all_compiled.items()})


def _schema_label(key: SchemaKey) -> str:
    app, category, name = key
    return f"{category} / {name}" + (f" of app {app}" if app != ALL_APPS else "")


async def _load_schemas(database: Database) -> list[StoredEventSchema]:
    schemas: list[StoredEventSchema] = []
    async for rows in map_pages(
        database.read_internal, EVENT_SCHEMA_TABLE, list, page_rows=SCHEMA_PAGE_ROWS
    ):
        schemas += [StoredEventSchema(*row) for row in rows]
    return schemas


def _compile_schema(stored: StoredEventSchema) -> CompiledEventSchema:
    try:
        return CompiledEventSchema(msgspec.json.decode(stored.schema))
    except (msgspec.DecodeError, InvalidSchema) as error:
        # Reject all events of the type: rejected events are stored and can be replayed.
        LOG.error("cannot compile event schema; rejecting its events key=%s: %s", stored.key, error)
        return CompiledEventSchema(False)
