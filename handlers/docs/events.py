"""Events: taken from trusted applications, asked for, changed, forgotten; and the rejected ones."""

from datetime import datetime
from typing import Literal

import msgspec

from handlers.asking import LIMIT, MOST
from handlers.docs.banners import Accepted
from handlers.docs.operations import (
    BUSY,
    CSV,
    FULL,
    LINES,
    TEXT_BODY,
    Answer,
    Argument,
    Body,
    Moment,
    Number,
    Operation,
    Resource,
)
from rules.event import SOURCES, Event
from rules.faults import Fault
from store.changes import Forgotten
from store.event_rejects import Rejects
from store.events import CURSOR, LoggedEvent, Page


class Result(msgspec.Struct, omit_defaults=True):
    """What became of an item of a batch."""

    status: Literal["accepted", "duplicate", "rejected", "refused"]
    id: str = ""
    errors: list[Fault] = []


class Results(msgspec.Struct):
    """What became of the items, in their order."""

    results: list[Result]


class Replayed(msgspec.Struct):
    """What became of a rejected event."""

    id: str
    status: Literal["stored", "duplicate"]


class ChangedEvent(Event, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """A replacement of an event; members that the server set cannot change."""

    id: str = ""
    app: int = 0
    source: Literal["app"] = "app"
    received_at: datetime | None = None


SENT = {
    "session_id": "e2085be5-9137-4e4e-80b5-f1ffddc25423",
    "category": "page interaction",
    "name": "cta click",
    "data": {"host": "www.consumeraffairs.com", "path": "/", "element": "chat bubble"},
    "timestamp": "2021-01-01 09:15:27.243860",
}
EVENT = {
    "id": "7531444171945543680",
    "sender_id": None,
    "app": 1,
    "source": "app",
    **{name: SENT[name] for name in ("session_id", "category", "name", "data")},
    "timestamp": "2021-01-01T09:15:27.243860Z",
    "received_at": "2021-01-01T09:15:27.301112Z",
}
FILTER = (
    Argument("session_id", "Of this session."),
    Argument("category", "Of this category."),
    Argument("name", "Of this name."),
    Argument("app", "Of this app; with `admin`, of all apps if not said.", Number),
    Argument("source", "What they tell of.", {"type": "string", "enum": list(SOURCES)}),
    Argument("from", "That happened then or later: a moment or a day.", Moment),
    Argument("to", "That happened before.", Moment),
    Argument("order", "Oldest first or newest first.", {"type": "string", "enum": ["asc", "desc"]}),
)
EACH_LINE = {"type": "string", "description": "One `Event` a line."}
HOW_MANY = Argument(
    "limit",
    f"So many; {LIMIT} if not said.",
    {"type": "integer", "minimum": 1, "maximum": MOST},
)
GONE = {404: "There is no such event, or it is another app's."}
ARGUMENTS = {422: "An argument is wrong."}

EVENTS = Resource(
    "Events",
    "What visitors did, told by trusted applications. 202 means that it is on disk, and would "
    "survive a power cut.",
    (
        Operation(
            "POST",
            "/api/v1/events",
            "Take events: one, an array, or lines (NDJSON)",
            {
                202: Answer(
                    "It is on disk. Of an array or lines: each item has its result.",
                    Accepted | Results,
                    example={"id": "7531444171945543680"},
                )
            },
            bodies=[
                Body(Event, SENT, also=list[Event]),
                Body(EACH_LINE, msgspec.json.encode(SENT).decode() + "\n", LINES),
            ],
            scopes=["write"],
            wrong={
                400: "The body is not JSON as it is read here; it is kept among the rejected.",
                409: "Another event came with this `sender_id`; the first one stays.",
                413: "The body exceeds `max_body` (one event or an array: send lines instead) or "
                "`max_batch` (lines: send fewer at a time).",
                415: "The body is of another type; it is kept among the rejected.",
                422: "The event is wrong, as `errors` say; it is kept among the rejected.",
                503: "Nothing was stored of what it is said of (all, or the items `refused`): "
                "send it again after `Retry-After` seconds.",
            },
            words="With `sender_id`, the sender's own id (UUIDv7 is best), an event may be sent "
            "again: it is stored once, and answered as the first time.",
            also=["/events"],
        ),
        Operation(
            "GET",
            "/api/v1/events",
            "Find events",
            {200: Answer("A page of them.", Page, example={"events": [EVENT], "cursor": None})},
            arguments=[
                *FILTER,
                HOW_MANY,
                Argument(
                    "cursor",
                    "The `cursor` of the page before; null was the last.",
                    {"type": "string", "pattern": f"^{CURSOR.pattern}$"},
                ),
            ],
            scopes=["read", "admin"],
            wrong={**ARGUMENTS, **BUSY},
            words="In order of occurrence. What was answered 202 is found by the next request.",
            also=["/events"],
        ),
        Operation(
            "GET",
            "/api/v1/events/export",
            "All events that are asked for, as a stream",
            {200: Answer("Lines of JSON, or of CSV with a head.", TEXT_BODY, LINES, also=CSV)},
            arguments=[
                *FILTER,
                Argument(
                    "format",
                    "Lines of JSON (`ndjson`, if not said) or `csv`.",
                    {"type": "string", "enum": ["ndjson", "csv"]},
                ),
            ],
            scopes=["read", "admin"],
            wrong={**ARGUMENTS, **BUSY},
            also=["/events/export"],
        ),
        Operation(
            "GET",
            "/api/v1/events/{id}",
            "One event",
            {200: Answer("The event.", LoggedEvent, example=EVENT)},
            scopes=["read", "admin"],
            wrong=GONE,
            also=["/events/{id}"],
        ),
        Operation(
            "PUT",
            "/api/v1/events/{id}",
            "Another event in its place",
            {200: Answer("The event as it is now.", LoggedEvent)},
            bodies=[Body(ChangedEvent, SENT)],
            words="The body may be the event as returned by `GET`. `id`, `app`, `source` and "
            "`received_at` are optional and cannot change.",
            scopes=["write", "admin"],
            wrong={
                400: "The body is not JSON.",
                409: "It is of a kind that is not replaced, or its `sender_id` is another's.",
                413: "The body is larger than is taken.",
                422: "The event is wrong.",
                **GONE,
                **FULL,
            },
            also=["/events/{id}"],
        ),
        Operation(
            "DELETE",
            "/api/v1/events/{id}",
            "Delete an event",
            {204: Answer("No byte of it is left in the files.")},
            scopes=["write", "admin"],
            wrong={**GONE, **BUSY},
            also=["/events/{id}"],
        ),
        Operation(
            "DELETE",
            "/api/v1/events",
            "Forget a session",
            {200: Answer("No byte of it is left in the files.", Forgotten)},
            arguments=[
                Argument(
                    "session_id",
                    "Who is to be forgotten.",
                    {"type": "string", "minLength": 1},
                    required=True,
                    example=SENT["session_id"],
                ),
                Argument("app", "In this app alone.", Number),
            ],
            scopes=["write", "admin"],
            wrong={**ARGUMENTS, **BUSY},
            words="Figures that counted its events stay as they were.",
            also=["/events"],
        ),
    ),
)
REJECTED = Resource(
    "Rejected events",
    "What came and was wrong is kept as it came, with what is wrong with it.",
    (
        Operation(
            "GET",
            "/api/v1/events/rejected",
            "List them, newest first",
            {200: Answer("A page of them; bodies that are no UTF-8 are in base64.", Rejects)},
            arguments=[
                *(each for each in FILTER if each.name in ("app", "from", "to")),
                HOW_MANY,
                Argument("cursor", "The `cursor` of the page before.", Number),
            ],
            scopes=["read", "admin"],
            wrong=ARGUMENTS,
            also=["/events/rejected"],
        ),
        Operation(
            "POST",
            "/api/v1/events/rejected/{id}/replay",
            "Take one now, by the rules as they are now",
            {200: Answer("It is an event now.", Replayed)},
            scopes=["write", "admin"],
            wrong={
                404: "There is no such reject.",
                409: "Another event came with this `sender_id`.",
                422: "It is still wrong.",
                **FULL,
            },
            also=["/events/rejected/{id}/replay"],
        ),
    ),
)
