"""Clears away what counts no longer: cut-off imports, and what newer imports replaced.

All of it in small steps, each of which leaves everything that counts as it was.
"""

import asyncio
import logging
import sqlite3
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from store.correcting import restore
from store.database import Database
from store.paging import Table, all_rows, pages, scan
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
    "merged_figure": ("slot", "campaign", "banner"),
    "replacement": ("slot", "campaign"),
}
FIGURE = KEYS["figure"]
# Each published import has figures of its own; beyond so many they are merged.
APART = 8
MERGE = """
INSERT INTO figure SELECT slot, campaign, banner, -1, impressions, clicks, conversions, revenue
FROM figure WHERE slot = ? AND campaign = ? AND banner = ? AND import = ?
ON CONFLICT DO UPDATE SET
    impressions = impressions + excluded.impressions,
    clicks = clicks + excluded.clicks,
    conversions = conversions + excluded.conversions,
    revenue = min(revenue + excluded.revenue, 9223372036854775807)
"""
KEEP = """
INSERT INTO merged_figure
SELECT import, slot, campaign, banner, impressions, clicks, conversions, revenue
FROM figure WHERE slot = ? AND campaign = ? AND banner = ? AND import = ?
"""


async def cut_off(database: Database, images: Path) -> None:
    """Remove all that imports staged and never published; none may be under way."""
    imports = Table("import", ("id",), "id", "published_at IS NULL")
    for (number,) in await all_rows(database.read_internal, imports):
        await remove(database, images, number)
        LOG.info("removed the rows of import %d, which was interrupted or undone", number)
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
        async for rows in pages(database.read_internal, _of_import(table, number)):
            await steps.write(rows, partial(_each, delete))
        if table == "conversion":
            await restore(database, number)
    await Steps(database).write([(number,)], partial(_each, "DELETE FROM import WHERE id = ?"))
    await _unlink(database, images)


async def replaced(database: Database) -> None:
    """Remove targets and images that a published import replaced which is not among the newest.

    One of the `APART` newest may still be taken back.
    """
    for table in ("target", "image"):
        stale = Table(
            f"{table} AS old",
            ("banner", "import"),
            "banner, import",
            f"EXISTS (SELECT 1 FROM {table} AS new "  # noqa: S608
            "JOIN import ON import.id = new.import AND published_at IS NOT NULL "
            "WHERE new.banner = old.banner AND new.import > old.import AND new.import <= "
            "(SELECT id FROM import WHERE published_at IS NOT NULL ORDER BY id DESC "
            f"LIMIT 1 OFFSET {APART}))",
        )
        delete = f"DELETE FROM {table} WHERE banner = ? AND import = ?"  # noqa: S608
        steps = Steps(database)
        async for rows in pages(database.read_internal, stale):
            await steps.write(rows, partial(_each, delete))


async def merge(database: Database, apart: int = APART) -> None:
    """Merge the published imports' figures if they are more than `apart`.

    What each of them counted is kept aside, so that it can still be taken back.
    """
    read = database.read_internal
    published = Table("import", ("id",), "id", "id > 0 AND published_at IS NOT NULL")
    numbers = [number for (number,) in await all_rows(read, published)]
    if len(numbers) <= apart:
        return
    used: set[int] = set()
    async for _ in scan(
        read, Table("figure", FIGURE, "import"), lambda rows: used.update(it for (it,) in rows)
    ):
        pass
    numbers = [number for number in numbers if number in used]
    if len(numbers) <= apart:
        return
    steps = Steps(database)
    for number in numbers:
        async for rows in pages(read, _of_import("figure", number)):
            await steps.write(rows, partial(_merge, number))


def _merge(number: int, connection: sqlite3.Connection, keys: Sequence[Row]) -> None:
    connection.executemany(MERGE, [(*key, number) for key in keys])
    connection.executemany(KEEP, [(*key, number) for key in keys])
    connection.executemany(
        "DELETE FROM figure WHERE slot = ? AND campaign = ? AND banner = ? AND import = ?",
        [(*key, number) for key in keys],
    )


def _each(sql: str, connection: sqlite3.Connection, rows: Sequence[Row]) -> None:
    connection.executemany(sql, rows)


def _of_import(table: str, number: int) -> Table:
    """The keys of an import's rows in a table."""
    key = KEYS[table]
    return Table(table, key, ", ".join(key), "import = ?", (number,))


async def _unlink(database: Database, images: Path) -> None:
    table = Table("image", ("banner", "import"), "sha256")
    used = {sha256.hex() for (sha256,) in await all_rows(database.read_internal, table)}

    def unlink() -> None:
        for file in images.glob("*") if images.is_dir() else ():
            if file.name not in used:
                file.unlink()

    await asyncio.to_thread(unlink)
