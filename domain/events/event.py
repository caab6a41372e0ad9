"""Event validation, and the event row that a valid event becomes in the log."""

import hashlib
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, TypeAlias

import msgspec
from msgspec import Meta

from domain.common.strict_json import (
    DIGITS_TO_ZERO,
    LONG_NUMBER,
    MAX_JSON_DEPTH,
    InvalidJson,
    decode_json,
)
from domain.common.timestamp import InvalidTimestamp, micros_from_datetime, parse_timestamp
from domain.common.validation_errors import FieldError, json_pointer
from domain.events.schema_registry import AppSchemas

# Kinds of rows in the event log, by the number stored.
EVENT_SOURCES = {"app": 1, "story": 2, "click": 3, "conversion": 4, "pageview": 5}
APP_SOURCE, CLICK_SOURCE, CONVERSION_SOURCE = (
    EVENT_SOURCES["app"],
    EVENT_SOURCES["click"],
    EVENT_SOURCES["conversion"],
)
# Maximum time by which a client's clock may be ahead.
MAX_CLOCK_SKEW_MICROS = 60_000_000
# Maximum size of an event on the fast path; bounds the cost of a hostile event.
FAST_PATH_MAX_BYTES = 16_384
# Quotation marks in an event's JSON outside `data`, and of the optional `sender_id`.
EVENT_QUOTE_COUNT, SENDER_ID_QUOTE_COUNT = 18, 4
# Integers: searching bytes for an integer is faster than for a bytes object (`in`: 10 times).
QUOTE, BRACE, BACKSLASH = b'"{\\'
# Maps digits as domain/common/strict_json.py does, and "[" to "{", so that one count suffices.
DIGITS_AND_BRACES_TABLE = DIGITS_TO_ZERO.replace(b"[", b"{")
MAX_EVENT_ERRORS = 20

# source, app, session, user, category, name, at, sender, digest, data
EventRow: TypeAlias = tuple[
    int, int, str | None, int | None, str, str, int, str | None, bytes | None, str | None
]
SessionId = Annotated[str, Meta(min_length=1, max_length=200)]
EventTypeWord = Annotated[str, Meta(min_length=1, max_length=100)]
MAX_LENGTHS = {"session_id": 200, "category": 100, "name": 100, "sender_id": 200}
REQUIRED_MEMBERS = ("session_id", "category", "name", "data", "timestamp")


class EventPayload(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """An event as it is sent."""

    session_id: SessionId
    category: EventTypeWord
    name: EventTypeWord
    data: dict[str, Any]
    timestamp: datetime
    sender_id: SessionId | None = None


class InvalidEvent(ValueError):
    """A rejected event; `faults` lists its validation errors.

    `malformed` is true if the body is not valid JSON.
    """

    def __init__(self, faults: list[FieldError], *, malformed: bool = False) -> None:
        super().__init__()
        self.faults = faults
        self.malformed = malformed


_decode_event = msgspec.json.Decoder(EventPayload).decode
_encode_json = msgspec.json.Encoder().encode
_encode_canonical = msgspec.json.Encoder(order="deterministic").encode


def parse_event(body: bytes, now: int, schemas: AppSchemas) -> EventRow:
    """Return the row of the event in `body`, received at `now` (µs); raise `InvalidEvent`.

    `schemas` are those that apply to the sending app.
    """
    if len(body) > FAST_PATH_MAX_BYTES or BACKSLASH in body:
        return _parse_event_slowly(body, now, schemas)
    try:
        event = _decode_event(body)
        at = micros_from_datetime(event.timestamp)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, InvalidTimestamp):
        return _parse_event_slowly(body, now, schemas)
    category, name, data, sender = event.category, event.name, event.data, event.sender_id
    text = _encode_json(data)
    plain = text.translate(DIGITS_AND_BRACES_TABLE)
    quotes = EVENT_QUOTE_COUNT if sender is None else EVENT_QUOTE_COUNT + SENDER_ID_QUOTE_COUNT
    # The checks of domain/common/strict_json.py, applied to `data` only; no string has escapes.
    if (
        body.count(QUOTE) != text.count(QUOTE) + quotes
        or plain.count(BRACE) >= MAX_JSON_DEPTH
        or LONG_NUMBER in plain
        or at > now + MAX_CLOCK_SKEW_MICROS
        or not schemas.takes(category, name, data)
    ):
        return _parse_event_slowly(body, now, schemas)
    digest = None if sender is None else _event_digest(event.session_id, category, name, at, data)
    session, json_data = event.session_id, text.decode()
    return (APP_SOURCE, schemas.app, session, None, category, name, at, sender, digest, json_data)


def remove_server_members(body: bytes, given: Mapping[str, Any]) -> bytes:
    """Remove the members that the server set; raise `InvalidEvent` if the client changed one.

    This lets a client send an event back as it was returned.
    """
    try:
        value = decode_json(body)
    except InvalidJson as error:
        raise InvalidEvent([error.fault], malformed=True) from None
    if not isinstance(value, dict) or not given.keys() & value.keys():
        return body
    faults = [
        FieldError(f"/{name}", f"is set by the server and must be {_encode_json(part).decode()}")
        for name, part in given.items()
        if name in value and value[name] != part
    ]
    if faults:
        raise InvalidEvent(faults)
    return _encode_json({name: part for name, part in value.items() if name not in given})


def _parse_event_slowly(body: bytes, now: int, schemas: AppSchemas) -> EventRow:
    """Parse like `parse_event`, but report every validation error."""
    try:
        value = decode_json(body)
    except InvalidJson as error:
        raise InvalidEvent([error.fault], malformed=True) from None
    if not isinstance(value, dict):
        raise InvalidEvent([FieldError("", "is not an object")])
    faults = [
        FieldError(f"/{name}", "is missing") for name in REQUIRED_MEMBERS if name not in value
    ]
    at = 0
    for name, part in value.items():
        if name in MAX_LENGTHS:
            faults += _text_errors(name, part)
        elif name == "data":
            if not isinstance(part, dict):
                faults.append(FieldError("/data", "is not an object"))
        elif name == "timestamp":
            try:
                at = _parse_event_time(part, now)
            except InvalidTimestamp as error:
                faults.append(FieldError("/timestamp", str(error)))
        else:
            faults.append(FieldError(json_pointer([name]), "is not known here"))
            if len(faults) >= MAX_EVENT_ERRORS:
                break
    category, name, data = value.get("category"), value.get("name"), value.get("data")
    if isinstance(category, str) and isinstance(name, str) and isinstance(data, dict):
        faults += schemas.faults(category, name, data)
    if faults:
        raise InvalidEvent(faults[:MAX_EVENT_ERRORS])
    session, sender = value["session_id"], value.get("sender_id")
    assert isinstance(category, str) and isinstance(name, str)
    digest = None if sender is None else _event_digest(session, category, name, at, data)
    text = _encode_json(data).decode()
    return (APP_SOURCE, schemas.app, session, None, category, name, at, sender, digest, text)


def _event_digest(session: str, category: str, name: str, at: int, data: Any) -> bytes:
    # Independent of member order and timestamp notation, so that a client that retries need not
    # send identical bytes.
    return hashlib.sha256(_encode_canonical((session, category, name, at, data))).digest()


def _text_errors(name: str, part: Any) -> list[FieldError]:
    if name == "sender_id" and part is None:
        return []
    if not isinstance(part, str):
        return [FieldError(f"/{name}", "is not a string")]
    if not 1 <= len(part) <= MAX_LENGTHS[name]:
        return [
            FieldError(
                f"/{name}", f"has {len(part)} characters instead of 1 to {MAX_LENGTHS[name]}"
            )
        ]
    return []


def _parse_event_time(part: Any, now: int) -> int:
    if not isinstance(part, str):
        raise InvalidTimestamp("is not a string")
    at = parse_timestamp(part)
    if at > now + MAX_CLOCK_SKEW_MICROS:
        raise InvalidTimestamp("is more than a minute in the future")
    return at
