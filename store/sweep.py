"""Clears away what counts no longer: cut-off imports, and what newer imports replaced.

All of it in small steps, each of which leaves everything that counts as it was.
"""

import asyncio
import logging
import sqlite3
from collections.abc import AsyncIterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from store.database import Database
from store.steps import Steps

LOG = logging.getLogger("marquee.import")

Row = tuple[Any, ...]

# All tables that bear an import's number, with the rest of their keys.
KEYS = {
    "click": ("id",),
    "conversion": ("id",),
    "figure": ("slot", "campaign", "banner"),
    "target": ("banner",),
    "image": ("banner",),
    "reject": ("id",),
    "file": ("sha256", "name"),
}
PAGE = 10_000
# Each published import has figures of its own; beyond so many they are merged.
APART = 8
MERGE = """
INSERT INTO figure SELECT slot, campaign, banner, ?, impressions, clicks, conversions, revenue
FROM figure WHERE slot = ? AND campaign = ? AND banner = ? AND import = ?
ON CONFLICT DO UPDATE SET
    impressions = impressions + excluded.impressions,
    clicks = clicks + excluded.clicks,
    conversions = conversions + excluded.conversions,
    revenue = min(revenue + excluded.revenue, 9223372036854775807)
"""


async def cut_off(database: Database, images: Path) -> None:
    """Remove all that imports staged and never published; none may be under way."""
    for number in await _column(database, "SELECT id FROM import WHERE published_at IS NULL"):
        await remove(database, images, number)
        LOG.info("cleared away what import %d had staged before it was cut off", number)
    await _unlink(database, images)


async def remove(database: Database, images: Path, number: int) -> None:
    """Remove an unpublished import; none other may be under way."""
    # A last step of it, whose caller was cancelled, may still be queued: let it pass.
    await database.write(lambda _: None)
    for table, key in KEYS.items():
        delete = f"DELETE FROM {table} WHERE import = {number:d} AND " + " AND ".join(  # noqa: S608
            f"{name} = ?" for name in key
        )
        steps = Steps(database)
        async for rows in _pages(database, table, number):
            await steps.write(rows, partial(_each, delete))
    await Steps(database).write([(number,)], partial(_each, "DELETE FROM import WHERE id = ?"))
    await _unlink(database, images)


async def replaced(database: Database) -> None:
    """Remove targets and images that a newer published import replaced."""
    for table in ("target", "image"):
        stale = await _rows(
            database,
            f"SELECT banner, import FROM {table} AS old WHERE EXISTS (SELECT 1 FROM {table} AS new "  # noqa: S608
            "JOIN import ON import.id = new.import AND published_at IS NOT NULL "
            "WHERE new.banner = old.banner AND new.import > old.import)",
        )
        delete = f"DELETE FROM {table} WHERE banner = ? AND import = ?"  # noqa: S608
        await Steps(database).write(stale, partial(_each, delete))


async def merge(database: Database, apart: int = APART) -> None:
    """Merge the published imports' figures into the oldest one's if they are more than `apart`."""
    numbers = await _column(
        database,
        "SELECT id FROM import WHERE id > 0 AND published_at IS NOT NULL "
        "AND id IN (SELECT import FROM figure) ORDER BY id",
    )
    if len(numbers) <= apart:
        return
    steps = Steps(database)
    for number in numbers[1:]:
        async for rows in _pages(database, "figure", number):
            await steps.write(rows, partial(_merge, numbers[0], number))


def _merge(into: int, number: int, connection: sqlite3.Connection, keys: Sequence[Row]) -> None:
    connection.executemany(MERGE, [(into, *key, number) for key in keys])
    connection.executemany(
        "DELETE FROM figure WHERE slot = ? AND campaign = ? AND banner = ? AND import = ?",
        [(*key, number) for key in keys],
    )


def _each(sql: str, connection: sqlite3.Connection, rows: Sequence[Row]) -> None:
    connection.executemany(sql, rows)


async def _pages(database: Database, table: str, number: int) -> AsyncIterator[list[Row]]:
    names = ", ".join(KEYS[table])
    sql = f"SELECT {names} FROM {table} WHERE import = ?"  # noqa: S608
    after = f" AND ({names}) > ({', '.join('?' * len(KEYS[table]))})"
    end = f" ORDER BY {names} LIMIT {PAGE}"
    rows = await _rows(database, sql + end, number)
    while rows:
        yield rows
        rows = await _rows(database, sql + after + end, number, *rows[-1])


async def _rows(database: Database, sql: str, *values: object) -> list[Row]:
    return await database.read(lambda connection: connection.execute(sql, values).fetchall())


async def _column(database: Database, sql: str, *values: object) -> list[Any]:
    return [row[0] for row in await _rows(database, sql, *values)]


async def _unlink(database: Database, images: Path) -> None:
    used = {sha256.hex() for sha256 in await _column(database, "SELECT sha256 FROM image")}

    def unlink() -> None:
        for file in images.glob("*") if images.is_dir() else ():
            if file.name not in used:
                file.unlink()

    await asyncio.to_thread(unlink)
