"""`/api/v1/schemas`: list, read, publish, delete and dry-run event schemas."""

import asyncio
from typing import Any

import msgspec

from domain.common.strict_json import InvalidJson, decode_json
from domain.common.timestamp import format_timestamp
from domain.events.event import APP_SOURCE
from domain.events.event_schema import CompiledEventSchema, InvalidSchema, schema_from_request
from domain.events.schema_dry_run import SchemaDryRun
from domain.events.schema_registry import ALL_APPS, SchemaKey
from handlers.common.api_handler import ApiHandler
from handlers.common.base_handler import ApiError
from handlers.common.route import Route
from store.api.errors import StoreBusy, StoreRefused
from store.sqlite.events.event_queries import EventQueries
from store.sqlite.events.event_records import EventFilter
from store.sqlite.events.event_schemas import EventSchemaStore, StoredEventSchema

MAX_TYPE_NAME_LENGTH = 100
# A dry run validates the newest events of the type, at most this many.
MAX_DRY_RUN_EVENTS = 10_000


def routes(schemas: EventSchemaStore, events: EventQueries) -> list[Route]:
    """Return the Tornado routes; dry runs read from `events`."""
    arguments = {"schemas": schemas, "events": events}
    return [
        Route(r"/api/v1/schemas", EventSchemaListHandler, arguments, "event schemas"),
        Route(r"/api/v1/schemas/([^/]+)/([^/]+)", EventSchemaHandler, arguments, "event schema"),
        Route(
            r"/api/v1/schemas/([^/]+)/([^/]+)/dry-run",
            SchemaDryRunHandler,
            arguments,
            "event schema dry run",
        ),
    ]


class BaseEventSchemaHandler(ApiHandler):
    """Requires the scope `admin`, and parses the key and the schema of a request."""

    def initialize(self, schemas: EventSchemaStore, events: EventQueries) -> None:
        """Set the dependencies; see `routes`."""
        self._schemas = schemas
        self._events = events

    async def prepare(self) -> None:
        """Require an `admin` token; its number becomes the actor in the audit log."""
        access = await self.require_scope("admin")
        self.actor = f"token {access.token_id}" if access else ""

    def schema_key(self, category: str, name: str) -> SchemaKey:
        """Return the key of the event type and the argument `app`; raise 422 if invalid."""
        for part in (category, name):
            if not 1 <= len(part) <= MAX_TYPE_NAME_LENGTH or "\0" in part:
                raise ApiError(
                    422, f"A category or name must have 1 to {MAX_TYPE_NAME_LENGTH} characters."
                )
        return self.int_argument("app") or ALL_APPS, category, name

    def schema_from_body(self, key: SchemaKey) -> Any:
        """Return the JSON Schema in the body, bare or in an event schema as `GET` returns it.

        Raises 400 for malformed JSON, `InvalidSchema` for an unsupported schema.
        """
        try:
            value = decode_json(self.request.body)
        except InvalidJson as error:
            raise ApiError(400, "The body must be a JSON Schema.", [error.fault]) from None
        app, category, name = key
        return schema_from_request(value, category, name, app or None)


class EventSchemaListHandler(BaseEventSchemaHandler):
    """`GET /api/v1/schemas`."""

    def get(self) -> None:
        """Send all event schemas."""
        self.send_struct({"schemas": [_schema_to_dict(each) for each in self._schemas.schemas]})


class EventSchemaHandler(BaseEventSchemaHandler):
    """`/api/v1/schemas/{category}/{name}?app=`."""

    def get(self, category: str, name: str) -> None:
        """Send the event schema."""
        self.send_struct(_schema_to_dict(self._find_schema(self.schema_key(category, name))))

    async def put(self, category: str, name: str) -> None:
        """Publish an event schema; it applies to the next event."""
        key = self.schema_key(category, name)
        try:
            is_new = await self._schemas.put(key, self.schema_from_body(key), self.actor)
        except InvalidSchema as error:
            raise _invalid_schema_error(error) from None
        except StoreRefused as error:
            raise ApiError(422, f"The event schema was not published: {error}.") from None
        self.set_status(201 if is_new else 200)
        self.send_struct(_schema_to_dict(self._find_schema(key)))

    async def delete(self, category: str, name: str) -> None:
        """Delete the event schema."""
        if not await self._schemas.delete(self.schema_key(category, name), self.actor):
            raise ApiError(404, "Unknown event schema.")
        self.set_status(204)
        self.finish()

    def _find_schema(self, key: SchemaKey) -> StoredEventSchema:
        schema = self._schemas.get(key)
        if schema is None:
            raise ApiError(404, "Unknown event schema.")
        return schema


class SchemaDryRunHandler(BaseEventSchemaHandler):
    """`POST /api/v1/schemas/{category}/{name}/dry-run?app=`."""

    async def post(self, category: str, name: str) -> None:
        """Send how many of the newest events of the type the schema would reject."""
        key = self.schema_key(category, name)
        try:
            schema = await asyncio.to_thread(CompiledEventSchema, self.schema_from_body(key))
        except InvalidSchema as error:
            raise _invalid_schema_error(error) from None
        app, *_ = key
        wanted = EventFilter(category=category, name=name, source=APP_SOURCE, app=app or None)
        report = SchemaDryRun()
        try:
            async for page in self._events.export(wanted, newest_first=True):
                remaining = MAX_DRY_RUN_EVENTS - report.looked_at
                events = [(each.id, each.data) for each in page[:remaining]]
                await asyncio.to_thread(report.judge, schema, events)
                if report.looked_at == MAX_DRY_RUN_EVENTS:
                    break
        except StoreBusy as error:
            raise self.retry_later_error(f"The event store is busy ({error})") from None
        self.send_struct(report)


def _invalid_schema_error(error: InvalidSchema) -> ApiError:
    return ApiError(422, "The body is not a supported JSON Schema.", error.faults)


def _schema_to_dict(schema: StoredEventSchema) -> dict[str, Any]:
    return {
        "category": schema.category,
        "name": schema.name,
        "app": schema.app or None,
        "schema": msgspec.Raw(schema.schema.encode()),
        "changed_at": format_timestamp(schema.changed_at) if schema.changed_at else None,
    }
