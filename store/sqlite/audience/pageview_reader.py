"""Reads new pageviews from the event log into the active visitors; at the start, recent ones.

Pageviews are read after their commit: an event that is not on disk does not count as a visitor, and
ingest is not slowed down.
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
READ_STEP_ROWS = 2_000
# An event id is the milliseconds of receipt, shifted by this many bits.
ID_MILLISECONDS_SHIFT = 22
# The id of the last row of the next step.
LAST_STEP_ROW_SQL = (
    "SELECT max(id), count(*) FROM (SELECT id FROM event WHERE id > ? ORDER BY id LIMIT ?)"
)
# One JSON value: with a row per pageview, the thread would wait for the interpreter lock each time.
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
    """Adds committed pageviews to the active visitors."""

    def __init__(self, database: Database, sites: SiteRegistry, visitors: ActiveVisitors) -> None:
        self._database = database
        self._sites = sites
        self._visitors = visitors
        self._last = 0

    async def process_next(self) -> bool:
        """Process the next pageviews; return whether more may be waiting."""
        # Without hosts no pageview is a visit, and reading them is expensive.
        if not self._sites.has_hosts:
            return False
        now = time_ns() // 1000
        # An event older than the active period belongs to no active visitor.
        after = max(
            self._last, int(now / 1000 - self._visitors.stay * 1000) << ID_MILLISECONDS_SHIFT
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
        # Remember only ids of events: `after` may lie ahead if the clock was ahead.
        self._last = last or self._last
        for app, session, at, host, path, title in _decode_rows(rows):
            if not isinstance(host, str) or not isinstance(path, str):
                continue
            name = canonical_host(host)
            entry = None if name is None else self._sites.matching_host(app, name)
            if entry is not None:
                self._visitors.see(
                    app,
                    entry,
                    path,
                    session,
                    ago=(now - at) / 1e6,
                    title=title if isinstance(title, str) else "",
                )
        return count == READ_STEP_ROWS
