"""Asking for the events that were not right: listed, filtered, one by one."""

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
# Each has an index of its own to go by.
LIST_OF_ALL_APPS_SQL, LIST_OF_APP_SQL = (
    LIST_REJECTED_SQL.format(app="? IS NULL"),
    LIST_REJECTED_SQL.format(app="app = ?"),
)
GET_REJECTED_SQL = "SELECT id, app, received, errors, body FROM event_reject WHERE id = ?"
APP_STRICT_SQL = "SELECT strict FROM app WHERE id = ?"
# Bytes of bodies on one page: one may have 256 KiB, and JSON may take six times as much.
MAX_PAGE_BYTES = 1_048_576


@dataclass(frozen=True)
class RejectedEvent:
    """An event that was wrong, as it came."""

    id: int
    app: int
    received: int  # µs
    errors: str  # JSON
    body: bytes


class RejectedEventResult(msgspec.Struct, omit_defaults=True):
    """A reject as it is told: its body as text, as base64 only where it is not UTF-8."""

    id: str
    app: int
    received_at: str
    errors: msgspec.Raw
    body: str
    encoding: str = ""


def rejected_event_result(kept: RejectedEvent) -> RejectedEventResult:
    """A reject, to be told."""
    found = RejectedEventResult(
        str(kept.id),
        kept.app,
        format_timestamp(kept.received),
        msgspec.Raw(kept.errors.encode()),
        "",
    )
    try:
        found.body = kept.body.decode()
    except UnicodeDecodeError:
        found.body, found.encoding = base64.b64encode(kept.body).decode(), "base64"
    return found


class RejectedEventPage(msgspec.Struct):
    """Some rejects, and where to go on; None at the end."""

    rejected_events: list[RejectedEventResult]
    cursor: str | None


@dataclass(frozen=True)
class RejectedEventFilter:
    """Which rejects are asked for; None for any."""

    app: int | None = None
    since: int | None = None  # µs
    until: int | None = None  # µs, not included


async def find_rejected_events(
    database: Database, wanted: RejectedEventFilter, *, before: int | None, limit: int
) -> tuple[list[RejectedEvent], int | None]:
    """The newest rejects whose id is below `before`, and where to go on (None at the end)."""

    def job(connection: sqlite3.Connection) -> tuple[list[RejectedEvent], int | None]:
        values = (wanted.app, wanted.since, wanted.until)
        first = 2**63 - 1 if before is None else before
        found: list[RejectedEvent] = []
        size = 0
        sql = LIST_OF_ALL_APPS_SQL if wanted.app is None else LIST_OF_APP_SQL
        for row in connection.execute(sql, (first, *values, limit + 1)):
            if len(found) == limit or (found and size + len(row[4]) > MAX_PAGE_BYTES):
                return found, found[-1].id
            found.append(RejectedEvent(*row))
            size += len(row[4])
        return found, None

    return await database.read(job)


async def get_rejected_event(database: Database, number: int) -> tuple[RejectedEvent, bool] | None:
    """A reject, and whether its app is strict by now; None if there is none."""

    def job(connection: sqlite3.Connection) -> tuple[RejectedEvent, bool] | None:
        row = connection.execute(GET_REJECTED_SQL, (number,)).fetchone()
        if row is None:
            return None
        strict = connection.execute(APP_STRICT_SQL, (row[1],)).fetchone()
        return RejectedEvent(*row), bool(strict and strict[0])

    return await database.read(job)


class ListRejectedEvents(AdminCommand[RejectedEventPage], frozen=True):
    """Events that were not right, newest first, after where `cursor` is."""

    wanted: RejectedEventFilter = RejectedEventFilter()
    limit: int = 100
    cursor: str | None = None

    async def run(self, database: Database) -> RejectedEventPage:
        """A page of them."""
        return await rejected_events_page(database, self.wanted, self.limit, self.cursor)


async def rejected_events_page(
    database: Database, wanted: RejectedEventFilter, limit: int, cursor: str | None
) -> RejectedEventPage:
    """A page of rejects, as it is told; `cursor` is the one of the page before."""
    before = None if cursor is None else int(cursor)
    found, following = await find_rejected_events(database, wanted, before=before, limit=limit)
    return RejectedEventPage(
        [rejected_event_result(each) for each in found],
        None if following is None else str(following),
    )
