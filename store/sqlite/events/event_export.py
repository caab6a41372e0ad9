"""Export of events as NDJSON, or as CSV without cells that spreadsheets evaluate."""

import csv
import io
from collections.abc import AsyncIterator, Iterable
from typing import Any, Literal

import msgspec

from store.sqlite.events.event_queries import EventQueries
from store.sqlite.events.event_records import EventFilter, LoggedEvent

CSV_COLUMNS = (
    "id", "sender_id", "app", "source", "session_id",
    "category", "name", "timestamp", "received_at", "data",
)  # fmt: skip
# Spreadsheets evaluate cells with these prefixes, also full-width ones, as formulas: they get a
# leading apostrophe (OWASP, CSV injection).
FORMULA_PREFIXES = tuple("=+-@\t\r\n\0＝＋－＠")
# Maximum size of a chunk; a connection may hold a copy of it.
CHUNK_BYTES = 65_536
_encode_lines = msgspec.json.Encoder().encode_lines


ExportFormat = Literal["ndjson", "csv"]


class EventExport(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The parameters of an export."""

    conditions: EventFilter = EventFilter()
    format: ExportFormat = "ndjson"
    newest_first: bool = False

    async def chunks(self, events: EventQueries) -> AsyncIterator[bytes]:
        """Yield the export in chunks; raise `StoreBusy`, possibly after some chunks."""
        if self.format == "csv":
            yield _csv_bytes([CSV_COLUMNS])
        async for page in events.export(self.conditions, newest_first=self.newest_first):
            content = (
                _encode_lines(page)
                if self.format == "ndjson"
                else _csv_bytes(map(_csv_cells, page))
            )
            page.clear()  # free it while the client reads
            for start in range(0, len(content), CHUNK_BYTES):
                yield content[start : start + CHUNK_BYTES]


def _csv_cells(event: LoggedEvent) -> list[str]:
    fields: dict[str, Any] = msgspec.structs.asdict(event)
    fields["data"] = bytes(event.data).decode()
    cells = ["" if fields[name] is None else str(fields[name]) for name in CSV_COLUMNS]
    return ["'" + cell if cell.startswith(FORMULA_PREFIXES) else cell for cell in cells]


def _csv_bytes(rows: Iterable[Iterable[str]]) -> bytes:
    """Encode rows as CSV (RFC 4180)."""
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue().encode()
