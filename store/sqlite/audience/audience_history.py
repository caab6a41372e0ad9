"""Visitors per page and minute of polled hosts, for the page history and the seasonal baseline.

Only the most visited pages of each minute are stored; the history of a host's other pages covers
only what is in memory.
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

MAX_PAGES_PER_MINUTE = 200
# Expired rows deleted in one transaction.
SWEEP_ROWS = 2_000
DAY_MINUTES = 24 * 60
# Earlier days that the seasonal baseline averages.
BASELINE_DAYS = 7

HostKey = tuple[str, str]

FIND_HOST_SQL = "SELECT id FROM audience WHERE source = ? AND key = ? AND host = ?"
ADD_HOST_SQL = "INSERT INTO audience (source, key, host) VALUES (?, ?, ?)"
ADD_MINUTE_SQL = """
INSERT INTO audience_minute VALUES (?, ?, ?)
ON CONFLICT DO UPDATE SET readings = readings + excluded.readings
"""
# All pages are passed as one JSON value, [[path, title, visitors], …]: with a statement or a result
# row per page, the writer thread would wait for the interpreter lock each time.
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
# Deletes expired rows of all hosts, then pages and hosts without any minute.
SWEEP_SQL = (
    """
    DELETE FROM audience_visitors WHERE (audience, minute, path) IN (
        SELECT here.audience, here.minute, here.path
        FROM audience CROSS JOIN audience_visitors AS here ON here.audience = audience.id
        WHERE here.minute < :oldest LIMIT :max_rows
    )
    """,
    """
    DELETE FROM audience_minute WHERE (audience, minute) IN (
        SELECT here.audience, here.minute
        FROM audience CROSS JOIN audience_minute AS here ON here.audience = audience.id
        WHERE here.minute < :oldest LIMIT :max_rows
    )
    """,
    """
    DELETE FROM audience_path WHERE id IN (
        SELECT here.id
        FROM audience CROSS JOIN audience_path AS here ON here.audience = audience.id
        WHERE here.minute < :oldest LIMIT :max_rows
    )
    """,
    """
    DELETE FROM audience
    WHERE NOT EXISTS (SELECT 1 FROM audience_minute WHERE audience = audience.id)
        AND NOT EXISTS (SELECT 1 FROM audience_path WHERE audience = audience.id)
    """,
)
LAST_MINUTE_SQL = "(SELECT max(minute) FROM audience_minute WHERE audience = audience.id)"
# SQLite builds the JSON: building it in Python from thousands of rows would block other requests.
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
    """Minutes read from one source (this server or an upstream)."""

    def __init__(self, database: Database, source: str, days: int) -> None:
        """`days` is the retention period."""
        self._database = database
        self._source = source
        self._days = days

    async def add_minute(self, key: HostKey, totals: MinuteTotals, titles: dict[str, str]) -> None:
        """Store a minute of a host, added to what is stored of that minute."""
        largest = nlargest(MAX_PAGES_PER_MINUTE, totals.sums.items(), key=lambda each: each[1])
        pages = msgspec.json.encode(
            [(path, titles.get(path, ""), visitors) for path, visitors in largest]
        ).decode()
        minute = totals.minute

        def job(connection: sqlite3.Connection) -> None:
            found = connection.execute(FIND_HOST_SQL, (self._source, *key)).fetchone()
            audience = found[0] if found else None
            if audience is None:
                audience = connection.execute(ADD_HOST_SQL, (self._source, *key)).lastrowid
            connection.execute(ADD_MINUTE_SQL, (audience, minute, totals.readings))
            values = {"audience": audience, "minute": minute, "pages": pages}
            connection.execute(ADD_PATHS_SQL, values)
            connection.execute(ADD_VISITORS_SQL, values)

        await self._database.write(job)

    async def sweep(self, now: int) -> bool:
        """Delete some of the rows expired at `now` (µs); return whether more may remain."""
        oldest = now // 60_000_000 - self._days * DAY_MINUTES

        def job(connection: sqlite3.Connection) -> int:
            values = {"oldest": oldest, "max_rows": SWEEP_ROWS}
            return max(connection.execute(each, values).rowcount for each in SWEEP_SQL)

        return await self._database.write(job) >= SWEEP_ROWS

    async def recent_hosts(self, limit: int) -> list[HostKey]:
        """Return up to `limit` hosts, most recently read first."""
        newest: list[tuple[int, int, str, str]] = []
        table = TableScan(
            "audience NOT INDEXED",
            ("id",),
            f"coalesce({LAST_MINUTE_SQL}, 0), id, key, host",
            "source = ?",
            (self._source,),
        )
        async for rows in read_pages(self._database.read_internal, table):
            newest = nlargest(limit, [*newest, *rows])
        return [(key, host) for _, _, key, host in newest]

    async def history(self, key: HostKey, path: str, begin: int, end: int) -> bytes:
        """Return a page's average visitors in each minute with readings, as JSON.

        `begin` and `end` (exclusive) are minutes since 1970.
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

    async def read_baseline(self, key: HostKey, now: float | None = None) -> SeasonalBaseline:
        """Return what earlier days had at this time of day; `now` in seconds since 1970."""
        interval_start = int(
            (time() if now is None else now)
            // BASELINE_INTERVAL_SECONDS
            * BASELINE_INTERVAL_SECONDS
        )
        begin, end = (
            interval_start - MAX_WINDOW_SECONDS - COMPARISON_SECONDS - BASELINE_INTERVAL_SECONDS,
            interval_start + 3 * BASELINE_INTERVAL_SECONDS,
        )
        parts = (end - begin) // BASELINE_INTERVAL_SECONDS

        days = [0] * parts
        averages: dict[str, list[float]] = {}

        def job(day: int, connection: sqlite3.Connection) -> None:
            found = connection.execute(FIND_HOST_SQL, (self._source, *key)).fetchone()
            if found is None:
                return
            parameters: dict[str, int] = {
                "audience": found[0],
                "begin": begin // MINUTE_SECONDS,
                "end": end // MINUTE_SECONDS,
                "back": day * DAY_MINUTES,
                "part": BASELINE_INTERVAL_SECONDS // MINUTE_SECONDS,
            }
            readings = dict(
                _decode_readings(
                    connection.execute(BASELINE_READINGS_SQL, parameters).fetchone()[0]
                )
            )
            for part in readings:
                days[part] += 1
            rows = connection.execute(BASELINE_VISITORS_SQL, parameters).fetchone()[0]
            for part, path, visitors in _decode_visitors(rows):
                sums = averages.setdefault(path, [0.0] * parts)
                sums[part] += visitors / readings[part]

        for day in range(1, BASELINE_DAYS + 1):
            await self._database.read_internal(partial(job, day))
        for sums in averages.values():
            sums[:] = [total / (count or 1) for total, count in zip(sums, days, strict=True)]
        return SeasonalBaseline(begin, days, averages)
