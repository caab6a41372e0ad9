"""The rules for events: `/api/v1/rules/`."""

import asyncio
from collections.abc import Sequence
from typing import Any

import msgspec

from handlers.base import Handler, Refusal
from rules.rulebook import ALL, Key
from rules.schema import BadSchema, Rule
from rules.strict import NotJson, decode
from rules.timestamp import text
from store.errors import StoreRefused
from store.event_rules import EventRule, EventRules

LONGEST_WORD = 100
# A dry run looks at so many of the newest events of the type, and shows so many that are wrong.
LOOKED_AT, SHOWN = 10_000, 10


class Ruling(Handler):
    """The base: everything here is for the owner."""

    def initialize(self, rules: EventRules) -> None:
        """`rules` are those in force."""
        self._rules = rules

    async def prepare(self) -> None:
        """Let the owner in."""
        await self.access("admin")

    def send(self, value: object) -> None:
        """Answer with `value`, in which JSON may stand as it is."""
        self.set_header("Content-Type", "application/json")
        self.finish(msgspec.json.encode(value))

    def key(self, category: str, name: str) -> Key:
        """Which rule is meant; raises `Refusal`."""
        for word in (category, name):
            if not 1 <= len(word) <= LONGEST_WORD or "\0" in word:
                raise Refusal(422, f"A category or name has 1 to {LONGEST_WORD} characters.")
        said = self.get_query_argument("app", str(ALL))
        if not (said.isascii() and said.isdigit() and len(said) < 19):
            raise Refusal(422, "`app` is the number of an app.")
        return int(said), category, name

    def schema(self) -> Any:
        """The schema that was sent; raises `Refusal`."""
        try:
            return decode(self.request.body)
        except NotJson as error:
            raise Refusal(400, "The body must be a JSON Schema.", [error.fault]) from None


def routes(rules: EventRules) -> list[Any]:
    """Where these are."""
    parts = {"rules": rules}
    return [
        (r"/api/v1/rules/?", All, parts),
        (r"/api/v1/rules/([^/]+)/([^/]+)", One, parts),
        (r"/api/v1/rules/([^/]+)/([^/]+)/dry-run", DryRun, parts),
    ]


class All(Ruling):
    """`GET /api/v1/rules`."""

    def get(self) -> None:
        """All rules."""
        self.send({"rules": [_shown(each) for each in self._rules.kept]})


class One(Ruling):
    """`/api/v1/rules/{category}/{name}?app=`."""

    def get(self, category: str, name: str) -> None:
        """The rule."""
        self.send(_shown(self._found(self.key(category, name))))

    async def put(self, category: str, name: str) -> None:
        """Put a rule in force, at once."""
        key = self.key(category, name)
        try:
            new = await self._rules.put(key, self.schema())
        except BadSchema as error:
            raise _bad(error) from None
        except StoreRefused as error:
            raise Refusal(422, f"The rule was not taken: {error}.") from None
        self.set_status(201 if new else 200)
        self.send(_shown(self._found(key)))

    async def delete(self, category: str, name: str) -> None:
        """Let it no longer hold."""
        if not await self._rules.delete(self.key(category, name)):
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
            rule = Rule(self.schema())
        except BadSchema as error:
            raise _bad(error) from None
        events = await self._rules.recent(key, LOOKED_AT)
        count, shown = await asyncio.to_thread(_judge, rule, events)
        self.send({"looked_at": len(events), "rejected": count, "examples": shown})


def _judge(rule: Rule, events: Sequence[tuple[int, str]]) -> tuple[int, list[dict[str, Any]]]:
    count = 0
    shown: list[dict[str, Any]] = []
    for number, said in events:
        data = msgspec.json.decode(said)
        if rule.takes(data):
            continue
        count += 1
        if len(shown) < SHOWN:
            shown.append(
                {
                    "id": str(number),
                    "data": msgspec.Raw(said.encode()),
                    "errors": rule.faults(data, "data"),
                }
            )
    return count, shown


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
