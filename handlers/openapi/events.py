"""Events: taken from trusted applications, asked for, changed, forgotten; and the rejected ones."""

from datetime import datetime
from typing import Literal

import msgspec

from domain.common.validation_errors import FieldError
from domain.events.event import EVENT_SOURCES, EventPayload
from handlers.common.api_handler import DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE
from handlers.openapi.banners import AcceptedResponse
from handlers.openapi.operation import (
    CSV,
    DATE_TIME_SCHEMA,
    LOG_FULL_ERROR,
    NDJSON,
    STORE_BUSY_ERROR,
    STRING_SCHEMA,
    ApiOperation,
    ApiParameter,
    ApiRequestBody,
    ApiResource,
    ApiResponse,
    NonNegativeInt,
)
from store.sqlite.events.event_mutations import ErasureResult
from store.sqlite.events.event_queries import CURSOR_PATTERN, EventPage, LoggedEvent
from store.sqlite.events.rejected_event_queries import RejectedEventPage


class EventResult(msgspec.Struct, omit_defaults=True):
    """What became of an item of a batch."""

    status: Literal["accepted", "duplicate", "rejected", "refused"]
    id: str = ""
    errors: list[FieldError] = []


class IngestResponse(msgspec.Struct):
    """What became of the items, in their order."""

    results: list[EventResult]


class ReplayResponse(msgspec.Struct):
    """What became of a rejected event."""

    id: str
    status: Literal["stored", "duplicate"]


class EventReplacement(EventPayload, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """A replacement of an event; members that the server set cannot change."""

    id: str = ""
    app: int = 0
    source: Literal["app"] = "app"
    received_at: datetime | None = None


EXAMPLE_SENT_EVENT = {
    "session_id": "e2085be5-9137-4e4e-80b5-f1ffddc25423",
    "category": "page interaction",
    "name": "cta click",
    "data": {"host": "www.consumeraffairs.com", "path": "/", "element": "chat bubble"},
    "timestamp": "2021-01-01 09:15:27.243860",
}
EXAMPLE_LOGGED_EVENT = {
    "id": "7531444171945543680",
    "sender_id": None,
    "app": 1,
    "source": "app",
    **{name: EXAMPLE_SENT_EVENT[name] for name in ("session_id", "category", "name", "data")},
    "timestamp": "2021-01-01T09:15:27.243860Z",
    "received_at": "2021-01-01T09:15:27.301112Z",
}
FILTER_PARAMETERS = (
    ApiParameter("session_id", "Of this session."),
    ApiParameter("category", "Of this category."),
    ApiParameter("name", "Of this name."),
    ApiParameter("app", "Of this app; with `admin`, of all apps if not said.", NonNegativeInt),
    ApiParameter("source", "What they tell of.", {"type": "string", "enum": list(EVENT_SOURCES)}),
    ApiParameter("from", "That happened then or later: a moment or a day.", DATE_TIME_SCHEMA),
    ApiParameter("to", "That happened before.", DATE_TIME_SCHEMA),
    ApiParameter(
        "order", "Oldest first or newest first.", {"type": "string", "enum": ["asc", "desc"]}
    ),
)
EVENT_LINES_SCHEMA = {"type": "string", "description": "One `Event` a line."}
LIMIT_PARAMETER = ApiParameter(
    "limit",
    f"So many; {DEFAULT_PAGE_SIZE} if not said.",
    {"type": "integer", "minimum": 1, "maximum": MAX_PAGE_SIZE},
)
EVENT_NOT_FOUND = {404: "There is no such event, or it is another app's."}
INVALID_PARAMETER = {422: "An argument is wrong."}

EVENTS_RESOURCE = ApiResource(
    "Events",
    "What visitors did, told by trusted applications. 202 means that it is on disk, and would "
    "survive a power cut.",
    (
        ApiOperation(
            "POST",
            "/api/v1/events",
            "Take events: one, an array, or lines (NDJSON)",
            {
                202: ApiResponse(
                    "It is on disk. Of an array or lines: each item has its result.",
                    AcceptedResponse | IngestResponse,
                    example={"id": "7531444171945543680"},
                )
            },
            bodies=[
                ApiRequestBody(EventPayload, EXAMPLE_SENT_EVENT, also=list[EventPayload]),
                ApiRequestBody(
                    EVENT_LINES_SCHEMA,
                    msgspec.json.encode(EXAMPLE_SENT_EVENT).decode() + "\n",
                    NDJSON,
                ),
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
        ApiOperation(
            "GET",
            "/api/v1/events",
            "Find events",
            {
                200: ApiResponse(
                    "A page of them.",
                    EventPage,
                    example={"events": [EXAMPLE_LOGGED_EVENT], "cursor": None},
                )
            },
            arguments=[
                *FILTER_PARAMETERS,
                LIMIT_PARAMETER,
                ApiParameter(
                    "cursor",
                    "The `cursor` of the page before; null was the last.",
                    {"type": "string", "pattern": f"^{CURSOR_PATTERN.pattern}$"},
                ),
            ],
            scopes=["read", "admin"],
            wrong={**INVALID_PARAMETER, **STORE_BUSY_ERROR},
            words="In order of occurrence. What was answered 202 is found by the next request.",
            also=["/events"],
        ),
        ApiOperation(
            "GET",
            "/api/v1/events/export",
            "All events that are asked for, as a stream",
            {
                200: ApiResponse(
                    "Lines of JSON, or of CSV with a head.", STRING_SCHEMA, NDJSON, also=CSV
                )
            },
            arguments=[
                *FILTER_PARAMETERS,
                ApiParameter(
                    "format",
                    "Lines of JSON (`ndjson`, if not said) or `csv`.",
                    {"type": "string", "enum": ["ndjson", "csv"]},
                ),
            ],
            scopes=["read", "admin"],
            wrong={**INVALID_PARAMETER, **STORE_BUSY_ERROR},
            also=["/events/export"],
        ),
        ApiOperation(
            "GET",
            "/api/v1/events/{id}",
            "One event",
            {200: ApiResponse("The event.", LoggedEvent, example=EXAMPLE_LOGGED_EVENT)},
            scopes=["read", "admin"],
            wrong=EVENT_NOT_FOUND,
            also=["/events/{id}"],
        ),
        ApiOperation(
            "PUT",
            "/api/v1/events/{id}",
            "Another event in its place",
            {200: ApiResponse("The event as it is now.", LoggedEvent)},
            bodies=[ApiRequestBody(EventReplacement, EXAMPLE_SENT_EVENT)],
            words="The body may be the event as returned by `GET`. `id`, `app`, `source` and "
            "`received_at` are optional and cannot change.",
            scopes=["write", "admin"],
            wrong={
                400: "The body is not JSON.",
                409: "It is of a kind that is not replaced, or its `sender_id` is another's.",
                413: "The body is larger than is taken.",
                422: "The event is wrong.",
                **EVENT_NOT_FOUND,
                **LOG_FULL_ERROR,
            },
            also=["/events/{id}"],
        ),
        ApiOperation(
            "DELETE",
            "/api/v1/events/{id}",
            "Delete an event",
            {204: ApiResponse("No byte of it is left in the files.")},
            scopes=["write", "admin"],
            wrong={**EVENT_NOT_FOUND, **STORE_BUSY_ERROR},
            also=["/events/{id}"],
        ),
        ApiOperation(
            "DELETE",
            "/api/v1/events",
            "Forget a session",
            {200: ApiResponse("No byte of it is left in the files.", ErasureResult)},
            arguments=[
                ApiParameter(
                    "session_id",
                    "Who is to be forgotten.",
                    {"type": "string", "minLength": 1},
                    required=True,
                    example=EXAMPLE_SENT_EVENT["session_id"],
                ),
                ApiParameter("app", "In this app alone.", NonNegativeInt),
            ],
            scopes=["write", "admin"],
            wrong={**INVALID_PARAMETER, **STORE_BUSY_ERROR},
            words="Figures that counted its events stay as they were.",
            also=["/events"],
        ),
    ),
)
REJECTED_EVENTS_RESOURCE = ApiResource(
    "Rejected events",
    "What came and was wrong is kept as it came, with what is wrong with it.",
    (
        ApiOperation(
            "GET",
            "/api/v1/events/rejected",
            "List them, newest first",
            {
                200: ApiResponse(
                    "A page of them; bodies that are no UTF-8 are in base64.", RejectedEventPage
                )
            },
            arguments=[
                *(each for each in FILTER_PARAMETERS if each.name in ("app", "from", "to")),
                LIMIT_PARAMETER,
                ApiParameter("cursor", "The `cursor` of the page before.", NonNegativeInt),
            ],
            scopes=["read", "admin"],
            wrong=INVALID_PARAMETER,
            also=["/events/rejected"],
        ),
        ApiOperation(
            "POST",
            "/api/v1/events/rejected/{id}/replay",
            "Take one now, by the rules as they are now",
            {200: ApiResponse("It is an event now.", ReplayResponse)},
            scopes=["write", "admin"],
            wrong={
                404: "There is no such reject.",
                409: "Another event came with this `sender_id`.",
                422: "It is still wrong.",
                **LOG_FULL_ERROR,
            },
            also=["/events/rejected/{id}/replay"],
        ),
    ),
)
