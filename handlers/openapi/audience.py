"""Audience: which pages of a host are gaining visitors right now."""

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
from handlers.audience.toppages import DEFAULT_TOPPAGES_LIMIT as TOLD
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
    """A host's pages: what gains, most surprising first; what loses; then the largest."""

    host: str
    window: int
    as_of: str
    age: float
    stale: bool
    pages: list[RisingPageResult]


class MinuteAverageItem(msgspec.Struct):
    """The average of a minute."""

    minute: str
    visitors: float


class PageHistoryResponse(msgspec.Struct):
    """A page's minutes, the oldest first."""

    host: str
    path: str
    minutes: list[MinuteAverageItem]


class LegacyTopPageItem(msgspec.Struct):
    """A page and its visitors; `i` is its title."""

    i: str
    path: str
    visitors: int


class TopPageStatsItem(msgspec.Struct):
    """Those who are there."""

    people: int


class TopPageItem(msgspec.Struct):
    """A page and its visitors."""

    path: str
    title: str
    stats: TopPageStatsItem


class TopPagesResponse(msgspec.Struct):
    """A host's pages."""

    pages: list[TopPageItem]


API_KEY_IN_QUERY = ("apikey",)
HOST_PARAMETER = ApiParameter(
    "host",
    "A host that the app lists.",
    {"type": "string", "minLength": 1},
    required=True,
    example="played.example",
)
RISING_PARAMETERS = (
    ApiParameter(
        "window",
        f"Seconds back from which a change is counted; {DEFAULT_WINDOW_SECONDS} if not said.",
        {"type": "integer", "minimum": MIN_WINDOW_SECONDS, "maximum": MAX_WINDOW_SECONDS},
    ),
    ApiParameter(
        "limit",
        f"So many pages; {DEFAULT_RISING_LIMIT} if not said.",
        {"type": "integer", "minimum": 1, "maximum": MAX_RISING_LIMIT},
    ),
)
API_KEY_ERRORS = {400: "The key or the host is not known.", 401: "There is no key, or no host."}
NO_READING_ERROR = {503: "There is no reading of this host: try again after `Retry-After` seconds."}
RISING_ERRORS = {
    **API_KEY_ERRORS,
    422: "An argument is wrong.",
    429: "Too many windows of this host were requested: try again after `Retry-After` seconds.",
    **NO_READING_ERROR,
}
TOP_PAGES_LIMIT_PARAMETER = ApiParameter(
    "limit",
    f"So many pages; {TOLD} if not said.",
    {"type": "integer", "minimum": 1, "maximum": MAX_TOPPAGES},
)
AUDIENCE_RESOURCE = ApiResource(
    "Audience",
    "Which pages gain visitors, by this server's own pageviews or by another's.",
    (
        ApiOperation(
            "GET",
            "/api/v1.0/increasingconcurrents",
            "Pages with more visitors than five seconds ago",
            {
                200: ApiResponse(
                    "The pages, most first.", list[PageGainResult], headers={"Age": "In seconds."}
                )
            },
            arguments=[HOST_PARAMETER],
            keys=API_KEY_IN_QUERY,
            wrong={**API_KEY_ERRORS, **NO_READING_ERROR},
        ),
        ApiOperation(
            "GET",
            "/api/v1/audience/{host}/rising",
            "Which pages rise",
            {
                200: ApiResponse(
                    "The pages, with how surprising each is for its size.", RisingPagesResponse
                )
            },
            arguments=RISING_PARAMETERS,
            keys=API_KEY_IN_QUERY,
            wrong=RISING_ERRORS,
        ),
        ApiOperation(
            "GET",
            "/api/v1/audience/{host}/history",
            "A page's visitors, minute by minute",
            {200: ApiResponse("Averages of minutes.", PageHistoryResponse)},
            keys=API_KEY_IN_QUERY,
            arguments=[
                ApiParameter(
                    "path", "The page.", {"type": "string", "minLength": 1}, True, example="/"
                ),
                ApiParameter(
                    "from",
                    "Three hours before `to` if not said, 32 days at most.",
                    DATE_TIME_SCHEMA,
                ),
                ApiParameter("to", "Now, if not said.", DATE_TIME_SCHEMA),
            ],
            wrong=RISING_ERRORS,
        ),
        ApiOperation(
            "GET",
            "/api/v1/audience/{host}/stream",
            "Which pages rise, as they do",
            {
                200: ApiResponse(
                    "The list of `rising` with each reading.", STRING_SCHEMA, EVENT_STREAM
                )
            },
            arguments=RISING_PARAMETERS,
            keys=API_KEY_IN_QUERY,
            wrong=RISING_ERRORS,
            words="Server-sent events; `Last-Event-ID` goes on where it was.",
        ),
        ApiOperation(
            "GET",
            "/live/{host}",
            "The same as a page for people",
            {200: ApiResponse("The page.", STRING_SCHEMA, HTML)},
            keys=API_KEY_IN_QUERY,
            wrong={**API_KEY_ERRORS, **NO_READING_ERROR},
            for_people=True,
        ),
        ApiOperation(
            "GET",
            "/live/{host}/stream",
            "What that page shows with each reading",
            {
                200: ApiResponse(
                    "A part of the page with each reading.", STRING_SCHEMA, EVENT_STREAM
                )
            },
            keys=API_KEY_IN_QUERY,
            wrong={**API_KEY_ERRORS, **NO_READING_ERROR},
            for_people=True,
        ),
        ApiOperation(
            "GET",
            "/live/toppages",
            "This server's pages by visitors, for others to read",
            {200: ApiResponse("The pages, most visitors first.", list[LegacyTopPageItem])},
            arguments=[HOST_PARAMETER, TOP_PAGES_LIMIT_PARAMETER],
            keys=tuple(API_KEY_LOCATIONS),
            wrong=API_KEY_ERRORS,
        ),
        ApiOperation(
            "GET",
            "/live/toppages/v3",
            "The same in the form of version 3",
            {200: ApiResponse("The pages, most visitors first.", TopPagesResponse)},
            arguments=[HOST_PARAMETER, TOP_PAGES_LIMIT_PARAMETER],
            keys=tuple(API_KEY_LOCATIONS),
            wrong=API_KEY_ERRORS,
        ),
        ApiOperation(
            "GET",
            "/static/beacon.js",
            "The script that tells of visitors",
            {
                200: ApiResponse("The script.", STRING_SCHEMA, "text/javascript"),
                304: ApiResponse("What you have (`If-None-Match`) is the same."),
            },
        ),
        ApiOperation(
            "POST",
            "/api/v1/beacon/{public_token}",
            "What that script sends",
            {204: ApiResponse("A pageview is on disk; a heartbeat is remembered.")},
            arguments=[
                PATH_PARAMETERS["public_token"]._replace(where="path", example=EXAMPLE_API_KEY)
            ],
            bodies=[
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
            wrong={
                400: "This is no sign of life.",
                403: "The app does not list this host, or the page is another's.",
                404: "There is no app with this token.",
                413: "The body is larger than any such sign.",
                503: "It was not stored.",
            },
        ),
        preflight_operation("/api/v1/beacon/{public_token}"),
    ),
)
