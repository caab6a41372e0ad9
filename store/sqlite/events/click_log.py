"""Clicks on banners, and what was earned by them."""

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
# Seconds for which a visitor waits for a click to be on disk.
COMMIT_TIMEOUT_SECONDS = 1.0


class ClickLog:
    """Writes clicks into the log."""

    def __init__(self, log: EventLog, patience: float = COMMIT_TIMEOUT_SECONDS) -> None:
        self._log = log
        self._patience = patience

    async def record(self, campaign: int, banner: int, slot: int) -> int | None:
        """The id of a click that is on disk; None if it could not be, or not soon enough."""
        if not self._log.room(0):
            return None
        now = time_ns() // 1000
        row = click_row(BannerClick(campaign, banner, slot), now)
        stored = self._log.append((row,), received=now, counted=False)
        await asyncio.wait({stored}, timeout=self._patience)
        try:
            ((number, verdict),) = stored.result()
        except (StoreError, asyncio.InvalidStateError):
            stored.add_done_callback(lambda late: late.exception())
            return None
        return number if verdict == "stored" else None


async def resolve_conversion(database: Database, body: bytes, app: int, now: int) -> EventRow:
    """The row of the conversion in `body`, which an app sends; raises `WrongEvent`."""
    said = parse_conversion(body)

    def job(connection: sqlite3.Connection) -> BannerClick | None:
        row = connection.execute(CLICK_DATA_SQL, (said.click, CLICK_SOURCE)).fetchone()
        return None if row is None else decode_click(row[0])

    click = await database.read(job)
    if click is None:
        raise InvalidEvent([UNKNOWN_CLICK])
    return conversion_row(said, click, app, now)
