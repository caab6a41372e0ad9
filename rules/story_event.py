"""What a right event of a story is, and the row of the log that it becomes."""

import hashlib
from datetime import datetime
from typing import Annotated, Any, NamedTuple

import msgspec
from msgspec import Meta

from rules.event import AHEAD, SOURCES, Row, WrongEvent
from rules.faults import Fault, pointer
from rules.strict import NotJson, decode
from rules.timestamp import NotMoment, micros, micros_of

STORY, CATEGORY = SOURCES["story"], "story"
SMALLEST, LARGEST = -(2**63), 2**63 - 1
LONGEST_TYPE, LONGEST_USER = 50, 200
MEMBERS = ("story_id", "event_type", "user_id", "timestamp")
FAULTS = 20
# The quotes of an event with no more than it must have; a text that is said besides has four.
QUOTES, MORE_QUOTES = 6, 4


class SentStoryEvent(msgspec.Struct, forbid_unknown_fields=True):
    """An event as it is sent."""

    story_id: Annotated[int, Meta(ge=0, le=LARGEST)]
    event_type: Annotated[str, Meta(min_length=1, max_length=LONGEST_TYPE)]
    user_id: (
        Annotated[str, Meta(min_length=1, max_length=LONGEST_USER)]
        | Annotated[int, Meta(ge=SMALLEST, le=LARGEST)]
        | None
    ) = None
    timestamp: datetime | None = None


class StoryEvent(NamedTuple):
    """An event of a story; the user by the id that the app has for him, `at` in µs.

    A number is the same user as its decimal text: 1 and "1".
    """

    story: int
    type: str
    user: str | None
    at: int


_read = msgspec.json.Decoder(SentStoryEvent).decode


def read(body: bytes, now: int) -> StoryEvent:
    """The event in `body`, which came at `now` (µs); raises `WrongEvent`."""
    if b"\\" in body:
        return _read_closely(body, now)
    try:
        sent = _read(body)
        at = now if sent.timestamp is None else micros_of(sent.timestamp)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, NotMoment):
        return _read_closely(body, now)
    user = sent.user_id
    more = (user is not None) + (sent.timestamp is not None)
    quotes = QUOTES + more * MORE_QUOTES
    if isinstance(user, int):
        user = str(user)
        quotes -= 2  # a number has no quotes
    # A member that is named twice shows in the quotes, as nothing is escaped.
    if body.count(b'"') != quotes or not _is_word(sent.event_type) or at > now + AHEAD:
        return _read_closely(body, now)
    return StoryEvent(sent.story_id, sent.event_type, user, at)


def row(event: StoryEvent, app: int, user: int | None) -> Row:
    """The row of an app's event; `user` as `pseudonym` has it."""
    _, kind, _, at = event
    data = f'{{"story_id":{event.story}}}'
    return (STORY, app, None, user, CATEGORY, kind, at, None, None, data)


def pseudonym(salt: bytes, app: int, user: str) -> int:
    """A number of 64 bits for a user of an app, from which nobody without the salt tells who."""
    hashed = hashlib.blake2b(user.encode(), digest_size=8, key=salt, person=app.to_bytes(8))
    return int.from_bytes(hashed.digest(), "big", signed=True)


def _read_closely(body: bytes, now: int) -> StoryEvent:
    """The same, step by step, so that all that is wrong is told."""
    try:
        value = decode(body)
    except NotJson as error:
        raise WrongEvent([error.fault], malformed=True) from None
    if not isinstance(value, dict):
        raise WrongEvent([Fault("", "is not an object")])
    faults = [Fault(f"/{name}", "is missing") for name in MEMBERS[:2] if name not in value]
    at = now
    for name, part in value.items():
        message = None
        if name == "story_id":
            if isinstance(part, bool) or not isinstance(part, int) or not 0 <= part <= LARGEST:
                message = "is not the id of a story"
        elif name == "event_type":
            if not isinstance(part, str) or len(part) > LONGEST_TYPE or not _is_word(part):
                message = f"is not a word of 1 to {LONGEST_TYPE} characters"
        elif name == "user_id":
            if part is not None and not _is_user(part):
                message = f"must be a string of 1 to {LONGEST_USER} characters or a whole number"
        elif name == "timestamp":
            try:
                at = now if part is None else _moment(part, now)
            except NotMoment as error:
                message = str(error)
        else:
            message = "is not known here"
        if message is not None:
            faults.append(Fault(pointer([name]), message))
        if len(faults) >= FAULTS:
            break
    if faults:
        raise WrongEvent(faults)
    user = value.get("user_id")
    return StoryEvent(
        value["story_id"], value["event_type"], None if user is None else str(user), at
    )


def _is_user(part: Any) -> bool:
    if isinstance(part, str):
        return 1 <= len(part) <= LONGEST_USER
    return isinstance(part, int) and not isinstance(part, bool)


def _is_word(said: str) -> bool:
    return said.isprintable() and said != "" and " " not in said


def _moment(part: Any, now: int) -> int:
    if not isinstance(part, str):
        raise NotMoment("is not a string")
    at = micros(part)
    if at > now + AHEAD:
        raise NotMoment("is more than a minute in the future")
    return at
