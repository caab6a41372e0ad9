"""Stories: what apps show, what their users open, and how many people that is."""

from typing import Any

import msgspec

from handlers.docs.banners import Accepted
from handlers.docs.operations import (
    BUSY,
    FULL,
    Answer,
    Argument,
    Body,
    Day,
    Number,
    Operation,
    Resource,
)
from handlers.usage import COUNTS, MOST_COUNTS, MOST_DAYS
from rules.story_event import SentStoryEvent
from store.usage import CURSOR, SPANS


class ShownStory(msgspec.Struct):
    """A story, and the `img` of what is kept with it."""

    id: int
    metadata: Any


class Stories(msgspec.Struct):
    """An app's stories, in its order; `ts` is the time of the answer, in Unix seconds."""

    app_id: int
    ts: int
    metadata: list[ShownStory]


class Count(msgspec.Struct):
    """So many events of a type with a story."""

    story_id: int
    event_type: str
    count: int


class Counts(msgspec.Struct):
    """A page of the counts of a day; `cursor` is that of the next page, null on the last."""

    app_id: int
    date: str
    counts: list[Count]
    cursor: str | None


class Users(msgspec.Struct, omit_defaults=True):
    """Users of a day, or of the 7 or 30 days that end with it."""

    date: str
    exact: bool
    dau: int | None = None
    wau: int | None = None
    mau: int | None = None


class OneDay(Users, kw_only=True):
    """The same, and whose they are."""

    app_id: int


class Days(msgspec.Struct):
    """Days, the oldest first."""

    app_id: int
    days: list[Users]


NOBODY = {404: "There is no app with this token."}
HELD = Argument("If-None-Match", "The `ETag` of the answer that you have.", where="header")
EXAMPLE = {"app_id": 1, "ts": 1601510400, "metadata": [{"id": 1, "metadata": "image1.png"}]}
ANSWERS = {
    200: Answer(
        "The stories.", Stories, headers={"ETag": "Of all but the moment, ts."}, example=EXAMPLE
    ),
    304: Answer("What you have is the same."),
}
DATE = Argument("date", "A day (UTC).", Day, required=True, example="2026-01-31")
# What a browser asks before a page of the app's own may.
PREFLIGHT = {204: Answer("Which methods there are, and whether the page may.")}


def preflight(path: str) -> Operation:
    """Describe the OPTIONS of an address that pages of an app's hosts may use."""
    return Operation(
        "OPTIONS",
        path,
        "What a browser asks before a page of another host may",
        PREFLIGHT,
        wrong=NOBODY,
    )


RESOURCE = Resource(
    "Stories",
    "What mobile and web apps show. All that is needed is the app's public token; its own pages "
    "(the hosts that it lists) may read the answers in browsers.",
    (
        Operation(
            "GET",
            "/api/v1/stories/{public_token}",
            "An app's stories, read from the database",
            ANSWERS,
            arguments=[HELD],
            wrong={**NOBODY, **BUSY},
        ),
        preflight("/api/v1/stories/{public_token}"),
        Operation(
            "GET",
            "/api/v1/stories/cached/{public_token}",
            "The same, from memory",
            ANSWERS,
            arguments=[HELD],
            wrong=NOBODY,
            words="A change of the owner's shows at once.",
        ),
        preflight("/api/v1/stories/cached/{public_token}"),
        Operation(
            "POST",
            "/api/v1/event/{public_token}",
            "Something that a user did with a story",
            {202: Answer("It is on disk.", Accepted, example={"id": "7531444171945543680"})},
            bodies=[
                Body(
                    SentStoryEvent,
                    {"story_id": 1, "event_type": "impression", "user_id": "some-random-id"},
                )
            ],
            wrong={
                400: "The body is not JSON.",
                404: "There is no such app, or the story is none of its own.",
                413: "The body is larger than any such event.",
                415: "The body is of another type.",
                422: "The event is wrong.",
                **FULL,
            },
            words="With `Sec-GPC: 1` or `DNT: 1` the event counts, and nobody is counted as its "
            "user. `text/plain` is taken, too: browsers send it without asking first.",
        ),
        preflight("/api/v1/event/{public_token}"),
        Operation(
            "GET",
            "/api/v1/stories/{public_token}/counts",
            "What was done with each story on a day",
            {200: Answer("The counts.", Counts)},
            arguments=[
                DATE,
                Argument("story_id", "Only this story.", Number),
                Argument(
                    "limit",
                    f"Counts on a page ({COUNTS}).",
                    {"type": "integer", "minimum": 1, "maximum": MOST_COUNTS},
                ),
                Argument(
                    "cursor",
                    "The `cursor` of the previous page.",
                    {"type": "string", "pattern": f"^{CURSOR.pattern}$"},
                ),
            ],
            wrong={**NOBODY, 422: "An argument is wrong.", **BUSY},
        ),
        Operation(
            "GET",
            "/api/v1/dau/{public_token}",
            "Active users: of days, weeks or months, exactly",
            {200: Answer("One day, or a list if `days` is said.", OneDay | Days)},
            arguments=[
                DATE,
                Argument(
                    "days",
                    "So many days that end with `date`, as a list.",
                    {"type": "integer", "minimum": 1, "maximum": MOST_DAYS},
                ),
                Argument(
                    "span",
                    "Users of a day (1), or of the 7 or 30 days that end with it.",
                    {"type": "integer", "enum": list(SPANS)},
                ),
            ],
            wrong={**NOBODY, 422: "An argument is wrong.", **BUSY},
        ),
    ),
)
