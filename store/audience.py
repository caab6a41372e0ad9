"""Minute averages of watched hosts: kept for some days, for their history and for other days'.

Of each minute the most visited pages are kept; of a host with more, the others' history ends with
what is in memory.
"""

import sqlite3
from functools import partial
from heapq import nlargest
from time import time

import msgspec

from rules.history import LONGEST, MINUTE, PAST, Closed
from rules.other_days import PART, OtherDays
from store.database import Database
from store.paging import Table, pages

# Pages of a minute that are kept.
KEPT = 200
# Rows of what is too old that go in one step.
SWEPT = 2_000
DAY = 24 * 60
# Other days that are looked at.
DAYS = 7

Key = tuple[str, str]

FIND = "SELECT id FROM audience WHERE source = ? AND key = ? AND host = ?"
ADD = "INSERT INTO audience (source, key, host) VALUES (?, ?, ?)"
ADD_MINUTE = """
INSERT INTO audience_minute VALUES (?, ?, ?)
ON CONFLICT DO UPDATE SET readings = readings + excluded.readings
"""
# All pages come as one value, [[path, title, visitors], …]: each statement of its own, and each
# row that comes back, would have the writer wait for the interpreter.
ADD_PATHS = """
INSERT INTO audience_path (audience, path, title, minute)
SELECT :audience, value ->> 0, value ->> 1, :minute FROM json_each(:pages) WHERE true
ON CONFLICT (audience, path) DO UPDATE SET
    title = CASE excluded.title WHEN '' THEN title ELSE excluded.title END,
    minute = max(minute, excluded.minute)
"""
ADD_VISITORS = """
INSERT INTO audience_visitors
SELECT :audience, :minute, audience_path.id, each.value ->> 2
FROM json_each(:pages) AS each CROSS JOIN audience_path
    ON audience_path.audience = :audience AND audience_path.path = each.value ->> 0
WHERE true
ON CONFLICT DO UPDATE SET visitors = visitors + excluded.visitors
"""
# What is too old, of whichever host, and what is left of hosts and pages without a minute.
SWEEP = (
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
READ_LAST = "(SELECT max(minute) FROM audience_minute WHERE audience = audience.id)"
# The answer as it is sent: to make it of so many rows in Python would hold up everything else.
HISTORY = """
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
READINGS = """
SELECT json_group_array(json_array(part, readings)) FROM (
    SELECT (minute + :back - :begin) / :part AS part, sum(readings) AS readings
    FROM audience_minute
    WHERE audience = :audience AND minute >= :begin - :back AND minute < :end - :back
    GROUP BY 1
)
"""
VISITORS = """
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


_numbers = msgspec.json.Decoder(list[tuple[int, int]]).decode
_pages = msgspec.json.Decoder(list[tuple[int, str, int]]).decode


class Audiences:
    """The minutes of what one source tells."""

    def __init__(self, database: Database, source: str, days: int) -> None:
        """Minutes are kept for so many days."""
        self._database = database
        self._source = source
        self._days = days

    async def keep(self, key: Key, closed: Closed, titles: dict[str, str]) -> None:
        """Keep a minute of a host; what is kept of it already is added to."""
        largest = nlargest(KEPT, closed.sums.items(), key=lambda each: each[1])
        pages = msgspec.json.encode(
            [(path, titles.get(path, ""), visitors) for path, visitors in largest]
        ).decode()
        minute = closed.minute

        def job(connection: sqlite3.Connection) -> None:
            found = connection.execute(FIND, (self._source, *key)).fetchone()
            audience = found[0] if found else None
            if audience is None:
                audience = connection.execute(ADD, (self._source, *key)).lastrowid
            connection.execute(ADD_MINUTE, (audience, minute, closed.readings))
            values = {"audience": audience, "minute": minute, "pages": pages}
            connection.execute(ADD_PATHS, values)
            connection.execute(ADD_VISITORS, values)

        await self._database.write(job)

    async def sweep(self, now: int) -> bool:
        """Let go of some of what is too old at `now` (µs); whether there may be more."""
        oldest = now // 60_000_000 - self._days * DAY

        def job(connection: sqlite3.Connection) -> int:
            values = {"oldest": oldest, "most": SWEPT}
            return max(connection.execute(each, values).rowcount for each in SWEEP)

        return await self._database.write(job) >= SWEPT

    async def watched(self, most: int) -> list[Key]:
        """Up to so many hosts that were read, the last ones first."""
        newest: list[tuple[int, int, str, str]] = []
        table = Table(
            "audience NOT INDEXED",
            ("id",),
            f"coalesce({READ_LAST}, 0), id, key, host",
            "source = ?",
            (self._source,),
        )
        async for rows in pages(self._database.read_internal, table):
            newest = nlargest(most, [*newest, *rows])
        return [(key, host) for _, _, key, host in newest]

    async def history(self, key: Key, path: str, begin: int, end: int) -> bytes:
        """Return a page's average in each minute that was read, as JSON.

        The minutes are those since 1970 from `begin` to before `end`.
        """

        def job(connection: sqlite3.Connection) -> bytes:
            found = connection.execute(FIND, (self._source, *key)).fetchone()
            if found is None:
                return b"[]"
            sql = "SELECT id FROM audience_path WHERE audience = ? AND path = ?"
            page = connection.execute(sql, (found[0], path)).fetchone()
            if page is None:
                return b"[]"
            rows: str = connection.execute(HISTORY, (page[0], found[0], begin, end)).fetchone()[0]
            return rows.encode()

        return await self._database.read(job)

    async def other_days(self, key: Key, now: float | None = None) -> OtherDays:
        """What the days before say of the time of day in which we are (seconds since 1970)."""
        here = int((time() if now is None else now) // PART * PART)
        begin, end = here - LONGEST - PAST - PART, here + 3 * PART
        parts = (end - begin) // PART

        days = [0] * parts
        averages: dict[str, list[float]] = {}

        def job(day: int, connection: sqlite3.Connection) -> None:
            found = connection.execute(FIND, (self._source, *key)).fetchone()
            if found is None:
                return
            asked: dict[str, int] = {
                "audience": found[0],
                "begin": begin // MINUTE,
                "end": end // MINUTE,
                "back": day * DAY,
                "part": PART // MINUTE,
            }
            readings = dict(_numbers(connection.execute(READINGS, asked).fetchone()[0]))
            for part in readings:
                days[part] += 1
            rows = connection.execute(VISITORS, asked).fetchone()[0]
            for part, path, visitors in _pages(rows):
                sums = averages.setdefault(path, [0.0] * parts)
                sums[part] += visitors / readings[part]

        for day in range(1, DAYS + 1):
            await self._database.read_internal(partial(job, day))
        for sums in averages.values():
            sums[:] = [total / (count or 1) for total, count in zip(sums, days, strict=True)]
        return OtherDays(begin, days, averages)
