"""Events as a stream of bytes: NDJSON, or CSV of which no spreadsheet runs anything."""

import csv
import io
from collections.abc import AsyncIterator, Iterable
from typing import Any, Literal

import msgspec

from store.events import Events, Filter, LoggedEvent

COLUMNS = (
    "id", "sender_id", "app", "source", "session_id",
    "category", "name", "timestamp", "received_at", "data",
)  # fmt: skip
# What a spreadsheet would take for a formula, and run; also as wide letters. Such a cell gets an
# apostrophe ahead of it (OWASP, CSV injection).
FORMULA = tuple("=+-@\t\r\n\0＝＋－＠")
# Bytes yielded at once; a connection may hold a copy of them.
PIECE = 65_536
_encode_lines = msgspec.json.Encoder().encode_lines


Format = Literal["ndjson", "csv"]


class Export(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which events, and how."""

    wanted: Filter = Filter()
    format: Format = "ndjson"
    newest_first: bool = False

    async def pieces(self, events: Events) -> AsyncIterator[bytes]:
        """All of it, of which little is held at a time; raises `StoreBusy`, also amid it."""
        if self.format == "csv":
            yield _rows([COLUMNS])
        async for some in events.export(self.wanted, newest_first=self.newest_first):
            piece = _encode_lines(some) if self.format == "ndjson" else _rows(map(_cells, some))
            some.clear()  # or it would be held for as long as the reader takes
            for start in range(0, len(piece), PIECE):
                yield piece[start : start + PIECE]


def _cells(event: LoggedEvent) -> list[str]:
    fields: dict[str, Any] = msgspec.structs.asdict(event)
    fields["data"] = bytes(event.data).decode()
    said = ["" if fields[name] is None else str(fields[name]) for name in COLUMNS]
    return ["'" + each if each.startswith(FORMULA) else each for each in said]


def _rows(some: Iterable[Iterable[str]]) -> bytes:
    """Rows of CSV (RFC 4180)."""
    text = io.StringIO()
    csv.writer(text).writerows(some)
    return text.getvalue().encode()
