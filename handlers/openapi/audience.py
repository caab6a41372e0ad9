"""Audience: pages of a host that gain visitors, page history, beacon."""

import msgspec

from domain.audience.beacon import BeaconPayload
from domain.audience.toppages_format import MAX_TOPPAGES
from domain.audience.visitor_history import (
    DEFAULT_WINDOW_SECONDS,
    MAX_WINDOW_SECONDS,
    MIN_WINDOW_SECONDS,
)
from handlers.audience.host_audience import RisingPageResult
from handlers.audience.increasing_concurrents import PageGainResult
from handlers.audience.toppages import DEFAULT_TOPPAGES_LIMIT
from handlers.common.audience_base import DEFAULT_RISING_LIMIT, MAX_RISING_LIMIT
from handlers.openapi.operation import (
    API_KEY_LOCATIONS,
    DATE_TIME_SCHEMA,
    EVENT_STREAM,
    EXAMPLE_API_KEY,
    HTML,
    PATH_PARAMETERS,
    STRING_SCHEMA,
    TEXT,
    ApiOperation,
    ApiParameter,
    ApiRequestBody,
    ApiResource,
    ApiResponse,
)
from handlers.openapi.stories import preflight_operation


class RisingPagesResponse(msgspec.Struct):
    """Pages of a host: gaining by trend score, then losing, then by visitors."""

    host: str
    window: int
    as_of: str
    age: float
    stale: bool
    pages: list[RisingPageResult]


class MinuteAverageItem(msgspec.Struct):
    """Average visitors in a minute."""

    minute: str
    visitors: float


class PageHistoryResponse(msgspec.Struct):
    """Visitors of a page by minute, oldest first."""

    host: str
    path: str
    minutes: list[MinuteAverageItem]


class LegacyTopPageItem(msgspec.Struct):
    """A page and its visitors in the legacy format; `i` is its title."""

    i: str
    path: str
    visitors: int


class TopPageStatsItem(msgspec.Struct):
    """Active visitors of a page."""

    people: int


class TopPageItem(msgspec.Struct):
    """A page and its visitors in the format of version 3."""

    path: str
    title: str
    stats: TopPageStatsItem


class TopPagesResponse(msgspec.Struct):
    """The pages of a host in the format of version 3."""

    pages: list[TopPageItem]


API_KEY_IN_QUERY = ("apikey",)
HOST_PARAMETER = ApiParameter(
    "host",
    "A host listed by the app.",
    {"type": "string", "minLength": 1},
    required=True,
    example="played.example",
)
RISING_PARAMETERS = (
    ApiParameter(
        "window",
        f"Window of the change in seconds; default: {DEFAULT_WINDOW_SECONDS}.",
        {"type": "integer", "minimum": MIN_WINDOW_SECONDS, "maximum": MAX_WINDOW_SECONDS},
    ),
    ApiParameter(
        "limit",
        f"Number of pages; default: {DEFAULT_RISING_LIMIT}.",
        {"type": "integer", "minimum": 1, "maximum": MAX_RISING_LIMIT},
    ),
)
API_KEY_ERRORS = {400: "Unknown key or host.", 401: "The key or the host is missing."}
NO_READING_ERROR = {503: "No reading of this host yet: try again after `Retry-After` seconds."}
RISING_ERRORS = {
    **API_KEY_ERRORS,
    422: "A parameter is invalid.",
    429: "Too many windows of this host were requested: try again after `Retry-After` seconds.",
    **NO_READING_ERROR,
}
TOP_PAGES_LIMIT_PARAMETER = ApiParameter(
    "limit",
    f"Number of pages; default: {DEFAULT_TOPPAGES_LIMIT}.",
    {"type": "integer", "minimum": 1, "maximum": MAX_TOPPAGES},
)
AUDIENCE_RESOURCE = ApiResource(
    "Audience",
    "Pages that gain visitors, from the pageviews of this server or of an upstream.",
    (
        ApiOperation(
            "GET",
            "/api/v1.0/increasingconcurrents",
            "Pages with more visitors than five seconds ago",
            {
                200: ApiResponse(
                    "The pages, largest gain first.",
                    list[PageGainResult],
                    headers={"Age": "Age of the reading in seconds."},
                )
            },
            parameters=[HOST_PARAMETER],
            api_keys=API_KEY_IN_QUERY,
            errors={**API_KEY_ERRORS, **NO_READING_ERROR},
        ),
        ApiOperation(
            "GET",
            "/api/v1/audience/{host}/rising",
            "Rising pages",
            {200: ApiResponse("The pages with their trend scores.", RisingPagesResponse)},
            parameters=RISING_PARAMETERS,
            api_keys=API_KEY_IN_QUERY,
            errors=RISING_ERRORS,
        ),
        ApiOperation(
            "GET",
            "/api/v1/audience/{host}/history",
            "Visitors of a page by minute",
            {200: ApiResponse("The average visitors of each minute.", PageHistoryResponse)},
            api_keys=API_KEY_IN_QUERY,
            parameters=[
                ApiParameter(
                    "path",
                    "Path of the page.",
                    {"type": "string", "minLength": 1},
                    True,
                    example="/",
                ),
                ApiParameter(
                    "from",
                    "At most 32 days before `to`; default: three hours before.",
                    DATE_TIME_SCHEMA,
                ),
                ApiParameter("to", "Default: now.", DATE_TIME_SCHEMA),
            ],
            errors=RISING_ERRORS,
        ),
        ApiOperation(
            "GET",
            "/api/v1/audience/{host}/stream",
            "Stream of rising pages",
            {
                200: ApiResponse(
                    "The response of `rising` after each reading.", STRING_SCHEMA, EVENT_STREAM
                )
            },
            parameters=RISING_PARAMETERS,
            api_keys=API_KEY_IN_QUERY,
            errors=RISING_ERRORS,
            description="Server-sent events. `Last-Event-ID` skips a reading that the client has.",
        ),
        ApiOperation(
            "GET",
            "/live/{host}",
            "Live page of rising pages",
            {200: ApiResponse("The page.", STRING_SCHEMA, HTML)},
            api_keys=API_KEY_IN_QUERY,
            errors={**API_KEY_ERRORS, **NO_READING_ERROR},
            html_errors=True,
        ),
        ApiOperation(
            "GET",
            "/live/{host}/stream",
            "Stream of the live page",
            {200: ApiResponse("The list as HTML after each reading.", STRING_SCHEMA, EVENT_STREAM)},
            api_keys=API_KEY_IN_QUERY,
            errors={**API_KEY_ERRORS, **NO_READING_ERROR},
            html_errors=True,
        ),
        ApiOperation(
            "GET",
            "/live/toppages",
            "Pages of this server by visitors",
            {200: ApiResponse("The pages, most visitors first.", list[LegacyTopPageItem])},
            parameters=[HOST_PARAMETER, TOP_PAGES_LIMIT_PARAMETER],
            api_keys=tuple(API_KEY_LOCATIONS),
            errors=API_KEY_ERRORS,
        ),
        ApiOperation(
            "GET",
            "/live/toppages/v3",
            "Pages of this server by visitors, version 3",
            {200: ApiResponse("The pages, most visitors first.", TopPagesResponse)},
            parameters=[HOST_PARAMETER, TOP_PAGES_LIMIT_PARAMETER],
            api_keys=tuple(API_KEY_LOCATIONS),
            errors=API_KEY_ERRORS,
        ),
        ApiOperation(
            "GET",
            "/static/beacon.js",
            "Beacon script",
            {
                200: ApiResponse("The script.", STRING_SCHEMA, "text/javascript"),
                304: ApiResponse("Not modified (`If-None-Match`)."),
            },
        ),
        ApiOperation(
            "POST",
            "/api/v1/beacon/{public_token}",
            "Ingest a beacon",
            {204: ApiResponse("A pageview is stored; a heartbeat is counted in memory.")},
            parameters=[
                PATH_PARAMETERS["public_token"]._replace(location="path", example=EXAMPLE_API_KEY)
            ],
            request_bodies=[
                ApiRequestBody(
                    BeaconPayload,
                    {
                        "kind": "view",
                        "session": "e2085be5-9137-4e4e-80b5-f1ffddc25423",
                        "host": "played.example",
                        "path": "/",
                    },
                    TEXT,
                )
            ],
            errors={
                400: "Invalid beacon payload.",
                403: "The app does not list the host, or the origin is another host.",
                404: "Unknown public token.",
                413: "The body is too large.",
                503: "Not stored.",
            },
        ),
        preflight_operation("/api/v1/beacon/{public_token}"),
    ),
)
