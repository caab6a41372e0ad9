"""Asking for the events that were not right: listed, filtered, one by one."""

import base64
import sqlite3
from dataclasses import dataclass

import msgspec

from rules.timestamp import text
from store.commands import Command
from store.database import Database

LIST = """
SELECT id, app, received, errors, body FROM event_reject
WHERE id < ? AND {app} AND received >= coalesce(?, received)
AND received < coalesce(?, received + 1)
ORDER BY id DESC LIMIT ?
"""
# Each has an index of its own to go by.
OF_ALL, OF_ONE = LIST.format(app="? IS NULL"), LIST.format(app="app = ?")
ONE = "SELECT id, app, received, errors, body FROM event_reject WHERE id = ?"
STRICT = "SELECT strict FROM app WHERE id = ?"
# Bytes of bodies on one page: one may have 256 KiB, and JSON may take six times as much.
PAGE_BYTES = 1_048_576


@dataclass(frozen=True)
class Reject:
    """An event that was wrong, as it came."""

    id: int
    app: int
    received: int  # µs
    errors: str  # JSON
    body: bytes


class Shown(msgspec.Struct, omit_defaults=True):
    """A reject as it is told: its body as text, as base64 only where it is not UTF-8."""

    id: str
    app: int
    received_at: str
    errors: msgspec.Raw
    body: str
    encoding: str = ""


def shown(kept: Reject) -> Shown:
    """A reject, to be told."""
    found = Shown(
        str(kept.id), kept.app, text(kept.received), msgspec.Raw(kept.errors.encode()), ""
    )
    try:
        found.body = kept.body.decode()
    except UnicodeDecodeError:
        found.body, found.encoding = base64.b64encode(kept.body).decode(), "base64"
    return found


class Rejects(msgspec.Struct):
    """Some rejects, and where to go on; None at the end."""

    rejected: list[Shown]
    cursor: str | None


@dataclass(frozen=True)
class Filter:
    """Which rejects are asked for; None for any."""

    app: int | None = None
    since: int | None = None  # µs
    until: int | None = None  # µs, not included


async def rejects(
    database: Database, wanted: Filter, *, before: int | None, limit: int
) -> tuple[list[Reject], int | None]:
    """The newest rejects whose id is below `before`, and where to go on (None at the end)."""

    def job(connection: sqlite3.Connection) -> tuple[list[Reject], int | None]:
        values = (wanted.app, wanted.since, wanted.until)
        first = 2**63 - 1 if before is None else before
        found: list[Reject] = []
        size = 0
        sql = OF_ALL if wanted.app is None else OF_ONE
        for row in connection.execute(sql, (first, *values, limit + 1)):
            if len(found) == limit or (found and size + len(row[4]) > PAGE_BYTES):
                return found, found[-1].id
            found.append(Reject(*row))
            size += len(row[4])
        return found, None

    return await database.read(job)


async def reject(database: Database, number: int) -> tuple[Reject, bool] | None:
    """A reject, and whether its app is strict by now; None if there is none."""

    def job(connection: sqlite3.Connection) -> tuple[Reject, bool] | None:
        row = connection.execute(ONE, (number,)).fetchone()
        if row is None:
            return None
        strict = connection.execute(STRICT, (row[1],)).fetchone()
        return Reject(*row), bool(strict and strict[0])

    return await database.read(job)


class ListEventRejects(Command[Rejects], frozen=True):
    """Events that were not right, newest first, after where `cursor` is."""

    wanted: Filter = Filter()
    limit: int = 100
    cursor: str | None = None

    async def run(self, database: Database) -> Rejects:
        """A page of them."""
        return await page(database, self.wanted, self.limit, self.cursor)


async def page(database: Database, wanted: Filter, limit: int, cursor: str | None) -> Rejects:
    """A page of rejects, as it is told; `cursor` is the one of the page before."""
    before = None if cursor is None else int(cursor)
    found, following = await rejects(database, wanted, before=before, limit=limit)
    return Rejects([shown(each) for each in found], None if following is None else str(following))
