"""Audience: which pages of a host are gaining visitors right now."""

import msgspec

from handlers.audience import Told
from handlers.docs.operations import (
    HTML,
    KEY,
    KEYS,
    PLACES,
    STREAM,
    TEXT,
    TEXT_BODY,
    Answer,
    Argument,
    Body,
    Moment,
    Operation,
    Resource,
)
from handlers.docs.stories import preflight
from handlers.increasing import Gain
from handlers.toppages import LIMIT as TOLD
from handlers.watching import LIMIT, MOST
from rules.beacon import Sign
from rules.history import LONGEST, SHORTEST, WINDOW
from rules.toppages import PAGES


class Rising(msgspec.Struct):
    """A host's pages: what gains, most surprising first; what loses; then the largest."""

    host: str
    window: int
    as_of: str
    age: float
    stale: bool
    pages: list[Told]


class Minute(msgspec.Struct):
    """The average of a minute."""

    minute: str
    visitors: float


class History(msgspec.Struct):
    """A page's minutes, the oldest first."""

    host: str
    path: str
    minutes: list[Minute]


class Visited(msgspec.Struct):
    """A page and its visitors; `i` is its title."""

    i: str
    path: str
    visitors: int


class People(msgspec.Struct):
    """Those who are there."""

    people: int


class VisitedPage(msgspec.Struct):
    """A page and its visitors."""

    path: str
    title: str
    stats: People


class VisitedPages(msgspec.Struct):
    """A host's pages."""

    pages: list[VisitedPage]


IN_QUERY = ("apikey",)
HOST = Argument(
    "host",
    "A host that the app lists.",
    {"type": "string", "minLength": 1},
    required=True,
    example="played.example",
)
HOW = (
    Argument(
        "window",
        f"Seconds back from which a change is counted; {WINDOW} if not said.",
        {"type": "integer", "minimum": SHORTEST, "maximum": LONGEST},
    ),
    Argument(
        "limit",
        f"So many pages; {LIMIT} if not said.",
        {"type": "integer", "minimum": 1, "maximum": MOST},
    ),
)
UNKNOWN = {400: "The key or the host is not known.", 401: "There is no key, or no host."}
AWAY = {503: "There is no reading of this host: try again after `Retry-After` seconds."}
WRONG = {
    **UNKNOWN,
    422: "An argument is wrong.",
    429: "Too many windows of this host were requested: try again after `Retry-After` seconds.",
    **AWAY,
}
TOP = Argument(
    "limit",
    f"So many pages; {TOLD} if not said.",
    {"type": "integer", "minimum": 1, "maximum": PAGES},
)
RESOURCE = Resource(
    "Audience",
    "Which pages gain visitors, by this server's own pageviews or by another's.",
    (
        Operation(
            "GET",
            "/api/v1.0/increasingconcurrents",
            "Pages with more visitors than five seconds ago",
            {200: Answer("The pages, most first.", list[Gain], headers={"Age": "In seconds."})},
            arguments=[HOST],
            keys=IN_QUERY,
            wrong={**UNKNOWN, **AWAY},
        ),
        Operation(
            "GET",
            "/api/v1/audience/{host}/rising",
            "Which pages rise",
            {200: Answer("The pages, with how surprising each is for its size.", Rising)},
            arguments=HOW,
            keys=IN_QUERY,
            wrong=WRONG,
        ),
        Operation(
            "GET",
            "/api/v1/audience/{host}/history",
            "A page's visitors, minute by minute",
            {200: Answer("Averages of minutes.", History)},
            keys=IN_QUERY,
            arguments=[
                Argument(
                    "path", "The page.", {"type": "string", "minLength": 1}, True, example="/"
                ),
                Argument("from", "Three hours before `to` if not said, 32 days at most.", Moment),
                Argument("to", "Now, if not said.", Moment),
            ],
            wrong=WRONG,
        ),
        Operation(
            "GET",
            "/api/v1/audience/{host}/stream",
            "Which pages rise, as they do",
            {200: Answer("The list of `rising` with each reading.", TEXT_BODY, STREAM)},
            arguments=HOW,
            keys=IN_QUERY,
            wrong=WRONG,
            words="Server-sent events; `Last-Event-ID` goes on where it was.",
        ),
        Operation(
            "GET",
            "/live/{host}",
            "The same as a page for people",
            {200: Answer("The page.", TEXT_BODY, HTML)},
            keys=IN_QUERY,
            wrong={**UNKNOWN, **AWAY},
            for_people=True,
        ),
        Operation(
            "GET",
            "/live/{host}/stream",
            "What that page shows with each reading",
            {200: Answer("A part of the page with each reading.", TEXT_BODY, STREAM)},
            keys=IN_QUERY,
            wrong={**UNKNOWN, **AWAY},
            for_people=True,
        ),
        Operation(
            "GET",
            "/live/toppages",
            "This server's pages by visitors, for others to read",
            {200: Answer("The pages, most visitors first.", list[Visited])},
            arguments=[HOST, TOP],
            keys=tuple(KEYS),
            wrong=UNKNOWN,
        ),
        Operation(
            "GET",
            "/live/toppages/v3",
            "The same in the form of version 3",
            {200: Answer("The pages, most visitors first.", VisitedPages)},
            arguments=[HOST, TOP],
            keys=tuple(KEYS),
            wrong=UNKNOWN,
        ),
        Operation(
            "GET",
            "/static/beacon.js",
            "The script that tells of visitors",
            {
                200: Answer("The script.", TEXT_BODY, "text/javascript"),
                304: Answer("What you have (`If-None-Match`) is the same."),
            },
        ),
        Operation(
            "POST",
            "/api/v1/beacon/{public_token}",
            "What that script sends",
            {204: Answer("A pageview is on disk; a heartbeat is remembered.")},
            arguments=[PLACES["public_token"]._replace(where="path", example=KEY)],
            bodies=[
                Body(
                    Sign,
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
        preflight("/api/v1/beacon/{public_token}"),
    ),
)
