"""Stories of apps, their events, counts and active users."""

from typing import Any

import msgspec

from domain.stories.story_event import StoryEventPayload
from handlers.openapi.banners import AcceptedResponse
from handlers.openapi.operation import (
    DATE_SCHEMA,
    LOG_FULL_ERROR,
    STORE_BUSY_ERROR,
    ApiOperation,
    ApiParameter,
    ApiRequestBody,
    ApiResource,
    ApiResponse,
    NonNegativeInt,
)
from handlers.stories.story_stats import DEFAULT_COUNTS_LIMIT, MAX_COUNTS_LIMIT, MAX_STATS_DAYS
from store.sqlite.stories.story_stats import ACTIVE_SPAN_DAYS, CURSOR_PATTERN


class StoryItem(msgspec.Struct):
    """A story; `metadata` is the `img` of its stored metadata."""

    id: int
    metadata: Any


class StoriesResponse(msgspec.Struct):
    """The stories of an app in its order; `ts` is the time of the response in Unix seconds."""

    app_id: int
    ts: int
    metadata: list[StoryItem]


class StoryEventCountItem(msgspec.Struct):
    """The number of events of a type for a story."""

    story_id: int
    event_type: str
    count: int


class StoryCountsResponse(msgspec.Struct):
    """A page of counts of a day; `cursor` leads to the next page, null marks the last."""

    app_id: int
    date: str
    counts: list[StoryEventCountItem]
    cursor: str | None


class ActiveUsersItem(msgspec.Struct, omit_defaults=True):
    """Active users on a day, or in the 7 or 30 days that end with it."""

    date: str
    exact: bool
    dau: int | None = None
    wau: int | None = None
    mau: int | None = None


class ActiveUsersResponse(ActiveUsersItem, kw_only=True):
    """Active users of an app."""

    app_id: int


class ActiveUsersDaysResponse(msgspec.Struct):
    """Active users of an app by day, oldest first."""

    app_id: int
    days: list[ActiveUsersItem]


APP_NOT_FOUND = {404: "Unknown public token."}
IF_NONE_MATCH_PARAMETER = ApiParameter(
    "If-None-Match", "The `ETag` of your copy.", location="header"
)
EXAMPLE_STORIES = {"app_id": 1, "ts": 1601510400, "metadata": [{"id": 1, "metadata": "image1.png"}]}
STORIES_RESPONSES = {
    200: ApiResponse(
        "The stories.",
        StoriesResponse,
        headers={"ETag": "Version of the stories, without `ts`."},
        example=EXAMPLE_STORIES,
    ),
    304: ApiResponse("Not modified."),
}
DATE_PARAMETER = ApiParameter(
    "date", "A day (UTC).", DATE_SCHEMA, required=True, example="2026-01-31"
)
PREFLIGHT_RESPONSES = {204: ApiResponse("Allowed methods and CORS headers.")}


def preflight_operation(path: str) -> ApiOperation:
    """Describe the OPTIONS of a path that the pages of an app may call."""
    return ApiOperation(
        "OPTIONS",
        path,
        "CORS preflight",
        PREFLIGHT_RESPONSES,
        errors=APP_NOT_FOUND,
    )


STORIES_RESOURCE = ApiResource(
    "Stories",
    "Stories for mobile and web apps. Requests need only the public token of the app. Browsers may "
    "read the responses on pages of the hosts that the app lists.",
    (
        ApiOperation(
            "GET",
            "/api/v1/stories/{public_token}",
            "Stories of an app, read from the database",
            STORIES_RESPONSES,
            parameters=[IF_NONE_MATCH_PARAMETER],
            errors={**APP_NOT_FOUND, **STORE_BUSY_ERROR},
        ),
        preflight_operation("/api/v1/stories/{public_token}"),
        ApiOperation(
            "GET",
            "/api/v1/stories/cached/{public_token}",
            "Stories of an app, read from memory",
            STORIES_RESPONSES,
            parameters=[IF_NONE_MATCH_PARAMETER],
            errors=APP_NOT_FOUND,
            description="A change on the admin pages is visible at once.",
        ),
        preflight_operation("/api/v1/stories/cached/{public_token}"),
        ApiOperation(
            "POST",
            "/api/v1/event/{public_token}",
            "Ingest an event of a story",
            {202: ApiResponse("Stored.", AcceptedResponse, example={"id": "7531444171945543680"})},
            request_bodies=[
                ApiRequestBody(
                    StoryEventPayload,
                    {"story_id": 1, "event_type": "impression", "user_id": "some-random-id"},
                )
            ],
            errors={
                400: "The body is not JSON.",
                404: "Unknown public token, or a story of another app.",
                413: "The body is too large.",
                415: "Unsupported media type.",
                422: "The event is invalid.",
                **LOG_FULL_ERROR,
            },
            description="With `Sec-GPC: 1` or `DNT: 1` the event counts without its user. "
            "`text/plain` is accepted, too: browsers send it without a CORS preflight.",
        ),
        preflight_operation("/api/v1/event/{public_token}"),
        ApiOperation(
            "GET",
            "/api/v1/stories/{public_token}/counts",
            "Event counts of each story on a day",
            {200: ApiResponse("The counts.", StoryCountsResponse)},
            parameters=[
                DATE_PARAMETER,
                ApiParameter("story_id", "Story id.", NonNegativeInt),
                ApiParameter(
                    "limit",
                    f"Page size; default: {DEFAULT_COUNTS_LIMIT}.",
                    {"type": "integer", "minimum": 1, "maximum": MAX_COUNTS_LIMIT},
                ),
                ApiParameter(
                    "cursor",
                    "The `cursor` of the previous page.",
                    {"type": "string", "pattern": f"^{CURSOR_PATTERN.pattern}$"},
                ),
            ],
            errors={**APP_NOT_FOUND, 422: "A parameter is invalid.", **STORE_BUSY_ERROR},
        ),
        ApiOperation(
            "GET",
            "/api/v1/dau/{public_token}",
            "Exact number of active users by day, week or month",
            {
                200: ApiResponse(
                    "One day, or a list with the parameter `days`.",
                    ActiveUsersResponse | ActiveUsersDaysResponse,
                )
            },
            parameters=[
                DATE_PARAMETER,
                ApiParameter(
                    "days",
                    "Number of days that end with `date`.",
                    {"type": "integer", "minimum": 1, "maximum": MAX_STATS_DAYS},
                ),
                ApiParameter(
                    "span",
                    "Days over which users are counted: 1, 7 or 30, up to and including the day.",
                    {"type": "integer", "enum": list(ACTIVE_SPAN_DAYS)},
                ),
            ],
            errors={**APP_NOT_FOUND, 422: "A parameter is invalid.", **STORE_BUSY_ERROR},
        ),
    ),
)
