"""Parse and validate story events, and convert them to rows of the event log."""

import hashlib
from datetime import datetime
from typing import Annotated, Any, NamedTuple

import msgspec
from msgspec import Meta

from domain.common.strict_json import InvalidJson, decode_json
from domain.common.timestamp import InvalidTimestamp, micros_from_datetime, parse_timestamp
from domain.common.validation_errors import FieldError, json_pointer
from domain.events.event import EVENT_SOURCES, MAX_CLOCK_SKEW_MICROS, EventRow, InvalidEvent

STORY_SOURCE, STORY_CATEGORY = EVENT_SOURCES["story"], "story"
MIN_INT64, MAX_INT64 = -(2**63), 2**63 - 1
MAX_TYPE_LENGTH, MAX_USER_LENGTH = 50, 200
STORY_EVENT_MEMBERS = ("story_id", "event_type", "user_id", "timestamp")
MAX_STORY_EVENT_ERRORS = 20
# Quotes of an event that has only the required members; quotes that an optional string adds.
REQUIRED_QUOTE_COUNT, OPTIONAL_QUOTE_COUNT = 6, 4


class StoryEventPayload(msgspec.Struct, forbid_unknown_fields=True):
    """An event as it is sent."""

    story_id: Annotated[int, Meta(ge=0, le=MAX_INT64)]
    event_type: Annotated[str, Meta(min_length=1, max_length=MAX_TYPE_LENGTH)]
    user_id: (
        Annotated[str, Meta(min_length=1, max_length=MAX_USER_LENGTH)]
        | Annotated[int, Meta(ge=MIN_INT64, le=MAX_INT64)]
        | None
    ) = None
    timestamp: datetime | None = None


class StoryEvent(NamedTuple):
    """A story event; `user` is the app's own user id, `at` is in µs since 1970.

    Numeric user ids become decimal strings: 1 and "1" are the same user.
    """

    story: int
    type: str
    user: str | None
    at: int


_decode_story_event = msgspec.json.Decoder(StoryEventPayload).decode


def parse_story_event(body: bytes, now: int) -> StoryEvent:
    """Return the event of a body received at `now` (µs). Raises `InvalidEvent`."""
    if b"\\" in body:
        return _parse_slowly(body, now)
    try:
        payload = _decode_story_event(body)
        at = now if payload.timestamp is None else micros_from_datetime(payload.timestamp)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, InvalidTimestamp):
        return _parse_slowly(body, now)
    user = payload.user_id
    optional_count = (user is not None) + (payload.timestamp is not None)
    quotes = REQUIRED_QUOTE_COUNT + optional_count * OPTIONAL_QUOTE_COUNT
    if isinstance(user, int):
        user = str(user)
        quotes -= 2  # a number has no quotes
    # Without escapes, the number of quotes reveals a duplicate member.
    if (
        body.count(b'"') != quotes
        or not _is_valid_type(payload.event_type)
        or at > now + MAX_CLOCK_SKEW_MICROS
    ):
        return _parse_slowly(body, now)
    return StoryEvent(payload.story_id, payload.event_type, user, at)


def story_event_row(event: StoryEvent, app: int, user: int | None) -> EventRow:
    """Return the log row of an app's story event; `user` is a value of `user_pseudonym`."""
    _, kind, _, at = event
    data = f'{{"story_id":{event.story}}}'
    return (STORY_SOURCE, app, None, user, STORY_CATEGORY, kind, at, None, None, data)


def user_pseudonym(salt: bytes, app: int, user: str) -> int:
    """Return a 64-bit keyed hash of a user; nobody can link it to the user without the salt."""
    hashed = hashlib.blake2b(user.encode(), digest_size=8, key=salt, person=app.to_bytes(8))
    return int.from_bytes(hashed.digest(), "big", signed=True)


def _parse_slowly(body: bytes, now: int) -> StoryEvent:
    """Parse the event member by member, to report up to `MAX_STORY_EVENT_ERRORS` errors."""
    try:
        value = decode_json(body)
    except InvalidJson as error:
        raise InvalidEvent([error.fault], malformed=True) from None
    if not isinstance(value, dict):
        raise InvalidEvent([FieldError("", "is not an object")])
    faults = [
        FieldError(f"/{name}", "is missing")
        for name in STORY_EVENT_MEMBERS[:2]
        if name not in value
    ]
    at = now
    for name, part in value.items():
        message = None
        if name == "story_id":
            if isinstance(part, bool) or not isinstance(part, int) or not 0 <= part <= MAX_INT64:
                message = "is not the id of a story"
        elif name == "event_type":
            if not isinstance(part, str) or len(part) > MAX_TYPE_LENGTH or not _is_valid_type(part):
                message = f"is not a word of 1 to {MAX_TYPE_LENGTH} characters"
        elif name == "user_id":
            if part is not None and not _is_valid_user(part):
                message = f"must be a string of 1 to {MAX_USER_LENGTH} characters or a whole number"
        elif name == "timestamp":
            try:
                at = now if part is None else _parse_event_time(part, now)
            except InvalidTimestamp as error:
                message = str(error)
        else:
            message = "is not known here"
        if message is not None:
            faults.append(FieldError(json_pointer([name]), message))
        if len(faults) >= MAX_STORY_EVENT_ERRORS:
            break
    if faults:
        raise InvalidEvent(faults)
    user = value.get("user_id")
    return StoryEvent(
        value["story_id"], value["event_type"], None if user is None else str(user), at
    )


def _is_valid_user(value: Any) -> bool:
    if isinstance(value, str):
        return 1 <= len(value) <= MAX_USER_LENGTH
    return isinstance(value, int) and not isinstance(value, bool)


def _is_valid_type(text: str) -> bool:
    return text.isprintable() and text != "" and " " not in text


def _parse_event_time(value: Any, now: int) -> int:
    if not isinstance(value, str):
        raise InvalidTimestamp("is not a string")
    at = parse_timestamp(value)
    if at > now + MAX_CLOCK_SKEW_MICROS:
        raise InvalidTimestamp("is more than a minute in the future")
    return at
