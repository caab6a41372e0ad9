"""Logged events, their filter, and cursors."""

import base64
import re
import struct
from dataclasses import dataclass
from typing import Any

import msgspec

from domain.common.timestamp import format_timestamp
from domain.events.event import EVENT_SOURCES

SOURCE_NAMES = {number: name for name, number in EVENT_SOURCES.items()}
CURSOR_PATTERN = re.compile("[A-Za-z0-9_-]{22}")
POSITION_STRUCT = struct.Struct(">qQ")
INVALID_CURSOR_MESSAGE = "is not a cursor of this server"
MAX_INT64 = 2**63 - 1

EVENT_COLUMNS = "id, sender, app, source, session, category, name, data, at, received"
StoredEventRow = tuple[int, str | None, int, int, str | None, str, str, str, int, int]
EventPosition = tuple[int, int]  # at, id


class InvalidEventCursor(ValueError):
    """The cursor was not created by this server."""


@dataclass(frozen=True)
class EventFilter:
    """Conditions on events; None matches all."""

    session: str | None = None
    category: str | None = None
    name: str | None = None
    app: int | None = None
    source: int | None = None  # a value of `EVENT_SOURCES`
    since: int | None = None  # µs
    until: int | None = None  # µs, exclusive

    def log_values(self) -> dict[str, Any]:
        """Return the required values of columns of the log."""
        session = {} if self.session is None else {"session": self.session}
        return session | self.kind_values()

    def kind_values(self) -> dict[str, Any]:
        """Return the required values of columns of the table `kind`."""
        values: dict[str, Any] = {"app": self.app, "source": self.source}
        values |= {"category": self.category, "name": self.name}
        return {name: value for name, value in values.items() if value is not None}


class LoggedEvent(msgspec.Struct):
    """An event in responses."""

    id: str
    sender_id: str | None
    app: int
    source: str
    session_id: str | None
    category: str
    name: str
    data: msgspec.Raw
    timestamp: str
    received_at: str


class EventPage(msgspec.Struct):
    """A page of events, and the cursor of the next page; None at the end.

    A page that is not the last may have fewer events than requested, or none: large events and long
    searches end it early.
    """

    events: list[LoggedEvent]
    cursor: str | None


def logged_event(row: StoredEventRow) -> LoggedEvent:
    """Convert a row of the log."""
    number, sender, app, source, session, category, name, data, at, received = row
    return LoggedEvent(
        str(number),
        sender,
        app,
        SOURCE_NAMES.get(source, str(source)),
        session,
        category,
        name,
        msgspec.Raw(data.encode()),
        format_timestamp(at),
        format_timestamp(received),
    )


def row_position(row: StoredEventRow) -> EventPosition:
    """Return the position of a row in the order of events."""
    return row[8], row[0]


def encode_cursor(position: EventPosition | None) -> str | None:
    """Return the cursor of a position."""
    if position is None:
        return None
    return base64.urlsafe_b64encode(POSITION_STRUCT.pack(*position)).decode().rstrip("=")


def decode_cursor(cursor: str) -> EventPosition:
    """Return the position of a cursor; raise `InvalidEventCursor`."""
    if not CURSOR_PATTERN.fullmatch(cursor):
        raise InvalidEventCursor(INVALID_CURSOR_MESSAGE)
    at, number = POSITION_STRUCT.unpack(base64.urlsafe_b64decode(cursor + "=="))
    if number > MAX_INT64:
        raise InvalidEventCursor(INVALID_CURSOR_MESSAGE)
    return at, number
