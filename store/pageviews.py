"""Pageviews of the log: those that came since last asked, and at the start those of late.

They are read after their commit, off the way of those who send them: an event that is not on disk
is no visitor, and taking events costs nothing more.
"""

import sqlite3
from time import time_ns
from typing import Any

import msgspec

from rules.hosts import canonical
from store.database import Database
from store.presence import Presence
from store.sites import Sites

CATEGORY, NAME = "page interaction", "pageview"
# Rows of a step.
STEP = 2_000
# Ids begin with their milliseconds.
SHIFT = 22
# The last of the next rows.
LAST = "SELECT max(id), count(*) FROM (SELECT id FROM event WHERE id > ? ORDER BY id LIMIT ?)"
# All rows in one value: after each row the thread would have to wait for the interpreter.
NEXT = """
SELECT json_group_array(json_array(app, session, at, host, path, title))
FROM (
    SELECT
        id, app, session, at,
        data ->> '$.host' AS host, data ->> '$.path' AS path, data ->> '$.title' AS title
    FROM event
    WHERE id > ? AND id <= ? AND name = ? AND category = ?
        AND session IS NOT NULL AND data IS NOT NULL
    ORDER BY id
)
"""

Row = tuple[int, str, int, Any, Any, Any]
_rows = msgspec.json.Decoder(list[Row]).decode


class Pageviews:
    """Has the presence follow the log."""

    def __init__(self, database: Database, sites: Sites, presence: Presence) -> None:
        self._database = database
        self._sites = sites
        self._presence = presence
        self._last = 0

    async def step(self) -> bool:
        """Take the next pageviews; whether there may be more at once."""
        if not self._sites.listing:  # no pageview is a visit then, and reading them is dear
            return False
        now = time_ns() // 1000
        # What is older than a visit lasts tells of nobody who is there.
        after = max(self._last, int(now / 1000 - self._presence.stay * 1000) << SHIFT)

        def job(connection: sqlite3.Connection) -> tuple[int, int | None, str]:
            last, count = connection.execute(LAST, (after, STEP)).fetchone()
            if last is None:
                return 0, None, "[]"
            rows = connection.execute(NEXT, (after, last, NAME, CATEGORY)).fetchone()[0]
            return count, last, rows

        count, last, rows = await self._database.read_internal(job)
        # An id without an event may come from a clock that was ahead, and must not be kept.
        self._last = last or self._last
        for app, session, at, host, path, title in _rows(rows):
            if not isinstance(host, str) or not isinstance(path, str):
                continue
            name = canonical(host)
            entry = None if name is None else self._sites.listed(app, name)
            if entry is not None:
                self._presence.see(
                    app,
                    entry,
                    path,
                    session,
                    ago=(now - at) / 1e6,
                    title=title if isinstance(title, str) else "",
                )
        return count == STEP
