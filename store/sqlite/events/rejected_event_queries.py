"""Queries for rejected events."""

import base64
import sqlite3
from dataclasses import dataclass

import msgspec

from domain.common.timestamp import format_timestamp
from store.sqlite.core.command import AdminCommand
from store.sqlite.core.database import Database

LIST_REJECTED_SQL = """
SELECT id, app, received, errors, body FROM event_reject
WHERE id < ? AND {app} AND received >= coalesce(?, received)
AND received < coalesce(?, received + 1)
ORDER BY id DESC LIMIT ?
"""
# Two statements, as each uses an index of its own.
LIST_OF_ALL_APPS_SQL, LIST_OF_APP_SQL = (
    LIST_REJECTED_SQL.format(app="? IS NULL"),
    LIST_REJECTED_SQL.format(app="app = ?"),
)
GET_REJECTED_SQL = "SELECT id, app, received, errors, body FROM event_reject WHERE id = ?"
APP_STRICT_SQL = "SELECT strict FROM app WHERE id = ?"
# Maximum bytes of bodies per page. One body has up to 256 KiB; JSON may need six times as much.
MAX_PAGE_BYTES = 1_048_576


@dataclass(frozen=True)
class RejectedEvent:
    """A rejected event with its original body."""

    id: int
    app: int
    received: int  # µs
    errors: str  # JSON
    body: bytes


class RejectedEventResult(msgspec.Struct, omit_defaults=True):
    """A rejected event in responses; its body is text, or base64 if it is not UTF-8."""

    id: str
    app: int
    received_at: str
    errors: msgspec.Raw
    body: str
    encoding: str = ""


def rejected_event_result(event: RejectedEvent) -> RejectedEventResult:
    """Convert a rejected event."""
    result = RejectedEventResult(
        str(event.id),
        event.app,
        format_timestamp(event.received),
        msgspec.Raw(event.errors.encode()),
        "",
    )
    try:
        result.body = event.body.decode()
    except UnicodeDecodeError:
        result.body, result.encoding = base64.b64encode(event.body).decode(), "base64"
    return result


class RejectedEventPage(msgspec.Struct):
    """A page of rejected events, and the cursor of the next page; None at the end."""

    rejected_events: list[RejectedEventResult]
    cursor: str | None


@dataclass(frozen=True)
class RejectedEventFilter:
    """Conditions on rejected events; None matches all."""

    app: int | None = None
    since: int | None = None  # µs
    until: int | None = None  # µs, exclusive


async def find_rejected_events(
    database: Database, conditions: RejectedEventFilter, *, before: int | None, limit: int
) -> tuple[list[RejectedEvent], int | None]:
    """Return the newest events with ids below `before`, and the next `before`; None at the end."""

    def read(connection: sqlite3.Connection) -> tuple[list[RejectedEvent], int | None]:
        values = (conditions.app, conditions.since, conditions.until)
        first = 2**63 - 1 if before is None else before
        events: list[RejectedEvent] = []
        size = 0
        sql = LIST_OF_ALL_APPS_SQL if conditions.app is None else LIST_OF_APP_SQL
        for row in connection.execute(sql, (first, *values, limit + 1)):
            if len(events) == limit or (events and size + len(row[4]) > MAX_PAGE_BYTES):
                return events, events[-1].id
            events.append(RejectedEvent(*row))
            size += len(row[4])
        return events, None

    return await database.read(read)


async def get_rejected_event(database: Database, number: int) -> tuple[RejectedEvent, bool] | None:
    """Return a rejected event, and whether its app is strict; None if it does not exist."""

    def read(connection: sqlite3.Connection) -> tuple[RejectedEvent, bool] | None:
        row = connection.execute(GET_REJECTED_SQL, (number,)).fetchone()
        if row is None:
            return None
        strict = connection.execute(APP_STRICT_SQL, (row[1],)).fetchone()
        return RejectedEvent(*row), bool(strict and strict[0])

    return await database.read(read)


class ListRejectedEvents(AdminCommand[RejectedEventPage], frozen=True):
    """List rejected events after `cursor`, newest first."""

    conditions: RejectedEventFilter = RejectedEventFilter()
    limit: int = 100
    cursor: str | None = None

    async def run(self, database: Database) -> RejectedEventPage:
        """Return a page."""
        return await rejected_events_page(database, self.conditions, self.limit, self.cursor)


async def rejected_events_page(
    database: Database, conditions: RejectedEventFilter, limit: int, cursor: str | None
) -> RejectedEventPage:
    """Return the page after `cursor`, newest first."""
    before = None if cursor is None else int(cursor)
    events, next_before = await find_rejected_events(
        database, conditions, before=before, limit=limit
    )
    return RejectedEventPage(
        [rejected_event_result(each) for each in events],
        None if next_before is None else str(next_before),
    )
