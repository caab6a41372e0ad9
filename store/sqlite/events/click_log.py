"""Clicks on banners and their conversions in the event log."""

import asyncio
import sqlite3
from time import time_ns

from domain.banners.conversion import (
    UNKNOWN_CLICK,
    BannerClick,
    click_row,
    conversion_row,
    decode_click,
    parse_conversion,
)
from domain.events.event import CLICK_SOURCE, EventRow, InvalidEvent
from store.api.errors import StoreError
from store.sqlite.core.database import Database
from store.sqlite.events.event_log import EventLog

CLICK_DATA_SQL = "SELECT data FROM event WHERE id = ? AND source = ? AND data IS NOT NULL"
# Maximum seconds that a visitor waits for the commit of a click.
COMMIT_TIMEOUT_SECONDS = 1.0


class ClickLog:
    """Appends clicks to the event log."""

    def __init__(self, log: EventLog, timeout: float = COMMIT_TIMEOUT_SECONDS) -> None:
        self._log = log
        self._timeout = timeout

    async def record(self, campaign: int, banner: int, slot: int) -> int | None:
        """Append a click; return its id, or None if it is not committed within the timeout."""
        if not self._log.has_room(0):
            return None
        now = time_ns() // 1000
        row = click_row(BannerClick(campaign, banner, slot), now)
        append = self._log.append((row,), received=now, counted=False)
        await asyncio.wait({append}, timeout=self._timeout)
        try:
            ((number, outcome),) = append.result()
        except (StoreError, asyncio.InvalidStateError):
            append.add_done_callback(lambda late: late.exception())  # else asyncio logs it
            return None
        return number if outcome == "stored" else None


async def resolve_conversion(database: Database, body: bytes, app: int, now: int) -> EventRow:
    """Return the row of an app's conversion; raise `InvalidEvent`, also for an unknown click."""
    conversion = parse_conversion(body)

    def read_click(connection: sqlite3.Connection) -> BannerClick | None:
        row = connection.execute(CLICK_DATA_SQL, (conversion.click, CLICK_SOURCE)).fetchone()
        return None if row is None else decode_click(row[0])

    click = await database.read(read_click)
    if click is None:
        raise InvalidEvent([UNKNOWN_CLICK])
    return conversion_row(conversion, click, app, now)
