"""Events as a stream of bytes: NDJSON, or CSV of which no spreadsheet runs anything."""

import csv
import io
from collections.abc import AsyncIterator, Iterable
from typing import Any, Literal

import msgspec

from store.sqlite.events.event_queries import EventFilter, EventQueries, LoggedEvent

CSV_COLUMNS = (
    "id", "sender_id", "app", "source", "session_id",
    "category", "name", "timestamp", "received_at", "data",
)  # fmt: skip
# What a spreadsheet would take for a formula, and run; also as wide letters. Such a cell gets an
# apostrophe ahead of it (OWASP, CSV injection).
FORMULA_PREFIXES = tuple("=+-@\t\r\n\0＝＋－＠")
# Bytes yielded at once; a connection may hold a copy of them.
CHUNK_BYTES = 65_536
_encode_lines = msgspec.json.Encoder().encode_lines


ExportFormat = Literal["ndjson", "csv"]


class EventExport(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which events, and how."""

    wanted: EventFilter = EventFilter()
    format: ExportFormat = "ndjson"
    newest_first: bool = False

    async def chunks(self, events: EventQueries) -> AsyncIterator[bytes]:
        """All of it, of which little is held at a time; raises `StoreBusy`, also amid it."""
        if self.format == "csv":
            yield _csv_bytes([CSV_COLUMNS])
        async for some in events.export(self.wanted, newest_first=self.newest_first):
            piece = (
                _encode_lines(some)
                if self.format == "ndjson"
                else _csv_bytes(map(_csv_cells, some))
            )
            some.clear()  # or it would be held for as long as the reader takes
            for start in range(0, len(piece), CHUNK_BYTES):
                yield piece[start : start + CHUNK_BYTES]


def _csv_cells(event: LoggedEvent) -> list[str]:
    fields: dict[str, Any] = msgspec.structs.asdict(event)
    fields["data"] = bytes(event.data).decode()
    said = ["" if fields[name] is None else str(fields[name]) for name in CSV_COLUMNS]
    return ["'" + each if each.startswith(FORMULA_PREFIXES) else each for each in said]


def _csv_bytes(some: Iterable[Iterable[str]]) -> bytes:
    """Rows of CSV (RFC 4180)."""
    text = io.StringIO()
    csv.writer(text).writerows(some)
    return text.getvalue().encode()
