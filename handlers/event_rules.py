"""The rules for events: `/api/v1/rules/`."""

import asyncio
from typing import Any

import msgspec

from handlers.asking import Asking
from handlers.base import Refusal
from rules.event import APP
from rules.rulebook import ALL, Key
from rules.schema import BadSchema, Rule, schema_in
from rules.strict import NotJson, decode
from rules.timestamp import text
from rules.trial import Trial
from store.errors import StoreBusy, StoreRefused
from store.event_rules import EventRule, EventRules
from store.events import Events, Filter

LONGEST_WORD = 100
# A dry run looks at so many of the newest events of the type.
LOOKED_AT = 10_000


class Ruling(Asking):
    """The base: everything here is for the owner."""

    def initialize(self, rules: EventRules, events: Events) -> None:
        """`rules` are those in force, `events` all that there are."""
        self._rules = rules
        self._events = events

    async def prepare(self) -> None:
        """Let the owner in."""
        access = await self.access("admin")
        self.by = f"token {access.token}" if access else ""

    def key(self, category: str, name: str) -> Key:
        """Which rule is meant; raises `Refusal`."""
        for word in (category, name):
            if not 1 <= len(word) <= LONGEST_WORD or "\0" in word:
                raise Refusal(422, f"A category or name has 1 to {LONGEST_WORD} characters.")
        return self.number("app") or ALL, category, name

    def schema(self, key: Key) -> Any:
        """Return the schema in the body, alone or in a rule; raise `Refusal` or `BadSchema`."""
        try:
            value = decode(self.request.body)
        except NotJson as error:
            raise Refusal(400, "The body must be a JSON Schema.", [error.fault]) from None
        app, category, name = key
        return schema_in(value, category, name, app or None)


def routes(rules: EventRules, events: Events) -> list[Any]:
    """Where these are."""
    parts = {"rules": rules, "events": events}
    return [
        (r"/api/v1/rules", All, parts),
        (r"/api/v1/rules/([^/]+)/([^/]+)", One, parts),
        (r"/api/v1/rules/([^/]+)/([^/]+)/dry-run", DryRun, parts),
    ]


class All(Ruling):
    """`GET /api/v1/rules`."""

    def get(self) -> None:
        """All rules."""
        self.send_value({"rules": [_shown(each) for each in self._rules.kept]})


class One(Ruling):
    """`/api/v1/rules/{category}/{name}?app=`."""

    def get(self, category: str, name: str) -> None:
        """The rule."""
        self.send_value(_shown(self._found(self.key(category, name))))

    async def put(self, category: str, name: str) -> None:
        """Put a rule in force, at once."""
        key = self.key(category, name)
        try:
            new = await self._rules.put(key, self.schema(key), self.by)
        except BadSchema as error:
            raise _bad(error) from None
        except StoreRefused as error:
            raise Refusal(422, f"The rule was not taken: {error}.") from None
        self.set_status(201 if new else 200)
        self.send_value(_shown(self._found(key)))

    async def delete(self, category: str, name: str) -> None:
        """Let it no longer hold."""
        if not await self._rules.delete(self.key(category, name), self.by):
            raise Refusal(404, "There is no such rule.")
        self.set_status(204)
        self.finish()

    def _found(self, key: Key) -> EventRule:
        rule = self._rules.get(key)
        if rule is None:
            raise Refusal(404, "There is no such rule.")
        return rule


class DryRun(Ruling):
    """`POST /api/v1/rules/{category}/{name}/dry-run?app=`."""

    async def post(self, category: str, name: str) -> None:
        """How many of the newest events of the type such a rule would have rejected."""
        key = self.key(category, name)
        try:
            rule = await asyncio.to_thread(Rule, self.schema(key))
        except BadSchema as error:
            raise _bad(error) from None
        app, *_ = key
        wanted = Filter(category=category, name=name, source=APP, app=app or None)
        trial = Trial()
        try:
            async for some in self._events.export(wanted, newest_first=True):
                events = [(each.id, each.data) for each in some[: LOOKED_AT - trial.looked_at]]
                await asyncio.to_thread(trial.judge, rule, events)
                if trial.looked_at == LOOKED_AT:
                    break
        except StoreBusy as error:
            raise self.later(f"Events cannot be looked up now ({error})") from None
        self.send_value(trial)


def _bad(error: BadSchema) -> Refusal:
    return Refusal(422, "This is not a JSON Schema that can be a rule.", error.faults)


def _shown(rule: EventRule) -> dict[str, Any]:
    return {
        "category": rule.category,
        "name": rule.name,
        "app": rule.app or None,
        "schema": msgspec.Raw(rule.schema.encode()),
        "changed_at": text(rule.changed_at) if rule.changed_at else None,
    }
