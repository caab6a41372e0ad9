"""Asking for events: found, exported, and forgotten.

A `read` token sees its own app's events and an `admin` token those of all.
"""

import csv
import io
from typing import Any

import msgspec
from tornado.iostream import StreamClosedError

from handlers.asking import Asking
from handlers.base import Refusal
from rules.event import SOURCES
from store.changes import Changes
from store.errors import StoreBusy
from store.events import BadCursor, Event, Events, Filter

COLUMNS = (
    "id", "sender_id", "app", "source", "session_id",
    "category", "name", "timestamp", "received_at", "data",
)  # fmt: skip
# What a spreadsheet would take for a formula, and run.
FORMULA = ("=", "+", "-", "@", "\t", "\r")


def routes(events: Events) -> list[Any]:
    """Where the export is; the list shares its address (handlers/streams.py)."""
    return [(r"(?:/api/v1)?/events/export", Exported, {"events": events})]


class Finding(Asking):
    """The base of what takes a filter."""

    def initialize(self, **parts: Any) -> None:
        """Of the `parts`, `events` are all that there are."""
        self.events: Events = parts["events"]

    async def wanted(self) -> Filter:
        """What the query asks for, as far as the asker may see it."""
        source = self.word("source")
        if source is not None and source not in SOURCES:
            raise self.wrong("source", f"is none of {', '.join(SOURCES)}")
        return Filter(
            session=self.word("session_id"),
            category=self.word("category"),
            name=self.word("name"),
            app=await self.reader(),
            source=None if source is None else SOURCES[source],
            since=self.moment("from"),
            until=self.moment("to"),
        )

    def newest_first(self) -> bool:
        """Whether the order is turned round."""
        order = self.word("order")
        if order not in (None, "asc", "desc"):
            raise self.wrong("order", "is neither asc nor desc")
        return order == "desc"


class Listed(Finding):
    """`GET /events?…` and `DELETE /events?session_id=`."""

    def initialize(self, **parts: Any) -> None:
        """Of the `parts`, `changes` are how events are forgotten."""
        super().initialize(**parts)
        self.changes: Changes = parts["changes"]

    async def get(self) -> None:
        """A page of events in the order in which they happened."""
        wanted, newest_first = await self.wanted(), self.newest_first()
        try:
            page = await self.events.find(
                wanted, newest_first=newest_first, limit=self.limit(), cursor=self.word("cursor")
            )
        except BadCursor:
            raise self.wrong("cursor", "is none that this server gave") from None
        except StoreBusy as error:
            raise self.later(f"Events cannot be looked up now ({error})") from None
        self.send_value(page)

    async def delete(self) -> None:
        """Forget a session: nothing of it is left; figures that counted it stay as they were."""
        access = await self.access_to("write", "admin")
        session, app = self.word("session_id"), self.number("app")
        if not session:
            raise self.wrong("session_id", "is missing: it says who is to be forgotten")
        if "admin" not in access.scopes:
            if app not in (None, access.app):
                raise Refusal(403, "A `write` token deletes its own app's events; `admin` all.")
            app = access.app
        self.send_value(await self.cleared(self.changes.forget(session, app)))


class Exported(Finding):
    """`GET /events/export?format=ndjson|csv&…`: all that is asked for, as a stream."""

    async def get(self) -> None:
        """The events; an error on the way cuts the connection, so that no end is made up."""
        wanted, newest_first = await self.wanted(), self.newest_first()
        kind = self.word("format") or "ndjson"
        if kind not in ("ndjson", "csv"):
            raise self.wrong("format", "is neither ndjson nor csv")
        self.set_header(
            "Content-Type",
            "application/x-ndjson" if kind == "ndjson" else "text/csv; charset=utf-8",
        )
        self.set_header("Content-Disposition", f'attachment; filename="events.{kind}"')
        if kind == "csv":
            self.write(rows([COLUMNS]))
        try:
            async for some in self.events.export(wanted, newest_first=newest_first):
                self.write(lines(some) if kind == "ndjson" else rows(map(cells, some)))
                await self.flush()
        except StreamClosedError:
            return
        except StoreBusy as error:
            if self._headers_written:
                raise
            self.clear()
            raise self.later(f"Events cannot be looked up now ({error})") from None


def lines(some: list[Event]) -> bytes:
    """Events as NDJSON."""
    return msgspec.json.Encoder().encode_lines(some)


def cells(event: Event) -> list[str]:
    """An event as the cells of a row; none that a spreadsheet would run."""
    fields: dict[str, Any] = msgspec.structs.asdict(event)
    fields["data"] = bytes(event.data).decode()
    said = ["" if fields[name] is None else str(fields[name]) for name in COLUMNS]
    return ["'" + each if each.startswith(FORMULA) else each for each in said]


def rows(some: Any) -> str:
    """Rows of CSV (RFC 4180)."""
    text = io.StringIO()
    csv.writer(text).writerows(some)
    return text.getvalue()
