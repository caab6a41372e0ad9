"""The rules for events: listed, tried on what was taken, set and removed."""

import asyncio
from typing import Any
from urllib.parse import urlencode

import msgspec

from handlers.admin.page import Page, failing
from handlers.base import Refusal
from rules.event import APP
from rules.faults import Fault
from rules.rulebook import ALL, Key
from rules.schema import BadSchema, Rule, schema_in
from rules.strict import NotJson, decode
from rules.trial import Trial
from store.apps import names
from store.database import Database
from store.errors import StoreBusy, StoreError
from store.event_rules import EventRule, EventRules
from store.events import Events, Filter

LIMIT, LOOKED_AT, LONGEST_WORD, OFFERED = 100, 10_000, 100, 200
NEW = '{"type": "object", "required": ["host", "path"], "properties": {"host": {"type": "string"}}}'


def routes(database: Database, rules: EventRules, events: Events) -> list[Any]:
    """Where these are."""
    parts = {"database": database, "rules": rules, "events": events}
    return [(r"/admin/rules", Listed, parts), (r"/admin/rules/edit", Edit, parts)]


class Base(Page):
    """What has to do with rules."""

    def initialize(self, database: Database, rules: EventRules, events: Events) -> None:
        """`rules` are those in force, `events` all that there are."""
        self.database = database
        self.rules = rules
        self.events = events


class Listed(Base):
    """`/admin/rules`."""

    deeds = {  # noqa: RUF012
        "saved": "The rule is in force.",
        "removed": "The rule no longer holds.",
    }

    async def get(self) -> None:
        """All rules."""
        start = self.number("start") or 0
        kept = self.rules.kept
        self.show(
            "rules.html",
            "Event rules",
            rules=[(rule, edit(rule.key)) for rule in kept[start : start + LIMIT]],
            apps=await names(self.database),
            further=self.query(start=start + LIMIT) if len(kept) > start + LIMIT else None,
        )


class Edit(Base):
    """`/admin/rules/edit?category=&name=&app=`: one rule, or a new one."""

    async def get(self) -> None:
        """The form."""
        key = (self.number("app") or ALL, self.word("category") or "", self.word("name") or "")
        rule = self.rules.get(key)
        text = pretty(rule.schema if rule else NEW)
        await self.form(key, text, rule)

    async def post(self) -> None:
        """Try it, set it or remove it, as the button says."""
        key = (self.whole("app"), self.said("category"), self.said("name"))
        text = self.get_body_argument("schema", "", strip=False)
        rule, deed = self.rules.get(key), self.said("deed")
        try:
            if deed == "remove":
                await self.rules.delete(key, self.by)
                self.done("/admin/rules", "removed")
                return
            if not all(1 <= len(word) <= LONGEST_WORD for word in key[1:]):
                raise Refusal(422, f"Category and name have 1 to {LONGEST_WORD} characters.")
            sent = decode(text.encode("utf-8", "surrogatepass"))
            app, category, name = key
            schema = schema_in(sent, category, name, app or None)
            if deed == "save":
                await self.rules.put(key, schema, self.by)
                self.done("/admin/rules", "saved")
                return
            trial = await self.tried(key, await asyncio.to_thread(Rule, schema))
        except NotJson as error:
            await self.form(key, text, rule, 422, faults=[error.fault])
        except BadSchema as bad:
            await self.form(key, text, rule, 422, faults=bad.faults)
        except StoreError as error:
            refusal = failing(error)
            await self.form(key, text, rule, refusal.status_code, wrong=refusal.detail)
        except Refusal as refusal:
            await self.form(key, text, rule, refusal.status_code, wrong=refusal.detail)
        else:
            await self.form(key, text, rule, trial=trial)

    async def tried(self, key: Key, rule: Rule) -> Trial:
        """What the rule would have rejected among the newest events of its type."""
        app, category, name = key
        wanted = Filter(category=category, name=name, source=APP, app=app or None)
        trial = Trial()
        try:
            async for some in self.events.export(wanted, newest_first=True):
                events = [(each.id, each.data) for each in some[: LOOKED_AT - trial.looked_at]]
                await asyncio.to_thread(trial.judge, rule, events)
                if trial.looked_at == LOOKED_AT:
                    break
        except StoreBusy:
            raise Refusal(503, "Events cannot be looked up now. Try again in a moment.") from None
        return trial

    async def form(
        self, key: Key, text: str, rule: EventRule | None, status: int = 200, **more: Any
    ) -> None:
        """Answer with the form, and `more`."""
        app, category, name = key
        apps = await names(self.database)
        faults: list[Fault] = more.pop("faults", [])
        words = "This is not a JSON Schema that can be a rule." if faults else ""
        title = f"{category} / {name}" if rule else "A new rule"
        values = {"wrong": words, "trial": None, **more}
        self.show(
            "rule.html",
            title,
            status,
            rule=rule,
            app=app,
            category=category,
            name=name,
            schema=text,
            apps=apps,
            listed=len(apps) <= OFFERED,
            kinds=await self.events.kinds(OFFERED),
            faults=faults,
            pretty=pretty,
            **values,
        )


def edit(key: Key) -> str:
    """The address of a rule's form."""
    app, category, name = key
    said = {"category": category, "name": name, **({"app": str(app)} if app else {})}
    return f"/admin/rules/edit?{urlencode(said)}"


def pretty(text: str | msgspec.Raw) -> str:
    """JSON in lines."""
    said = text if isinstance(text, str) else bytes(text).decode()
    return msgspec.json.format(said, indent=2)
