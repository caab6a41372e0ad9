"""Events of trusted applications: ingest, search, export, replace, erase; rejected events."""

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
from store.sqlite.events.event_records import CURSOR_PATTERN, EventPage, LoggedEvent
from store.sqlite.events.rejected_event_queries import RejectedEventPage


class EventResult(msgspec.Struct, omit_defaults=True):
    """The outcome of one item of a batch."""

    status: Literal["accepted", "duplicate", "rejected", "refused"]
    id: str = ""
    errors: list[FieldError] = []


class IngestResponse(msgspec.Struct):
    """The outcomes of the items of a batch, in their order."""

    results: list[EventResult]


class ReplayResponse(msgspec.Struct):
    """The event that a replay stored or found."""

    id: str
    status: Literal["stored", "duplicate"]


class EventReplacement(EventPayload, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """A replacement of an event; members set by the server cannot change."""

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
    ApiParameter("session_id", "Session id."),
    ApiParameter("category", "Category."),
    ApiParameter("name", "Name."),
    ApiParameter("app", "App number; default: all apps for an `admin` token.", NonNegativeInt),
    ApiParameter(
        "source", "Source of the events.", {"type": "string", "enum": list(EVENT_SOURCES)}
    ),
    ApiParameter("from", "Earliest time or day, inclusive.", DATE_TIME_SCHEMA),
    ApiParameter("to", "Latest time or day, exclusive.", DATE_TIME_SCHEMA),
    ApiParameter(
        "order",
        "Oldest first (`asc`, the default) or newest first.",
        {"type": "string", "enum": ["asc", "desc"]},
    ),
)
EVENT_LINES_SCHEMA = {"type": "string", "description": "One event per line."}
LIMIT_PARAMETER = ApiParameter(
    "limit",
    f"Page size; default: {DEFAULT_PAGE_SIZE}.",
    {"type": "integer", "minimum": 1, "maximum": MAX_PAGE_SIZE},
)
EVENT_NOT_FOUND = {404: "Unknown event, or an event of another app."}
INVALID_PARAMETER = {422: "A parameter is invalid."}

EVENTS_RESOURCE = ApiResource(
    "Events",
    "Events sent by trusted applications. A response of 202 means that the event is on disk and "
    "survives a power failure.",
    (
        ApiOperation(
            "POST",
            "/api/v1/events",
            "Ingest one event, an array, or lines (NDJSON)",
            {
                202: ApiResponse(
                    "Stored. For an array or lines: one result per item.",
                    AcceptedResponse | IngestResponse,
                    example={"id": "7531444171945543680"},
                )
            },
            request_bodies=[
                ApiRequestBody(
                    EventPayload, EXAMPLE_SENT_EVENT, alternative_type=list[EventPayload]
                ),
                ApiRequestBody(
                    EVENT_LINES_SCHEMA,
                    msgspec.json.encode(EXAMPLE_SENT_EVENT).decode() + "\n",
                    NDJSON,
                ),
            ],
            scopes=["write"],
            errors={
                400: "The body is not valid JSON. It is stored as a rejected event.",
                409: "Another event has this `sender_id`; the stored one is unchanged.",
                413: "The body exceeds `max_body` (one event or an array: send lines instead) or "
                "`max_batch` (lines: send fewer at a time).",
                415: "Unsupported media type. The body is stored as a rejected event.",
                422: "The event is invalid (see `errors`). It is stored as a rejected event.",
                503: "The request, or each item with status `refused`, was not stored. Send it "
                "again after `Retry-After` seconds.",
            },
            description="`sender_id` is the sender's own id (UUIDv7 is best). It makes a retry "
            "idempotent: the event is stored once and the response is the same.",
            aliases=["/events"],
        ),
        ApiOperation(
            "GET",
            "/api/v1/events",
            "Search events",
            {
                200: ApiResponse(
                    "A page of events.",
                    EventPage,
                    example={"events": [EXAMPLE_LOGGED_EVENT], "cursor": None},
                )
            },
            parameters=[
                *FILTER_PARAMETERS,
                LIMIT_PARAMETER,
                ApiParameter(
                    "cursor",
                    "The `cursor` of the previous page; null marks the last page.",
                    {"type": "string", "pattern": f"^{CURSOR_PATTERN.pattern}$"},
                ),
            ],
            scopes=["read", "admin"],
            errors={**INVALID_PARAMETER, **STORE_BUSY_ERROR},
            description="Ordered by time of occurrence. An event is visible to requests sent after "
            "its 202.",
            aliases=["/events"],
        ),
        ApiOperation(
            "GET",
            "/api/v1/events/export",
            "Export events as a stream",
            {
                200: ApiResponse(
                    "NDJSON, or CSV with a header row.",
                    STRING_SCHEMA,
                    NDJSON,
                    alternative_media_type=CSV,
                )
            },
            parameters=[
                *FILTER_PARAMETERS,
                ApiParameter(
                    "format",
                    "`ndjson` (default) or `csv`.",
                    {"type": "string", "enum": ["ndjson", "csv"]},
                ),
            ],
            scopes=["read", "admin"],
            errors={**INVALID_PARAMETER, **STORE_BUSY_ERROR},
            aliases=["/events/export"],
        ),
        ApiOperation(
            "GET",
            "/api/v1/events/{id}",
            "Read an event",
            {200: ApiResponse("The event.", LoggedEvent, example=EXAMPLE_LOGGED_EVENT)},
            scopes=["read", "admin"],
            errors=EVENT_NOT_FOUND,
            aliases=["/events/{id}"],
        ),
        ApiOperation(
            "PUT",
            "/api/v1/events/{id}",
            "Replace an event",
            {200: ApiResponse("The new version of the event.", LoggedEvent)},
            request_bodies=[ApiRequestBody(EventReplacement, EXAMPLE_SENT_EVENT)],
            description="The body may be the event as returned by `GET`. `id`, `app`, `source` and "
            "`received_at` are optional and cannot change.",
            scopes=["write", "admin"],
            errors={
                400: "The body is not JSON.",
                409: "The event cannot be replaced, or another event has its `sender_id`.",
                413: "The body is too large.",
                422: "The event is invalid.",
                **EVENT_NOT_FOUND,
                **LOG_FULL_ERROR,
            },
            aliases=["/events/{id}"],
        ),
        ApiOperation(
            "DELETE",
            "/api/v1/events/{id}",
            "Delete an event",
            {204: ApiResponse("Erased from the database files.")},
            scopes=["write", "admin"],
            errors={**EVENT_NOT_FOUND, **STORE_BUSY_ERROR},
            aliases=["/events/{id}"],
        ),
        ApiOperation(
            "DELETE",
            "/api/v1/events",
            "Erase a session",
            {200: ApiResponse("Erased from the database files.", ErasureResult)},
            parameters=[
                ApiParameter(
                    "session_id",
                    "The session to erase.",
                    {"type": "string", "minLength": 1},
                    required=True,
                    example=EXAMPLE_SENT_EVENT["session_id"],
                ),
                ApiParameter("app", "Only in this app.", NonNegativeInt),
            ],
            scopes=["write", "admin"],
            errors={**INVALID_PARAMETER, **STORE_BUSY_ERROR},
            description="Stats that counted its events are unchanged.",
            aliases=["/events"],
        ),
    ),
)
REJECTED_EVENTS_RESOURCE = ApiResource(
    "Rejected events",
    "Invalid events are stored as received, with their validation errors.",
    (
        ApiOperation(
            "GET",
            "/api/v1/rejected-events",
            "List rejected events, newest first",
            {
                200: ApiResponse(
                    "A page of rejected events; a body that is not UTF-8 is in base64.",
                    RejectedEventPage,
                )
            },
            parameters=[
                *(each for each in FILTER_PARAMETERS if each.name in ("app", "from", "to")),
                LIMIT_PARAMETER,
                ApiParameter("cursor", "The `cursor` of the previous page.", NonNegativeInt),
            ],
            scopes=["read", "admin"],
            errors=INVALID_PARAMETER,
            aliases=["/rejected-events"],
        ),
        ApiOperation(
            "POST",
            "/api/v1/rejected-events/{id}/replay",
            "Replay a rejected event against the current schemas",
            {200: ApiResponse("Stored as an event.", ReplayResponse)},
            scopes=["write", "admin"],
            errors={
                404: "Unknown rejected event.",
                409: "Another event has this `sender_id`.",
                422: "The event is still invalid.",
                **LOG_FULL_ERROR,
            },
            aliases=["/rejected-events/{id}/replay"],
        ),
    ),
)
