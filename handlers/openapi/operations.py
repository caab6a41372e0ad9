"""Operations: liveness, readiness, metrics, static files, the API reference."""

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
    """The readiness checks by name, and notes for the operator."""

    ready: bool
    checks: dict[str, bool]
    notes: list[str]


OpenApiDocument = dict[str, Any]
OPERATIONS_RESOURCE = ApiResource(
    "Operations",
    "Liveness, readiness, metrics, static files and this reference.",
    (
        ApiOperation(
            "GET",
            "/",
            "Home page",
            {200: ApiResponse("The page.", STRING_SCHEMA, HTML)},
            html_errors=True,
        ),
        ApiOperation(
            "GET",
            "/healthz",
            "Liveness",
            {200: ApiResponse("The event loop runs.", STRING_SCHEMA, TEXT, example="ok\n")},
        ),
        ApiOperation(
            "GET",
            "/readyz",
            "Readiness",
            {
                200: ApiResponse("Ready.", ReadyzResponse),
                503: ApiResponse("Not ready; see `checks`.", ReadyzResponse),
            },
        ),
        ApiOperation(
            "GET",
            "/metrics",
            "Metrics for Prometheus",
            {200: ApiResponse("The Prometheus text format.", STRING_SCHEMA, TEXT)},
        ),
        ApiOperation(
            "GET",
            "/static/{file}",
            "Scripts and styles of the pages",
            {
                200: ApiResponse("The file.", STRING_SCHEMA, "*/*"),
                304: ApiResponse("Not modified (`If-None-Match`)."),
            },
            errors={404: "Unknown file."},
        ),
        ApiOperation(
            "GET",
            "/api/v1/openapi.json",
            "OpenAPI document of this API",
            {
                200: ApiResponse(
                    "The document.", OpenApiDocument, headers={"ETag": "Version of the document."}
                ),
                304: ApiResponse("Not modified."),
            },
            parameters=[
                ApiParameter("If-None-Match", "The `ETag` of your copy.", location="header")
            ],
        ),
        ApiOperation(
            "GET",
            "/api/v1/docs",
            "This reference as a page",
            {200: ApiResponse("The page.", STRING_SCHEMA, HTML)},
        ),
    ),
)
