"""The rules for events: listed, tried on what was taken, set and removed."""

import asyncio
from typing import Any
from urllib.parse import urlencode

import msgspec

from domain.common.strict_json import InvalidJson, decode_json
from domain.common.validation_errors import FieldError
from domain.events.event import APP_SOURCE
from domain.events.event_schema import CompiledEventSchema, InvalidSchema, schema_from_request
from domain.events.schema_dry_run import SchemaDryRun
from domain.events.schema_registry import ALL_APPS, SchemaKey
from handlers.admin.admin_page import AdminPage, store_error_refusal
from handlers.common.base_handler import ApiError
from handlers.common.route import Route
from store.api.errors import StoreBusy, StoreError
from store.sqlite.admin.apps import app_names
from store.sqlite.core.database import Database
from store.sqlite.events.event_queries import EventFilter, EventQueries
from store.sqlite.events.event_schemas import EventSchemaStore, StoredEventSchema

SCHEMAS_PER_PAGE, MAX_DRY_RUN_EVENTS, MAX_TYPE_NAME_LENGTH, MAX_SUGGESTIONS = 100, 10_000, 100, 200
NEW_SCHEMA_TEMPLATE = (
    '{"type": "object", "required": ["host", "path"], "properties": {"host": {"type": "string"}}}'
)


def routes(database: Database, rules: EventSchemaStore, events: EventQueries) -> list[Route]:
    """Where these are."""
    parts = {"database": database, "rules": rules, "events": events}
    return [
        Route(r"/admin/schemas", AdminSchemasPage, parts, "admin schemas"),
        Route(r"/admin/schemas/edit", AdminSchemaEditPage, parts, "admin schema edit"),
    ]


class AdminSchemasBasePage(AdminPage):
    """What has to do with rules."""

    def initialize(self, database: Database, rules: EventSchemaStore, events: EventQueries) -> None:
        """`rules` are those in force, `events` all that there are."""
        self.database = database
        self.rules = rules
        self.events = events


class AdminSchemasPage(AdminSchemasBasePage):
    """`/admin/schemas`."""

    deeds = {  # noqa: RUF012
        "saved": "The rule is in force.",
        "removed": "The rule no longer holds.",
    }

    async def get(self) -> None:
        """All rules."""
        start = self.int_argument("start") or 0
        kept = self.rules.kept
        self.show(
            "schemas.html",
            "Event rules",
            rules=[
                (rule, schema_edit_url(rule.key)) for rule in kept[start : start + SCHEMAS_PER_PAGE]
            ],
            apps=await app_names(self.database),
            further=self.query(start=start + SCHEMAS_PER_PAGE)
            if len(kept) > start + SCHEMAS_PER_PAGE
            else None,
        )


class AdminSchemaEditPage(AdminSchemasBasePage):
    """`/admin/schemas/edit?category=&name=&app=`: one rule, or a new one."""

    async def get(self) -> None:
        """The form."""
        key = (
            self.int_argument("app") or ALL_APPS,
            self.text_argument("category") or "",
            self.text_argument("name") or "",
        )
        rule = self.rules.get(key)
        text = pretty_json(rule.schema if rule else NEW_SCHEMA_TEMPLATE)
        await self.form(key, text, rule)

    async def post(self) -> None:
        """Try it, set it or remove it, as the button says."""
        key = (self.whole("app"), self.said("category"), self.said("name"))
        text = self.get_body_argument("schema", "", strip=False)
        rule, action = self.rules.get(key), self.said("action")
        try:
            if action == "remove":
                await self.rules.delete(key, self.by)
                self.done("/admin/schemas", "removed")
                return
            if not all(1 <= len(word) <= MAX_TYPE_NAME_LENGTH for word in key[1:]):
                raise ApiError(
                    422, f"Category and name have 1 to {MAX_TYPE_NAME_LENGTH} characters."
                )
            sent = decode_json(text.encode("utf-8", "surrogatepass"))
            app, category, name = key
            schema = schema_from_request(sent, category, name, app or None)
            if action == "save":
                await self.rules.put(key, schema, self.by)
                self.done("/admin/schemas", "saved")
                return
            trial = await self.tried(key, await asyncio.to_thread(CompiledEventSchema, schema))
        except InvalidJson as error:
            await self.form(key, text, rule, 422, faults=[error.fault])
        except InvalidSchema as bad:
            await self.form(key, text, rule, 422, faults=bad.faults)
        except StoreError as error:
            refusal = store_error_refusal(error)
            await self.form(key, text, rule, refusal.status_code, wrong=refusal.detail)
        except ApiError as refusal:
            await self.form(key, text, rule, refusal.status_code, wrong=refusal.detail)
        else:
            await self.form(key, text, rule, trial=trial)

    async def tried(self, key: SchemaKey, rule: CompiledEventSchema) -> SchemaDryRun:
        """What the rule would have rejected among the newest events of its type."""
        app, category, name = key
        wanted = EventFilter(category=category, name=name, source=APP_SOURCE, app=app or None)
        trial = SchemaDryRun()
        try:
            async for some in self.events.export(wanted, newest_first=True):
                events = [
                    (each.id, each.data) for each in some[: MAX_DRY_RUN_EVENTS - trial.looked_at]
                ]
                await asyncio.to_thread(trial.judge, rule, events)
                if trial.looked_at == MAX_DRY_RUN_EVENTS:
                    break
        except StoreBusy:
            raise ApiError(503, "Events cannot be looked up now. Try again in a moment.") from None
        return trial

    async def form(
        self,
        key: SchemaKey,
        text: str,
        rule: StoredEventSchema | None,
        status: int = 200,
        **more: Any,
    ) -> None:
        """Answer with the form, and `more`."""
        app, category, name = key
        apps = await app_names(self.database)
        faults: list[FieldError] = more.pop("faults", [])
        words = "This is not a JSON Schema that can be a rule." if faults else ""
        title = f"{category} / {name}" if rule else "A new rule"
        values = {"wrong": words, "trial": None, **more}
        self.show(
            "schema.html",
            title,
            status,
            rule=rule,
            app=app,
            category=category,
            name=name,
            schema=text,
            apps=apps,
            listed=len(apps) <= MAX_SUGGESTIONS,
            kinds=await self.events.kinds(MAX_SUGGESTIONS),
            faults=faults,
            pretty=pretty_json,
            **values,
        )


def schema_edit_url(key: SchemaKey) -> str:
    """The address of a rule's form."""
    app, category, name = key
    said = {"category": category, "name": name, **({"app": str(app)} if app else {})}
    return f"/admin/schemas/edit?{urlencode(said)}"


def pretty_json(text: str | msgspec.Raw) -> str:
    """JSON in lines."""
    said = text if isinstance(text, str) else bytes(text).decode()
    return msgspec.json.format(said, indent=2)
