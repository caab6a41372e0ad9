"""Pageviews of the log: those that came since last asked, and at the start those of late.

They are read after their commit, off the way of those who send them: an event that is not on disk
is no visitor, and taking events costs nothing more.
"""

import sqlite3
from time import time_ns
from typing import Any

import msgspec

from domain.common.hosts import canonical_host
from store.cache.active_visitors import ActiveVisitors
from store.sqlite.audience.site_registry import SiteRegistry
from store.sqlite.core.database import Database

PAGEVIEW_CATEGORY, PAGEVIEW_NAME = "page interaction", "pageview"
# Rows of a step.
READ_STEP_ROWS = 2_000
# Ids begin with their milliseconds.
ID_MILLISECONDS_SHIFT = 22
# The last of the next rows.
LAST_STEP_ROW_SQL = (
    "SELECT max(id), count(*) FROM (SELECT id FROM event WHERE id > ? ORDER BY id LIMIT ?)"
)
# All rows in one value: after each row the thread would have to wait for the interpreter.
NEXT_PAGEVIEWS_SQL = """
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

PageviewRow = tuple[int, str, int, Any, Any, Any]
_decode_rows = msgspec.json.Decoder(list[PageviewRow]).decode


class PageviewReader:
    """Has the presence follow the log."""

    def __init__(self, database: Database, sites: SiteRegistry, presence: ActiveVisitors) -> None:
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
        after = max(
            self._last, int(now / 1000 - self._presence.stay * 1000) << ID_MILLISECONDS_SHIFT
        )

        def job(connection: sqlite3.Connection) -> tuple[int, int | None, str]:
            last, count = connection.execute(LAST_STEP_ROW_SQL, (after, READ_STEP_ROWS)).fetchone()
            if last is None:
                return 0, None, "[]"
            rows = connection.execute(
                NEXT_PAGEVIEWS_SQL, (after, last, PAGEVIEW_NAME, PAGEVIEW_CATEGORY)
            ).fetchone()[0]
            return count, last, rows

        count, last, rows = await self._database.read_internal(job)
        # An id without an event may come from a clock that was ahead, and must not be kept.
        self._last = last or self._last
        for app, session, at, host, path, title in _decode_rows(rows):
            if not isinstance(host, str) or not isinstance(path, str):
                continue
            name = canonical_host(host)
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
        return count == READ_STEP_ROWS
