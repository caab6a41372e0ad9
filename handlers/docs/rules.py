"""Event rules: which events of a type are right."""

from typing import Any

import msgspec

from handlers.docs.operations import BUSY, Answer, Argument, Body, Number, Operation, Resource
from rules.trial import Trial


class EventRule(msgspec.Struct):
    """A rule; of all apps if `app` is null, as it came with the program if never changed."""

    category: str
    name: str
    app: int | None
    schema: Any
    changed_at: str | None


class EventRules(msgspec.Struct):
    """All rules."""

    rules: list[EventRule]


ADDRESS = "/api/v1/rules/{category}/{name}"
WHOSE = Argument("app", "The rule of this app alone, which goes before that of all.", Number)
MISSING = {404: "There is no such rule."}
WORDS = {422: "The category, the name or `app` is none."}
SCHEMA = {
    "description": "A JSON Schema (2020-12) of the member `data`, or the rule as returned by "
    "`GET`, with the schema in its member `schema`. Unknown top-level members are refused, unless "
    "they begin with `x-`. Limits: 64 KiB, 5,000 parts with references resolved, 200 patterns "
    "with 10,000 characters (repetitions expanded) and 200 classes such as `\\w`.",
    "type": ["object", "boolean"],
}
EXAMPLE = {
    "type": "object",
    "properties": {"host": {"type": "string"}, "path": {"type": "string"}},
    "required": ["host", "path"],
}
WRONG = {
    400: "The body is not JSON.",
    413: "The body is larger than is taken.",
    422: "The body is no JSON Schema that can be a rule, or the address names no type.",
}
RESOURCE = Resource(
    "Event rules",
    "Each type of events (category and name) can have a rule, a JSON Schema of its `data`.",
    (
        Operation(
            "GET",
            "/api/v1/rules",
            "All rules",
            {200: Answer("The rules.", EventRules)},
            scopes=["admin"],
        ),
        Operation(
            "GET",
            ADDRESS,
            "One rule",
            {200: Answer("The rule.", EventRule)},
            arguments=[WHOSE],
            scopes=["admin"],
            wrong={**MISSING, **WORDS},
        ),
        Operation(
            "PUT",
            ADDRESS,
            "Set a rule, at once",
            {
                200: Answer("It holds now, instead of the one before.", EventRule),
                201: Answer("It holds now.", EventRule),
            },
            arguments=[WHOSE],
            bodies=[Body(SCHEMA, EXAMPLE)],
            scopes=["admin"],
            wrong=WRONG,
        ),
        Operation(
            "DELETE",
            ADDRESS,
            "Let a rule no longer hold",
            {204: Answer("It holds no more.")},
            arguments=[WHOSE],
            scopes=["admin"],
            wrong={**MISSING, **WORDS},
        ),
        Operation(
            "POST",
            f"{ADDRESS}/dry-run",
            "What would this rule have rejected?",
            {200: Answer("What became of the newest 10,000 events of the type.", Trial)},
            arguments=[WHOSE],
            bodies=[Body(SCHEMA, EXAMPLE)],
            scopes=["admin"],
            wrong={**WRONG, **BUSY},
        ),
    ),
)
