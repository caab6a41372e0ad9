"""Minute averages of watched hosts: kept for some days, for their history and for other days'.

Of each minute the most visited pages are kept; of a host with more, the others' history ends with
what is in memory.
"""

import sqlite3
from functools import partial
from heapq import nlargest
from time import time

import msgspec

from domain.audience.seasonal_baseline import BASELINE_INTERVAL_SECONDS, SeasonalBaseline
from domain.audience.visitor_history import (
    COMPARISON_SECONDS,
    MAX_WINDOW_SECONDS,
    MINUTE_SECONDS,
    MinuteTotals,
)
from store.sqlite.core.database import Database
from store.sqlite.core.paging import TableScan, read_pages

# Pages of a minute that are kept.
MAX_PAGES_PER_MINUTE = 200
# Rows of what is too old that go in one step.
SWEEP_ROWS = 2_000
DAY_MINUTES = 24 * 60
# Other days that are looked at.
BASELINE_DAYS = 7

HostKey = tuple[str, str]

FIND_HOST_SQL = "SELECT id FROM audience WHERE source = ? AND key = ? AND host = ?"
ADD_HOST_SQL = "INSERT INTO audience (source, key, host) VALUES (?, ?, ?)"
ADD_MINUTE_SQL = """
INSERT INTO audience_minute VALUES (?, ?, ?)
ON CONFLICT DO UPDATE SET readings = readings + excluded.readings
"""
# All pages come as one value, [[path, title, visitors], …]: each statement of its own, and each
# row that comes back, would have the writer wait for the interpreter.
ADD_PATHS_SQL = """
INSERT INTO audience_path (audience, path, title, minute)
SELECT :audience, value ->> 0, value ->> 1, :minute FROM json_each(:pages) WHERE true
ON CONFLICT (audience, path) DO UPDATE SET
    title = CASE excluded.title WHEN '' THEN title ELSE excluded.title END,
    minute = max(minute, excluded.minute)
"""
ADD_VISITORS_SQL = """
INSERT INTO audience_visitors
SELECT :audience, :minute, audience_path.id, each.value ->> 2
FROM json_each(:pages) AS each CROSS JOIN audience_path
    ON audience_path.audience = :audience AND audience_path.path = each.value ->> 0
WHERE true
ON CONFLICT DO UPDATE SET visitors = visitors + excluded.visitors
"""
# What is too old, of whichever host, and what is left of hosts and pages without a minute.
SWEEP_SQL = (
    """
    DELETE FROM audience_visitors WHERE (audience, minute, path) IN (
        SELECT here.audience, here.minute, here.path
        FROM audience CROSS JOIN audience_visitors AS here ON here.audience = audience.id
        WHERE here.minute < :oldest LIMIT :most
    )
    """,
    """
    DELETE FROM audience_minute WHERE (audience, minute) IN (
        SELECT here.audience, here.minute
        FROM audience CROSS JOIN audience_minute AS here ON here.audience = audience.id
        WHERE here.minute < :oldest LIMIT :most
    )
    """,
    """
    DELETE FROM audience_path WHERE id IN (
        SELECT here.id
        FROM audience CROSS JOIN audience_path AS here ON here.audience = audience.id
        WHERE here.minute < :oldest LIMIT :most
    )
    """,
    """
    DELETE FROM audience
    WHERE NOT EXISTS (SELECT 1 FROM audience_minute WHERE audience = audience.id)
        AND NOT EXISTS (SELECT 1 FROM audience_path WHERE audience = audience.id)
    """,
)
LAST_MINUTE_SQL = "(SELECT max(minute) FROM audience_minute WHERE audience = audience.id)"
# The answer as it is sent: to make it of so many rows in Python would hold up everything else.
PAGE_HISTORY_SQL = """
SELECT json_group_array(json_object(
    'minute', strftime('%Y-%m-%dT%H:%M:00.000000Z', minute * 60, 'unixepoch'),
    'visitors', round(visitors, 2)
)) FROM (
    SELECT each.minute AS minute, coalesce(here.visitors, 0) * 1.0 / each.readings AS visitors
    FROM audience_minute AS each LEFT JOIN audience_visitors AS here
        ON here.audience = each.audience AND here.minute = each.minute AND here.path = ?
    WHERE each.audience = ? AND each.minute >= ? AND each.minute < ?
    ORDER BY each.minute
)
"""
BASELINE_READINGS_SQL = """
SELECT json_group_array(json_array(part, readings)) FROM (
    SELECT (minute + :back - :begin) / :part AS part, sum(readings) AS readings
    FROM audience_minute
    WHERE audience = :audience AND minute >= :begin - :back AND minute < :end - :back
    GROUP BY 1
)
"""
BASELINE_VISITORS_SQL = """
SELECT json_group_array(json_array(part, path, visitors)) FROM (
    SELECT
        (here.minute + :back - :begin) / :part AS part,
        audience_path.path AS path,
        sum(here.visitors) AS visitors
    FROM audience_visitors AS here JOIN audience_path ON audience_path.id = here.path
    WHERE here.audience = :audience
        AND here.minute >= :begin - :back AND here.minute < :end - :back
    GROUP BY 1, 2
)
"""


_decode_readings = msgspec.json.Decoder(list[tuple[int, int]]).decode
_decode_visitors = msgspec.json.Decoder(list[tuple[int, str, int]]).decode


class AudienceHistory:
    """The minutes of what one source tells."""

    def __init__(self, database: Database, source: str, days: int) -> None:
        """Minutes are kept for so many days."""
        self._database = database
        self._source = source
        self._days = days

    async def keep(self, key: HostKey, closed: MinuteTotals, titles: dict[str, str]) -> None:
        """Keep a minute of a host; what is kept of it already is added to."""
        largest = nlargest(MAX_PAGES_PER_MINUTE, closed.sums.items(), key=lambda each: each[1])
        pages = msgspec.json.encode(
            [(path, titles.get(path, ""), visitors) for path, visitors in largest]
        ).decode()
        minute = closed.minute

        def job(connection: sqlite3.Connection) -> None:
            found = connection.execute(FIND_HOST_SQL, (self._source, *key)).fetchone()
            audience = found[0] if found else None
            if audience is None:
                audience = connection.execute(ADD_HOST_SQL, (self._source, *key)).lastrowid
            connection.execute(ADD_MINUTE_SQL, (audience, minute, closed.readings))
            values = {"audience": audience, "minute": minute, "pages": pages}
            connection.execute(ADD_PATHS_SQL, values)
            connection.execute(ADD_VISITORS_SQL, values)

        await self._database.write(job)

    async def sweep(self, now: int) -> bool:
        """Let go of some of what is too old at `now` (µs); whether there may be more."""
        oldest = now // 60_000_000 - self._days * DAY_MINUTES

        def job(connection: sqlite3.Connection) -> int:
            values = {"oldest": oldest, "most": SWEEP_ROWS}
            return max(connection.execute(each, values).rowcount for each in SWEEP_SQL)

        return await self._database.write(job) >= SWEEP_ROWS

    async def watched(self, most: int) -> list[HostKey]:
        """Up to so many hosts that were read, the last ones first."""
        newest: list[tuple[int, int, str, str]] = []
        table = TableScan(
            "audience NOT INDEXED",
            ("id",),
            f"coalesce({LAST_MINUTE_SQL}, 0), id, key, host",
            "source = ?",
            (self._source,),
        )
        async for rows in read_pages(self._database.read_internal, table):
            newest = nlargest(most, [*newest, *rows])
        return [(key, host) for _, _, key, host in newest]

    async def history(self, key: HostKey, path: str, begin: int, end: int) -> bytes:
        """Return a page's average in each minute that was read, as JSON.

        The minutes are those since 1970 from `begin` to before `end`.
        """

        def job(connection: sqlite3.Connection) -> bytes:
            found = connection.execute(FIND_HOST_SQL, (self._source, *key)).fetchone()
            if found is None:
                return b"[]"
            sql = "SELECT id FROM audience_path WHERE audience = ? AND path = ?"
            page = connection.execute(sql, (found[0], path)).fetchone()
            if page is None:
                return b"[]"
            rows: str = connection.execute(
                PAGE_HISTORY_SQL, (page[0], found[0], begin, end)
            ).fetchone()[0]
            return rows.encode()

        return await self._database.read(job)

    async def other_days(self, key: HostKey, now: float | None = None) -> SeasonalBaseline:
        """What the days before say of the time of day in which we are (seconds since 1970)."""
        here = int(
            (time() if now is None else now)
            // BASELINE_INTERVAL_SECONDS
            * BASELINE_INTERVAL_SECONDS
        )
        begin, end = (
            here - MAX_WINDOW_SECONDS - COMPARISON_SECONDS - BASELINE_INTERVAL_SECONDS,
            here + 3 * BASELINE_INTERVAL_SECONDS,
        )
        parts = (end - begin) // BASELINE_INTERVAL_SECONDS

        days = [0] * parts
        averages: dict[str, list[float]] = {}

        def job(day: int, connection: sqlite3.Connection) -> None:
            found = connection.execute(FIND_HOST_SQL, (self._source, *key)).fetchone()
            if found is None:
                return
            asked: dict[str, int] = {
                "audience": found[0],
                "begin": begin // MINUTE_SECONDS,
                "end": end // MINUTE_SECONDS,
                "back": day * DAY_MINUTES,
                "part": BASELINE_INTERVAL_SECONDS // MINUTE_SECONDS,
            }
            readings = dict(
                _decode_readings(connection.execute(BASELINE_READINGS_SQL, asked).fetchone()[0])
            )
            for part in readings:
                days[part] += 1
            rows = connection.execute(BASELINE_VISITORS_SQL, asked).fetchone()[0]
            for part, path, visitors in _decode_visitors(rows):
                sums = averages.setdefault(path, [0.0] * parts)
                sums[part] += visitors / readings[part]

        for day in range(1, BASELINE_DAYS + 1):
            await self._database.read_internal(partial(job, day))
        for sums in averages.values():
            sums[:] = [total / (count or 1) for total, count in zip(sums, days, strict=True)]
        return SeasonalBaseline(begin, days, averages)
