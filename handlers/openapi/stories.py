"""Stories: what apps show, what their users open, and how many people that is."""

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
    """A story, and the `img` of what is kept with it."""

    id: int
    metadata: Any


class StoriesResponse(msgspec.Struct):
    """An app's stories, in its order; `ts` is the time of the answer, in Unix seconds."""

    app_id: int
    ts: int
    metadata: list[StoryItem]


class StoryEventCountItem(msgspec.Struct):
    """So many events of a type with a story."""

    story_id: int
    event_type: str
    count: int


class StoryCountsResponse(msgspec.Struct):
    """A page of the counts of a day; `cursor` is that of the next page, null on the last."""

    app_id: int
    date: str
    counts: list[StoryEventCountItem]
    cursor: str | None


class ActiveUsersItem(msgspec.Struct, omit_defaults=True):
    """Users of a day, or of the 7 or 30 days that end with it."""

    date: str
    exact: bool
    dau: int | None = None
    wau: int | None = None
    mau: int | None = None


class ActiveUsersResponse(ActiveUsersItem, kw_only=True):
    """The same, and whose they are."""

    app_id: int


class ActiveUsersDaysResponse(msgspec.Struct):
    """Days, the oldest first."""

    app_id: int
    days: list[ActiveUsersItem]


APP_NOT_FOUND = {404: "There is no app with this token."}
IF_NONE_MATCH_PARAMETER = ApiParameter(
    "If-None-Match", "The `ETag` of the answer that you have.", where="header"
)
EXAMPLE_STORIES = {"app_id": 1, "ts": 1601510400, "metadata": [{"id": 1, "metadata": "image1.png"}]}
STORIES_RESPONSES = {
    200: ApiResponse(
        "The stories.",
        StoriesResponse,
        headers={"ETag": "Of all but the moment, ts."},
        example=EXAMPLE_STORIES,
    ),
    304: ApiResponse("What you have is the same."),
}
DATE_PARAMETER = ApiParameter(
    "date", "A day (UTC).", DATE_SCHEMA, required=True, example="2026-01-31"
)
# What a browser asks before a page of the app's own may.
PREFLIGHT_RESPONSES = {204: ApiResponse("Which methods there are, and whether the page may.")}


def preflight_operation(path: str) -> ApiOperation:
    """Describe the OPTIONS of an address that pages of an app's hosts may use."""
    return ApiOperation(
        "OPTIONS",
        path,
        "What a browser asks before a page of another host may",
        PREFLIGHT_RESPONSES,
        wrong=APP_NOT_FOUND,
    )


STORIES_RESOURCE = ApiResource(
    "Stories",
    "What mobile and web apps show. All that is needed is the app's public token; its own pages "
    "(the hosts that it lists) may read the answers in browsers.",
    (
        ApiOperation(
            "GET",
            "/api/v1/stories/{public_token}",
            "An app's stories, read from the database",
            STORIES_RESPONSES,
            arguments=[IF_NONE_MATCH_PARAMETER],
            wrong={**APP_NOT_FOUND, **STORE_BUSY_ERROR},
        ),
        preflight_operation("/api/v1/stories/{public_token}"),
        ApiOperation(
            "GET",
            "/api/v1/stories/cached/{public_token}",
            "The same, from memory",
            STORIES_RESPONSES,
            arguments=[IF_NONE_MATCH_PARAMETER],
            wrong=APP_NOT_FOUND,
            words="A change of the owner's shows at once.",
        ),
        preflight_operation("/api/v1/stories/cached/{public_token}"),
        ApiOperation(
            "POST",
            "/api/v1/event/{public_token}",
            "Something that a user did with a story",
            {
                202: ApiResponse(
                    "It is on disk.", AcceptedResponse, example={"id": "7531444171945543680"}
                )
            },
            bodies=[
                ApiRequestBody(
                    StoryEventPayload,
                    {"story_id": 1, "event_type": "impression", "user_id": "some-random-id"},
                )
            ],
            wrong={
                400: "The body is not JSON.",
                404: "There is no such app, or the story is none of its own.",
                413: "The body is larger than any such event.",
                415: "The body is of another type.",
                422: "The event is wrong.",
                **LOG_FULL_ERROR,
            },
            words="With `Sec-GPC: 1` or `DNT: 1` the event counts, and nobody is counted as its "
            "user. `text/plain` is taken, too: browsers send it without asking first.",
        ),
        preflight_operation("/api/v1/event/{public_token}"),
        ApiOperation(
            "GET",
            "/api/v1/stories/{public_token}/counts",
            "What was done with each story on a day",
            {200: ApiResponse("The counts.", StoryCountsResponse)},
            arguments=[
                DATE_PARAMETER,
                ApiParameter("story_id", "Only this story.", NonNegativeInt),
                ApiParameter(
                    "limit",
                    f"Counts on a page ({DEFAULT_COUNTS_LIMIT}).",
                    {"type": "integer", "minimum": 1, "maximum": MAX_COUNTS_LIMIT},
                ),
                ApiParameter(
                    "cursor",
                    "The `cursor` of the previous page.",
                    {"type": "string", "pattern": f"^{CURSOR_PATTERN.pattern}$"},
                ),
            ],
            wrong={**APP_NOT_FOUND, 422: "An argument is wrong.", **STORE_BUSY_ERROR},
        ),
        ApiOperation(
            "GET",
            "/api/v1/dau/{public_token}",
            "Active users: of days, weeks or months, exactly",
            {
                200: ApiResponse(
                    "One day, or a list if `days` is said.",
                    ActiveUsersResponse | ActiveUsersDaysResponse,
                )
            },
            arguments=[
                DATE_PARAMETER,
                ApiParameter(
                    "days",
                    "So many days that end with `date`, as a list.",
                    {"type": "integer", "minimum": 1, "maximum": MAX_STATS_DAYS},
                ),
                ApiParameter(
                    "span",
                    "Users of a day (1), or of the 7 or 30 days that end with it.",
                    {"type": "integer", "enum": list(ACTIVE_SPAN_DAYS)},
                ),
            ],
            wrong={**APP_NOT_FOUND, 422: "An argument is wrong.", **STORE_BUSY_ERROR},
        ),
    ),
)
