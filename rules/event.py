"""What a right event is, and the row of the log that it becomes."""

import hashlib
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, TypeAlias

import msgspec
from msgspec import Meta

from rules.faults import Fault, pointer
from rules.rulebook import Rules
from rules.strict import LEVELS, LONG, ZEROS, NotJson, decode
from rules.timestamp import NotMoment, micros, micros_of

# What a row of the log tells of.
SOURCES = {"app": 1, "story": 2, "click": 3, "conversion": 4, "pageview": 5}
APP, CLICK, CONVERSION = SOURCES["app"], SOURCES["click"], SOURCES["conversion"]
# Microseconds by which a sender's clock may be ahead.
AHEAD = 60_000_000
# Bytes of an event that is read in the fast way: what a hostile one of these costs is little.
SHORT = 16_384
# The quotes around the strings of an event without its data, and those of a sender's id.
QUOTES, SENDER_QUOTES = 18, 4
# A byte's number is found quicker than the byte, ten times so by `in`.
QUOTE, BRACE, BACKSLASH = b'"{\\'
# Digits as in rules/strict.py, and brackets all of one kind.
PLAIN = ZEROS.replace(b"[", b"{")
FAULTS = 20

# source, app, session, user, category, name, at, sender, digest, data
Row: TypeAlias = tuple[
    int, int, str | None, int | None, str, str, int, str | None, bytes | None, str | None
]
Session = Annotated[str, Meta(min_length=1, max_length=200)]
Word = Annotated[str, Meta(min_length=1, max_length=100)]
LENGTHS = {"session_id": 200, "category": 100, "name": 100, "sender_id": 200}
REQUIRED = ("session_id", "category", "name", "data", "timestamp")


class Event(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """An event as it is sent."""

    session_id: Session
    category: Word
    name: Word
    data: dict[str, Any]
    timestamp: datetime
    sender_id: Session | None = None


class WrongEvent(ValueError):
    """An event that is not taken; `faults` say all that is wrong.

    `malformed` says that it is no JSON at all as it is read here.
    """

    def __init__(self, faults: list[Fault], *, malformed: bool = False) -> None:
        super().__init__()
        self.faults = faults
        self.malformed = malformed


_read = msgspec.json.Decoder(Event).decode
_encode = msgspec.json.Encoder().encode
_canonical = msgspec.json.Encoder(order="deterministic").encode


def read(body: bytes, now: int, rules: Rules) -> Row:
    """The row of the event in `body`, which came at `now` (µs); raises `WrongEvent`.

    `rules` are those of the app that sends it.
    """
    if len(body) > SHORT or BACKSLASH in body:
        return _read_closely(body, now, rules)
    try:
        event = _read(body)
        at = micros_of(event.timestamp)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, NotMoment):
        return _read_closely(body, now, rules)
    category, name, data, sender = event.category, event.name, event.data, event.sender_id
    text = _encode(data)
    plain = text.translate(PLAIN)
    quotes = QUOTES if sender is None else QUOTES + SENDER_QUOTES
    # As in rules/strict.py; but only data can hold what that looks for, and nothing is escaped.
    if (
        body.count(QUOTE) != text.count(QUOTE) + quotes
        or plain.count(BRACE) >= LEVELS
        or LONG in plain
        or at > now + AHEAD
        or not rules.takes(category, name, data)
    ):
        return _read_closely(body, now, rules)
    digest = None if sender is None else _digest(event.session_id, category, name, at, data)
    said = text.decode()
    return (APP, rules.app, event.session_id, None, category, name, at, sender, digest, said)


def without_given(body: bytes, given: Mapping[str, Any]) -> bytes:
    """Remove the members that the server set; raise `WrongEvent` if the client changed one.

    This lets a client send an event back as it was returned.
    """
    try:
        value = decode(body)
    except NotJson as error:
        raise WrongEvent([error.fault], malformed=True) from None
    if not isinstance(value, dict) or not given.keys() & value.keys():
        return body
    faults = [
        Fault(f"/{name}", f"is set by the server and must be {_encode(part).decode()}")
        for name, part in given.items()
        if name in value and value[name] != part
    ]
    if faults:
        raise WrongEvent(faults)
    return _encode({name: part for name, part in value.items() if name not in given})


def _read_closely(body: bytes, now: int, rules: Rules) -> Row:
    """The same, step by step, so that all that is wrong is told."""
    try:
        value = decode(body)
    except NotJson as error:
        raise WrongEvent([error.fault], malformed=True) from None
    if not isinstance(value, dict):
        raise WrongEvent([Fault("", "is not an object")])
    faults = [Fault(f"/{name}", "is missing") for name in REQUIRED if name not in value]
    at = 0
    for name, part in value.items():
        if name in LENGTHS:
            faults += _text_faults(name, part)
        elif name == "data":
            if not isinstance(part, dict):
                faults.append(Fault("/data", "is not an object"))
        elif name == "timestamp":
            try:
                at = _moment(part, now)
            except NotMoment as error:
                faults.append(Fault("/timestamp", str(error)))
        else:
            faults.append(Fault(pointer([name]), "is not known here"))
            if len(faults) >= FAULTS:
                break
    category, name, data = value.get("category"), value.get("name"), value.get("data")
    if isinstance(category, str) and isinstance(name, str) and isinstance(data, dict):
        faults += rules.faults(category, name, data)
    if faults:
        raise WrongEvent(faults[:FAULTS])
    session, sender = value["session_id"], value.get("sender_id")
    assert isinstance(category, str) and isinstance(name, str)
    digest = None if sender is None else _digest(session, category, name, at, data)
    text = _encode(data).decode()
    return (APP, rules.app, session, None, category, name, at, sender, digest, text)


def _digest(session: str, category: str, name: str, at: int, data: Any) -> bytes:
    # What is the same event stays so if its members change places, or its moment is written
    # otherwise: senders that send again need not keep the bytes.
    return hashlib.sha256(_canonical((session, category, name, at, data))).digest()


def _text_faults(name: str, part: Any) -> list[Fault]:
    if name == "sender_id" and part is None:
        return []
    if not isinstance(part, str):
        return [Fault(f"/{name}", "is not a string")]
    if not 1 <= len(part) <= LENGTHS[name]:
        return [Fault(f"/{name}", f"has {len(part)} characters instead of 1 to {LENGTHS[name]}")]
    return []


def _moment(part: Any, now: int) -> int:
    if not isinstance(part, str):
        raise NotMoment("is not a string")
    at = micros(part)
    if at > now + AHEAD:
        raise NotMoment("is more than a minute in the future")
    return at
