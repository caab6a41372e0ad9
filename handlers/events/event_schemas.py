"""The rules for events: `/api/v1/schemas/`."""

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
from store.api.errors import StoreBusy, StoreRefused
from store.sqlite.events.event_queries import EventFilter, EventQueries
from store.sqlite.events.event_schemas import EventSchemaStore, StoredEventSchema

MAX_TYPE_NAME_LENGTH = 100
# A dry run looks at so many of the newest events of the type.
MAX_DRY_RUN_EVENTS = 10_000


class BaseEventSchemaHandler(ApiHandler):
    """The base: everything here is for the owner."""

    def initialize(self, rules: EventSchemaStore, events: EventQueries) -> None:
        """`rules` are those in force, `events` all that there are."""
        self._rules = rules
        self._events = events

    async def prepare(self) -> None:
        """Let the owner in."""
        access = await self.require_scope("admin")
        self.by = f"token {access.token}" if access else ""

    def key(self, category: str, name: str) -> SchemaKey:
        """Which rule is meant; raises `Refusal`."""
        for word in (category, name):
            if not 1 <= len(word) <= MAX_TYPE_NAME_LENGTH or "\0" in word:
                raise ApiError(
                    422, f"A category or name has 1 to {MAX_TYPE_NAME_LENGTH} characters."
                )
        return self.int_argument("app") or ALL_APPS, category, name

    def schema(self, key: SchemaKey) -> Any:
        """Return the schema in the body, alone or in a rule; raise `Refusal` or `BadSchema`."""
        try:
            value = decode_json(self.request.body)
        except InvalidJson as error:
            raise ApiError(400, "The body must be a JSON Schema.", [error.fault]) from None
        app, category, name = key
        return schema_from_request(value, category, name, app or None)


def routes(rules: EventSchemaStore, events: EventQueries) -> list[Any]:
    """Where these are."""
    parts = {"rules": rules, "events": events}
    return [
        (r"/api/v1/schemas", EventSchemaListHandler, parts),
        (r"/api/v1/schemas/([^/]+)/([^/]+)", EventSchemaHandler, parts),
        (r"/api/v1/schemas/([^/]+)/([^/]+)/dry-run", SchemaDryRunHandler, parts),
    ]


class EventSchemaListHandler(BaseEventSchemaHandler):
    """`GET /api/v1/schemas`."""

    def get(self) -> None:
        """All rules."""
        self.send_struct({"schemas": [_schema_to_dict(each) for each in self._rules.kept]})


class EventSchemaHandler(BaseEventSchemaHandler):
    """`/api/v1/schemas/{category}/{name}?app=`."""

    def get(self, category: str, name: str) -> None:
        """The rule."""
        self.send_struct(_schema_to_dict(self._found(self.key(category, name))))

    async def put(self, category: str, name: str) -> None:
        """Put a rule in force, at once."""
        key = self.key(category, name)
        try:
            new = await self._rules.put(key, self.schema(key), self.by)
        except InvalidSchema as error:
            raise _invalid_schema_error(error) from None
        except StoreRefused as error:
            raise ApiError(422, f"The rule was not taken: {error}.") from None
        self.set_status(201 if new else 200)
        self.send_struct(_schema_to_dict(self._found(key)))

    async def delete(self, category: str, name: str) -> None:
        """Let it no longer hold."""
        if not await self._rules.delete(self.key(category, name), self.by):
            raise ApiError(404, "There is no such rule.")
        self.set_status(204)
        self.finish()

    def _found(self, key: SchemaKey) -> StoredEventSchema:
        rule = self._rules.get(key)
        if rule is None:
            raise ApiError(404, "There is no such rule.")
        return rule


class SchemaDryRunHandler(BaseEventSchemaHandler):
    """`POST /api/v1/schemas/{category}/{name}/dry-run?app=`."""

    async def post(self, category: str, name: str) -> None:
        """How many of the newest events of the type such a rule would have rejected."""
        key = self.key(category, name)
        try:
            rule = await asyncio.to_thread(CompiledEventSchema, self.schema(key))
        except InvalidSchema as error:
            raise _invalid_schema_error(error) from None
        app, *_ = key
        wanted = EventFilter(category=category, name=name, source=APP_SOURCE, app=app or None)
        trial = SchemaDryRun()
        try:
            async for some in self._events.export(wanted, newest_first=True):
                events = [
                    (each.id, each.data) for each in some[: MAX_DRY_RUN_EVENTS - trial.looked_at]
                ]
                await asyncio.to_thread(trial.judge, rule, events)
                if trial.looked_at == MAX_DRY_RUN_EVENTS:
                    break
        except StoreBusy as error:
            raise self.retry_later_error(f"Events cannot be looked up now ({error})") from None
        self.send_struct(trial)


def _invalid_schema_error(error: InvalidSchema) -> ApiError:
    return ApiError(422, "This is not a JSON Schema that can be a rule.", error.faults)


def _schema_to_dict(rule: StoredEventSchema) -> dict[str, Any]:
    return {
        "category": rule.category,
        "name": rule.name,
        "app": rule.app or None,
        "schema": msgspec.Raw(rule.schema.encode()),
        "changed_at": format_timestamp(rule.changed_at) if rule.changed_at else None,
    }
