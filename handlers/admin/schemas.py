"""Event schemas: list, dry run on stored events, save and remove."""

import asyncio
from typing import Any
from urllib.parse import urlencode

from domain.common.strict_json import InvalidJson, decode_json
from domain.common.validation_errors import FieldError
from domain.events.event import APP_SOURCE
from domain.events.event_schema import CompiledEventSchema, InvalidSchema, schema_from_request
from domain.events.schema_dry_run import SchemaDryRun
from domain.events.schema_registry import ALL_APPS, SchemaKey
from handlers.admin.admin_page import AdminPage, to_api_error
from handlers.common.base_handler import ApiError
from handlers.common.route import Route
from handlers.common.text import indent_json
from store.api.errors import StoreBusy, StoreError
from store.sqlite.admin.apps import app_names
from store.sqlite.core.database import Database
from store.sqlite.events.event_queries import EventQueries
from store.sqlite.events.event_records import EventFilter
from store.sqlite.events.event_schemas import EventSchemaStore, StoredEventSchema

SCHEMAS_PER_PAGE, MAX_DRY_RUN_EVENTS, MAX_TYPE_NAME_LENGTH = 100, 10_000, 100
# Event types suggested in the form, and apps offered in a drop-down list.
MAX_SUGGESTIONS = 200
NEW_SCHEMA_TEMPLATE = (
    b'{"type": "object", "required": ["host", "path"], "properties": {"host": {"type": "string"}}}'
)


def routes(database: Database, schemas: EventSchemaStore, events: EventQueries) -> list[Route]:
    """Return the routes of event schemas; dry runs read `events`."""
    parts = {"database": database, "schemas": schemas, "events": events}
    return [
        Route(r"/admin/schemas", AdminSchemasPage, parts, "admin schemas"),
        Route(r"/admin/schemas/edit", AdminSchemaEditPage, parts, "admin schema edit"),
    ]


class AdminSchemasBasePage(AdminPage):
    """The base of the pages about event schemas."""

    def initialize(
        self, database: Database, schemas: EventSchemaStore, events: EventQueries
    ) -> None:
        """Keep the parameters of `routes`."""
        self.database = database
        self.schemas = schemas
        self.events = events


class AdminSchemasPage(AdminSchemasBasePage):
    """`/admin/schemas`: list event schemas."""

    done_messages = {  # noqa: RUF012
        "saved": "The schema is saved and validates new events.",
        "removed": "The schema is removed.",
    }

    async def get(self) -> None:
        """Send a page of schemas."""
        start = self.int_argument("start") or 0
        stored = self.schemas.schemas
        self.send_page(
            "schemas.html",
            "Event schemas",
            schemas=[
                (each, schema_edit_url(each.key))
                for each in stored[start : start + SCHEMAS_PER_PAGE]
            ],
            apps=await app_names(self.database),
            next_page_url=self.page_url(start=start + SCHEMAS_PER_PAGE)
            if len(stored) > start + SCHEMAS_PER_PAGE
            else None,
        )


class AdminSchemaEditPage(AdminSchemasBasePage):
    """`/admin/schemas/edit?category=&name=&app=`: edit a schema or create one."""

    async def get(self) -> None:
        """Send the form."""
        key = (
            self.int_argument("app") or ALL_APPS,
            self.text_argument("category") or "",
            self.text_argument("name") or "",
        )
        stored = self.schemas.get(key)
        text = indent_json(stored.schema.encode() if stored else NEW_SCHEMA_TEMPLATE)
        await self.send_form(key, text, stored)

    async def post(self) -> None:
        """Dry-run, save or remove the schema, depending on the button."""
        key = (self.form_number("app"), self.form_text("category"), self.form_text("name"))
        text = self.get_body_argument("schema", "", strip=False)
        stored, action = self.schemas.get(key), self.form_text("action")
        try:
            if action == "remove":
                await self.schemas.delete(key, self.actor)
                self.redirect_done("/admin/schemas", "removed")
                return
            if not all(1 <= len(each) <= MAX_TYPE_NAME_LENGTH for each in key[1:]):
                raise ApiError(
                    422, f"Category and name must have 1 to {MAX_TYPE_NAME_LENGTH} characters."
                )
            decoded = decode_json(text.encode("utf-8", "surrogatepass"))
            app, category, name = key
            schema = schema_from_request(decoded, category, name, app or None)
            if action == "save":
                await self.schemas.put(key, schema, self.actor)
                self.redirect_done("/admin/schemas", "saved")
                return
            dry_run = await self.run_dry(key, await asyncio.to_thread(CompiledEventSchema, schema))
        except InvalidJson as error:
            await self.send_form(key, text, stored, 422, errors=[error.fault])
        except InvalidSchema as invalid:
            await self.send_form(key, text, stored, 422, errors=invalid.faults)
        except StoreError as error:
            api_error = to_api_error(error)
            await self.send_form(key, text, stored, api_error.status_code, error=api_error.detail)
        except ApiError as api_error:
            await self.send_form(key, text, stored, api_error.status_code, error=api_error.detail)
        else:
            await self.send_form(key, text, stored, dry_run=dry_run)

    async def run_dry(self, key: SchemaKey, schema: CompiledEventSchema) -> SchemaDryRun:
        """Validate the newest events of the type with the schema, without storing anything."""
        app, category, name = key
        event_filter = EventFilter(category=category, name=name, source=APP_SOURCE, app=app or None)
        dry_run = SchemaDryRun()
        try:
            async for batch in self.events.export(event_filter, newest_first=True):
                events = [
                    (each.id, each.data) for each in batch[: MAX_DRY_RUN_EVENTS - dry_run.looked_at]
                ]
                await asyncio.to_thread(dry_run.judge, schema, events)
                if dry_run.looked_at == MAX_DRY_RUN_EVENTS:
                    break
        except StoreBusy:
            raise ApiError(503, "Events cannot be read now. Try again in a moment.") from None
        return dry_run

    async def send_form(
        self,
        key: SchemaKey,
        text: str,
        stored: StoredEventSchema | None,
        status: int = 200,
        **values: Any,
    ) -> None:
        """Send the form with the schema's `text`; `values` are added to the template's values."""
        app, category, name = key
        apps = await app_names(self.database)
        errors: list[FieldError] = values.pop("errors", [])
        error = "Invalid event schema." if errors else ""
        title = f"{category} / {name}" if stored else "New event schema"
        values = {"error": error, "dry_run": None, **values}
        self.send_page(
            "schema.html",
            title,
            status,
            stored=stored,
            app=app,
            category=category,
            name=name,
            schema_text=text,
            apps=apps,
            has_app_list=len(apps) <= MAX_SUGGESTIONS,
            event_types=await self.events.list_event_types(MAX_SUGGESTIONS),
            errors=errors,
            **values,
        )


def schema_edit_url(key: SchemaKey) -> str:
    """Return the URL of a schema's form."""
    app, category, name = key
    query = {"category": category, "name": name, **({"app": str(app)} if app else {})}
    return f"/admin/schemas/edit?{urlencode(query)}"
