"""Removal of interrupted imports and of rows that newer imports replaced.

All functions work in small steps; none of the steps changes published totals.
"""

import asyncio
import logging
import sqlite3
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from store.sqlite.core.batched_writes import BatchedWriter
from store.sqlite.core.database import Database
from store.sqlite.core.paging import TableScan, map_pages, read_all_rows, read_pages
from store.sqlite.imports.import_corrections import restore_replaced

LOG = logging.getLogger("marquee.import")

KeyRow = tuple[Any, ...]

# Tables with an import's number, and the other columns of their keys.
IMPORT_TABLE_KEYS = {
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
STATS_KEY = IMPORT_TABLE_KEYS["figure"]
# Maximum number of published imports with separate stats; beyond it they are merged.
MAX_UNMERGED_IMPORTS = 8
MERGE_STATS_SQL = """
INSERT INTO figure SELECT slot, campaign, banner, -1, impressions, clicks, conversions, revenue
FROM figure WHERE slot = ? AND campaign = ? AND banner = ? AND import = ?
ON CONFLICT DO UPDATE SET
    impressions = impressions + excluded.impressions,
    clicks = clicks + excluded.clicks,
    conversions = conversions + excluded.conversions,
    revenue = min(revenue + excluded.revenue, 9223372036854775807)
"""
SAVE_MERGED_STATS_SQL = """
INSERT INTO merged_figure
SELECT import, slot, campaign, banner, impressions, clicks, conversions, revenue
FROM figure WHERE slot = ? AND campaign = ? AND banner = ? AND import = ?
"""


async def remove_unpublished(database: Database, images: Path) -> None:
    """Remove all unpublished imports; none may be active."""
    imports = TableScan("import", ("id",), "id", "published_at IS NULL")
    for (number,) in await read_all_rows(database.read_internal, imports):
        await remove_import(database, images, number)
        LOG.info("removed interrupted or undone import number=%d", number)
    await _delete_unused_images(database, images)


async def remove_import(database: Database, images: Path, number: int) -> None:
    """Remove an unpublished import; no other may be active."""
    # Wait for a queued step of the import whose caller was cancelled.
    await database.write(lambda _: None)
    for table, key in IMPORT_TABLE_KEYS.items():
        delete = f"DELETE FROM {table} WHERE import = {number:d} AND " + " AND ".join(  # noqa: S608
            f"{name} = ?" for name in key
        )
        writer = BatchedWriter(database)
        async for rows in read_pages(database.read_internal, _import_key_scan(table, number)):
            await writer.write(rows, partial(_execute_many, delete))
        if table == "conversion":
            await restore_replaced(database, number)
    await BatchedWriter(database).write(
        [(number,)], partial(_execute_many, "DELETE FROM import WHERE id = ?")
    )
    await _delete_unused_images(database, images)


async def remove_superseded(database: Database) -> None:
    """Remove targets and images that an import before the newest `MAX_UNMERGED_IMPORTS` replaced.

    An undo of a newer import restores the ones that it replaced.
    """
    for table in ("target", "image"):
        superseded = TableScan(
            f"{table} AS old",
            ("banner", "import"),
            "banner, import",
            f"EXISTS (SELECT 1 FROM {table} AS new "  # noqa: S608
            "JOIN import ON import.id = new.import AND published_at IS NOT NULL "
            "WHERE new.banner = old.banner AND new.import > old.import AND new.import <= "
            "(SELECT id FROM import WHERE published_at IS NOT NULL ORDER BY id DESC "
            f"LIMIT 1 OFFSET {MAX_UNMERGED_IMPORTS}))",
        )
        delete = f"DELETE FROM {table} WHERE banner = ? AND import = ?"  # noqa: S608
        writer = BatchedWriter(database)
        async for rows in read_pages(database.read_internal, superseded):
            await writer.write(rows, partial(_execute_many, delete))


async def merge_stats(database: Database, max_unmerged: int = MAX_UNMERGED_IMPORTS) -> None:
    """Merge the stats of published imports if more than `max_unmerged` have separate stats.

    The stats of each import are also copied to `merged_figure` for a later undo.
    """
    read = database.read_internal
    published = TableScan("import", ("id",), "id", "id > 0 AND published_at IS NOT NULL")
    numbers = [number for (number,) in await read_all_rows(read, published)]
    if len(numbers) <= max_unmerged:
        return
    unmerged: set[int] = set()
    async for _ in map_pages(
        read,
        TableScan("figure", STATS_KEY, "import"),
        lambda rows: unmerged.update(number for (number,) in rows),
    ):
        pass
    numbers = [number for number in numbers if number in unmerged]
    if len(numbers) <= max_unmerged:
        return
    writer = BatchedWriter(database)
    for number in numbers:
        async for rows in read_pages(read, _import_key_scan("figure", number)):
            await writer.write(rows, partial(_merge_stats_rows, number))


def _merge_stats_rows(number: int, connection: sqlite3.Connection, keys: Sequence[KeyRow]) -> None:
    connection.executemany(MERGE_STATS_SQL, [(*key, number) for key in keys])
    connection.executemany(SAVE_MERGED_STATS_SQL, [(*key, number) for key in keys])
    connection.executemany(
        "DELETE FROM figure WHERE slot = ? AND campaign = ? AND banner = ? AND import = ?",
        [(*key, number) for key in keys],
    )


def _execute_many(sql: str, connection: sqlite3.Connection, rows: Sequence[KeyRow]) -> None:
    connection.executemany(sql, rows)


def _import_key_scan(table: str, number: int) -> TableScan:
    """Return a scan of the keys of an import's rows."""
    key = IMPORT_TABLE_KEYS[table]
    return TableScan(table, key, ", ".join(key), "import = ?", (number,))


async def _delete_unused_images(database: Database, images: Path) -> None:
    table = TableScan("image", ("banner", "import"), "sha256")
    used = {sha256.hex() for (sha256,) in await read_all_rows(database.read_internal, table)}

    def unlink() -> None:
        for file in images.glob("*") if images.is_dir() else ():
            if file.name not in used:
                file.unlink()

    await asyncio.to_thread(unlink)
