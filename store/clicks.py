"""Clicks on banners, and what was earned by them."""

import asyncio
import sqlite3
from time import time_ns

from rules.conversion import UNKNOWN, Click, click_row, clicked, conversion_row, read
from rules.event import CLICK, Row, WrongEvent
from store.database import Database
from store.errors import StoreError
from store.log import Log

FIND = "SELECT data FROM event WHERE id = ? AND source = ? AND data IS NOT NULL"
# Seconds for which a visitor waits for a click to be on disk.
PATIENCE = 1.0


class Clicks:
    """Writes clicks into the log."""

    def __init__(self, log: Log, patience: float = PATIENCE) -> None:
        self._log = log
        self._patience = patience

    async def record(self, campaign: int, banner: int, slot: int) -> int | None:
        """The id of a click that is on disk; None if it could not be, or not soon enough."""
        if not self._log.room(0):
            return None
        now = time_ns() // 1000
        row = click_row(Click(campaign, banner, slot), now)
        stored = self._log.append((row,), received=now, counted=False)
        await asyncio.wait({stored}, timeout=self._patience)
        try:
            ((number, verdict),) = stored.result()
        except (StoreError, asyncio.InvalidStateError):
            stored.add_done_callback(lambda late: late.exception())
            return None
        return number if verdict == "stored" else None


async def conversion(database: Database, body: bytes, app: int, now: int) -> Row:
    """The row of the conversion in `body`, which an app sends; raises `WrongEvent`."""
    said = read(body)

    def job(connection: sqlite3.Connection) -> Click | None:
        row = connection.execute(FIND, (said.click, CLICK)).fetchone()
        return None if row is None else clicked(row[0])

    click = await database.read(job)
    if click is None:
        raise WrongEvent([UNKNOWN])
    return conversion_row(said, click, app, now)
