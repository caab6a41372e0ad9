"""Event schemas: list, read, publish, delete, dry-run."""

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
    """An event schema; `app` is null for all apps, `changed_at` null for a built-in schema."""

    category: str
    name: str
    app: int | None
    schema: Any
    changed_at: str | None


class EventSchemaListResponse(msgspec.Struct):
    """All event schemas."""

    schemas: list[EventSchemaResponse]


SCHEMA_PATH = "/api/v1/schemas/{category}/{name}"
APP_PARAMETER = ApiParameter(
    "app",
    "Schema of this app only; it takes precedence over the schema of all apps.",
    NonNegativeInt,
)
SCHEMA_NOT_FOUND = {404: "Unknown event schema."}
INVALID_TYPE_ERROR = {422: "The category, the name or `app` is invalid."}
SCHEMA_BODY = {
    "description": "A JSON Schema (2020-12) of the member `data`, or an event schema as returned "
    "by `GET`, with the JSON Schema in its member `schema`. Unknown top-level members are rejected "
    "unless they begin with `x-`. Limits: 64 KiB, 5,000 subschemas with references resolved, 200 "
    "patterns with 10,000 characters (repetitions expanded) and 200 classes such as `\\w`.",
    "type": ["object", "boolean"],
}
EXAMPLE_SCHEMA = {
    "type": "object",
    "properties": {"host": {"type": "string"}, "path": {"type": "string"}},
    "required": ["host", "path"],
}
SCHEMA_ERRORS = {
    400: "The body is not JSON.",
    413: "The body is too large.",
    422: "The body is not a supported JSON Schema, or the event type is invalid.",
}
SCHEMAS_RESOURCE = ApiResource(
    "Event schemas",
    "Each event type (category and name) can have an event schema: a JSON Schema of its `data`.",
    (
        ApiOperation(
            "GET",
            "/api/v1/schemas",
            "List the event schemas",
            {200: ApiResponse("The event schemas.", EventSchemaListResponse)},
            scopes=["admin"],
        ),
        ApiOperation(
            "GET",
            SCHEMA_PATH,
            "Read an event schema",
            {200: ApiResponse("The event schema.", EventSchemaResponse)},
            parameters=[APP_PARAMETER],
            scopes=["admin"],
            errors={**SCHEMA_NOT_FOUND, **INVALID_TYPE_ERROR},
        ),
        ApiOperation(
            "PUT",
            SCHEMA_PATH,
            "Publish an event schema",
            {
                200: ApiResponse(
                    "Published; it replaces the previous schema.", EventSchemaResponse
                ),
                201: ApiResponse("Published.", EventSchemaResponse),
            },
            parameters=[APP_PARAMETER],
            request_bodies=[ApiRequestBody(SCHEMA_BODY, EXAMPLE_SCHEMA)],
            scopes=["admin"],
            errors=SCHEMA_ERRORS,
        ),
        ApiOperation(
            "DELETE",
            SCHEMA_PATH,
            "Delete an event schema",
            {204: ApiResponse("Deleted.")},
            parameters=[APP_PARAMETER],
            scopes=["admin"],
            errors={**SCHEMA_NOT_FOUND, **INVALID_TYPE_ERROR},
        ),
        ApiOperation(
            "POST",
            f"{SCHEMA_PATH}/dry-run",
            "Dry-run an event schema",
            {
                200: ApiResponse(
                    "How many of the newest 10,000 events of the type it would reject.",
                    SchemaDryRun,
                )
            },
            parameters=[APP_PARAMETER],
            request_bodies=[ApiRequestBody(SCHEMA_BODY, EXAMPLE_SCHEMA)],
            scopes=["admin"],
            errors={**SCHEMA_ERRORS, **STORE_BUSY_ERROR},
        ),
    ),
)
