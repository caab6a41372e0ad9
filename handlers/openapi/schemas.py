"""Event rules: which events of a type are right."""

from typing import Any

import msgspec

from domain.events.schema_dry_run import SchemaDryRun
from handlers.openapi.operation import (
    STORE_BUSY_ERROR,
    ApiOperation,
    ApiParameter,
    ApiRequestBody,
    ApiResource,
    ApiResponse,
    NonNegativeInt,
)


class EventSchemaResponse(msgspec.Struct):
    """A rule; of all apps if `app` is null, as it came with the program if never changed."""

    category: str
    name: str
    app: int | None
    schema: Any
    changed_at: str | None


class EventSchemaListResponse(msgspec.Struct):
    """All rules."""

    rules: list[EventSchemaResponse]


SCHEMA_PATH = "/api/v1/rules/{category}/{name}"
APP_PARAMETER = ApiParameter(
    "app", "The rule of this app alone, which goes before that of all.", NonNegativeInt
)
SCHEMA_NOT_FOUND = {404: "There is no such rule."}
INVALID_TYPE_ERROR = {422: "The category, the name or `app` is none."}
SCHEMA_BODY = {
    "description": "A JSON Schema (2020-12) of the member `data`, or the rule as returned by "
    "`GET`, with the schema in its member `schema`. Unknown top-level members are refused, unless "
    "they begin with `x-`. Limits: 64 KiB, 5,000 parts with references resolved, 200 patterns "
    "with 10,000 characters (repetitions expanded) and 200 classes such as `\\w`.",
    "type": ["object", "boolean"],
}
EXAMPLE_SCHEMA = {
    "type": "object",
    "properties": {"host": {"type": "string"}, "path": {"type": "string"}},
    "required": ["host", "path"],
}
SCHEMA_ERRORS = {
    400: "The body is not JSON.",
    413: "The body is larger than is taken.",
    422: "The body is no JSON Schema that can be a rule, or the address names no type.",
}
SCHEMAS_RESOURCE = ApiResource(
    "Event rules",
    "Each type of events (category and name) can have a rule, a JSON Schema of its `data`.",
    (
        ApiOperation(
            "GET",
            "/api/v1/rules",
            "All rules",
            {200: ApiResponse("The rules.", EventSchemaListResponse)},
            scopes=["admin"],
        ),
        ApiOperation(
            "GET",
            SCHEMA_PATH,
            "One rule",
            {200: ApiResponse("The rule.", EventSchemaResponse)},
            arguments=[APP_PARAMETER],
            scopes=["admin"],
            wrong={**SCHEMA_NOT_FOUND, **INVALID_TYPE_ERROR},
        ),
        ApiOperation(
            "PUT",
            SCHEMA_PATH,
            "Set a rule, at once",
            {
                200: ApiResponse("It holds now, instead of the one before.", EventSchemaResponse),
                201: ApiResponse("It holds now.", EventSchemaResponse),
            },
            arguments=[APP_PARAMETER],
            bodies=[ApiRequestBody(SCHEMA_BODY, EXAMPLE_SCHEMA)],
            scopes=["admin"],
            wrong=SCHEMA_ERRORS,
        ),
        ApiOperation(
            "DELETE",
            SCHEMA_PATH,
            "Let a rule no longer hold",
            {204: ApiResponse("It holds no more.")},
            arguments=[APP_PARAMETER],
            scopes=["admin"],
            wrong={**SCHEMA_NOT_FOUND, **INVALID_TYPE_ERROR},
        ),
        ApiOperation(
            "POST",
            f"{SCHEMA_PATH}/dry-run",
            "What would this rule have rejected?",
            {
                200: ApiResponse(
                    "What became of the newest 10,000 events of the type.", SchemaDryRun
                )
            },
            arguments=[APP_PARAMETER],
            bodies=[ApiRequestBody(SCHEMA_BODY, EXAMPLE_SCHEMA)],
            scopes=["admin"],
            wrong={**SCHEMA_ERRORS, **STORE_BUSY_ERROR},
        ),
    ),
)
