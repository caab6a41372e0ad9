"""Running it: is it there, is it ready, how is it; and this documentation."""

from typing import Any

import msgspec

from handlers.openapi.operation import (
    HTML,
    STRING_SCHEMA,
    TEXT,
    ApiOperation,
    ApiParameter,
    ApiResource,
    ApiResponse,
)


class ReadyzResponse(msgspec.Struct):
    """Whether visitors may come: what has to hold, and what an owner should know."""

    ready: bool
    checks: dict[str, bool]
    notes: list[str]


OpenApiDocument = dict[str, Any]
OPERATIONS_RESOURCE = ApiResource(
    "Running",
    "Is it there, is it ready, how is it; and this documentation.",
    (
        ApiOperation(
            "GET",
            "/",
            "The front door",
            {200: ApiResponse("A page.", STRING_SCHEMA, HTML)},
            for_people=True,
        ),
        ApiOperation(
            "GET",
            "/healthz",
            "Does it turn?",
            {200: ApiResponse("It does.", STRING_SCHEMA, TEXT, example="ok\n")},
        ),
        ApiOperation(
            "GET",
            "/readyz",
            "May visitors come?",
            {
                200: ApiResponse("They may.", ReadyzResponse),
                503: ApiResponse("Not now.", ReadyzResponse),
            },
        ),
        ApiOperation(
            "GET",
            "/metrics",
            "Figures, for Prometheus",
            {200: ApiResponse("Its text format.", STRING_SCHEMA, TEXT)},
        ),
        ApiOperation(
            "GET",
            "/static/{file}",
            "Scripts and styles of these pages",
            {
                200: ApiResponse("The file.", STRING_SCHEMA, "*/*"),
                304: ApiResponse("What you have (`If-None-Match`) is the same."),
            },
            wrong={404: "There is no such file."},
        ),
        ApiOperation(
            "GET",
            "/api/v1/openapi.json",
            "This API as an OpenAPI document",
            {
                200: ApiResponse(
                    "The document.", OpenApiDocument, headers={"ETag": "Of the document."}
                ),
                304: ApiResponse("What you have is the same."),
            },
            arguments=[ApiParameter("If-None-Match", "The `ETag` of yours.", where="header")],
        ),
        ApiOperation(
            "GET",
            "/api/v1/docs",
            "The same for people",
            {200: ApiResponse("A page.", STRING_SCHEMA, HTML)},
        ),
    ),
)
