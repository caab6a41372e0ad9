"""Running it: is it there, is it ready, how is it; and this documentation."""

from typing import Any

import msgspec

from handlers.docs.operations import HTML, TEXT, TEXT_BODY, Answer, Argument, Operation, Resource


class Ready(msgspec.Struct):
    """Whether visitors may come: what has to hold, and what an owner should know."""

    ready: bool
    checks: dict[str, bool]
    notes: list[str]


Document = dict[str, Any]
RESOURCE = Resource(
    "Running",
    "Is it there, is it ready, how is it; and this documentation.",
    (
        Operation(
            "GET", "/", "The front door", {200: Answer("A page.", TEXT_BODY, HTML)}, for_people=True
        ),
        Operation(
            "GET",
            "/healthz",
            "Does it turn?",
            {200: Answer("It does.", TEXT_BODY, TEXT, example="ok\n")},
        ),
        Operation(
            "GET",
            "/readyz",
            "May visitors come?",
            {200: Answer("They may.", Ready), 503: Answer("Not now.", Ready)},
        ),
        Operation(
            "GET",
            "/metrics",
            "Figures, for Prometheus",
            {200: Answer("Its text format.", TEXT_BODY, TEXT)},
        ),
        Operation(
            "GET",
            "/static/{file}",
            "Scripts and styles of these pages",
            {
                200: Answer("The file.", TEXT_BODY, "*/*"),
                304: Answer("What you have (`If-None-Match`) is the same."),
            },
            wrong={404: "There is no such file."},
        ),
        Operation(
            "GET",
            "/api/v1/openapi.json",
            "This API as an OpenAPI document",
            {
                200: Answer("The document.", Document, headers={"ETag": "Of the document."}),
                304: Answer("What you have is the same."),
            },
            arguments=[Argument("If-None-Match", "The `ETag` of yours.", where="header")],
        ),
        Operation(
            "GET",
            "/api/v1/docs",
            "The same for people",
            {200: Answer("A page.", TEXT_BODY, HTML)},
        ),
    ),
)
