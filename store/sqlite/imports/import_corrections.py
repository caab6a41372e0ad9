"""Corrections of imports: undo an import, or replace the stats of campaigns in slots.

Both stage rows of a new import in small steps, and one commit publishes them. Negative stats
correct published ones, as totals are sums over all published imports.
"""

import sqlite3
from collections.abc import Sequence
from functools import partial

from store.api.errors import StoreRefused
from store.api.import_session import ReplacedStats
from store.sqlite.core.batched_writes import BatchedWriter
from store.sqlite.core.database import Database
from store.sqlite.core.paging import SqlRow, TableScan, read_all_rows, read_pages

ADD_STATS_SQL = """
INSERT INTO figure VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET
    impressions = impressions + excluded.impressions,
    clicks = clicks + excluded.clicks,
    conversions = conversions + excluded.conversions,
    revenue = min(revenue + excluded.revenue, 9223372036854775807)
"""
PUBLISHED_IMPORTS = TableScan("import", ("id",), "id", "published_at IS NOT NULL AND id != 0")
# Columns of the tables `replaced_*` after the number of the replacing import; `owner` is the import
# that stored the row.
REPLACED_COLUMNS = {
    "click": "id, import, slot, campaign, banner",
    "conversion": "id, import, slot, click, revenue",
}
RESTORED_COLUMNS = {
    "click": "id, owner, slot, campaign, banner",
    "conversion": "id, owner, slot, click, revenue",
}
UNDO_IMPORTS_SQL = "(SELECT by FROM undone)"
# The campaign of a conversion: that of its click when the conversion was stored. A later import may
# have stored the click's id again for another campaign.
CONVERSION_CAMPAIGN_SQL = f"""(
    SELECT campaign FROM (
        SELECT import AS owner, campaign FROM click WHERE id = conversion.click
        UNION ALL
        SELECT owner, campaign FROM replaced_click
        WHERE id = conversion.click AND import NOT IN {UNDO_IMPORTS_SQL}
    ) WHERE owner <= conversion.import ORDER BY owner DESC LIMIT 1
)"""  # noqa: S608


async def stage_replacement(
    database: Database, number: int, slots: Sequence[int], campaigns: Sequence[int]
) -> ReplacedStats:
    """Stage, for import `number`, the removal of all stats of these slots and campaigns.

    Also moves their clicks and conversions away, so that the import can store the ids again.
    """
    read, replaced_campaigns = database.read_internal, frozenset(campaigns)
    in_slots = f"slot IN ({', '.join(str(int(slot)) for slot in slots) or 'NULL'})"
    for table, campaign in (("conversion", CONVERSION_CAMPAIGN_SQL), ("click", "campaign")):
        writer = BatchedWriter(database)
        async for rows in read_pages(read, TableScan(table, ("id",), f"id, {campaign}", in_slots)):
            ids = [(id_,) for id_, row_campaign in rows if row_campaign in replaced_campaigns]
            await writer.write(ids, partial(_move_to_replaced, table, number))
    published = {each for (each,) in await read_all_rows(read, PUBLISHED_IMPORTS)}
    stats = TableScan(
        "figure",
        ("slot", "campaign", "banner"),
        "import, slot, campaign, banner, impressions, clicks, conversions, revenue",
        in_slots,
    )
    writer, totals = BatchedWriter(database), [0, 0, 0]
    async for rows in read_pages(read, stats):
        sums: dict[tuple[int, int, int], list[int]] = {}
        for import_number, slot, campaign, banner, *amounts in rows:
            if import_number in published and campaign in replaced_campaigns:
                previous = sums.setdefault((slot, campaign, banner), [0, 0, 0, 0])
                sums[slot, campaign, banner] = [
                    one + other for one, other in zip(previous, amounts, strict=True)
                ]
        removed = [(*key, *amounts) for key, amounts in sums.items() if any(amounts)]
        await writer.write(removed, partial(_subtract_stats, number, is_replacement=True))
        for position in range(3):
            totals[position] += sum(row[3 + position] for row in removed)
    return ReplacedStats(*totals)


async def stage_undo(database: Database, number: int, target: int) -> str:
    """Stage, as import `number`, the undo of import `target`; return the target's source.

    Raises `StoreRefused` if the target is not published, or if later imports depend on it.
    """
    read = database.read_internal
    source = await read(partial(_undoable_source, target))
    await _check_no_dependents(database, target)
    writer = BatchedWriter(database)
    merged = TableScan(
        "merged_figure",
        ("import", "slot", "campaign", "banner"),
        "slot, campaign, banner, impressions, clicks, conversions, revenue",
        after=(target, -1, -1, -1),
        upto=(target, 5, 2**63 - 1, 2**63 - 1),
    )
    async for rows in read_pages(read, merged):
        await writer.write(rows, partial(_subtract_stats, number, is_replacement=False))
    # Conversions of later imports for the target's clicks, except for clicks that are restored
    # unchanged.
    later_conversions = TableScan(
        "conversion",
        ("id",),
        "id, slot, (SELECT campaign FROM click WHERE click.id = conversion.click), "
        "(SELECT banner FROM click WHERE click.id = conversion.click), revenue",
        "import > ? AND EXISTS (SELECT 1 FROM click WHERE id = conversion.click AND import = ?) "
        "AND NOT EXISTS (SELECT 1 FROM replaced_click AS restored JOIN click USING (id) "
        "WHERE restored.import = ? AND id = conversion.click "
        "AND restored.campaign = click.campaign AND restored.banner = click.banner)",
        (target, target, target),
    )
    writer = BatchedWriter(database)
    async for rows in read_pages(read, later_conversions):
        await writer.write(rows, partial(_subtract_conversions, number))
    # The target's conversions that earlier undos removed must not be subtracted twice.
    removed_conversions = TableScan(
        "replaced_conversion AS removed CROSS JOIN replaced_click AS clicked "
        "ON clicked.import = removed.import AND clicked.id = removed.click",
        ("removed.import", "removed.id"),
        "removed.slot, clicked.campaign, clicked.banner, 0, 0, -1, -revenue",
        f"removed.owner = ? AND removed.import IN {UNDO_IMPORTS_SQL}",
        (target,),
    )
    writer = BatchedWriter(database)
    async for rows in read_pages(read, removed_conversions):
        await writer.write(rows, partial(_subtract_stats, number, is_replacement=False))
    return source


async def restore_replaced(database: Database, number: int) -> None:
    """Restore the clicks and conversions that import `number`, now undone or aborted, replaced."""
    for table, columns in RESTORED_COLUMNS.items():
        restore = f"INSERT OR IGNORE INTO {table} SELECT {columns} FROM replaced_{table} WHERE import = ? AND id = ?"  # noqa: S608, E501
        delete = f"DELETE FROM replaced_{table} WHERE import = ? AND id = ?"  # noqa: S608
        writer = BatchedWriter(database)
        async for rows in read_pages(database.read_internal, _replaced_rows(table, number)):
            await writer.write(rows, partial(_execute_each, (restore, delete)))


def publish_undo(connection: sqlite3.Connection, number: int, target: int, now: int) -> str:
    """Unpublish import `target` in the transaction that publishes import `number`; `now` in µs."""
    source = _undoable_source(target, connection)
    connection.execute("UPDATE import SET published_at = NULL WHERE id = ?", (target,))
    connection.execute("INSERT INTO undone VALUES (?, ?, ?, ?)", (target, number, source, now))
    return source


def _undoable_source(target: int, connection: sqlite3.Connection) -> str:
    undone = connection.execute("SELECT by FROM undone WHERE import = ?", (target,)).fetchone()
    if undone is not None:
        raise StoreRefused(f"import {target} was undone already, by import {undone[0]}")
    row = connection.execute(
        "SELECT source FROM import WHERE id = ? AND id > 0 AND published_at IS NOT NULL", (target,)
    ).fetchone()
    if row is None:
        raise StoreRefused(f"there is no import {target}")
    if connection.execute("SELECT 1 FROM undone WHERE by = ?", (target,)).fetchone():
        raise StoreRefused(f"import {target} is an undo: import the files again instead")
    return str(row[0])


async def _check_no_dependents(database: Database, target: int) -> None:
    """Raise if a later import replaced stats of the target, or stored its ids again."""
    has_stats = " OR ".join(
        f"EXISTS (SELECT 1 FROM {table} AS stats WHERE stats.slot = replacement.slot "  # noqa: S608
        "AND stats.campaign = replacement.campaign AND stats.import = ?)"
        for table in ("figure", "merged_figure")
    )
    later_replacements = TableScan(
        "replacement",
        ("import", "slot", "campaign"),
        "import",
        f"import IN (SELECT id FROM import WHERE published_at IS NOT NULL) AND ({has_stats})",  # noqa: S608
        (target, target),
        after=(target, 5, 0),
    )
    dependents = [
        number for (number,) in await read_all_rows(database.read_internal, later_replacements)
    ]
    # An undo of their replacement would restore these conversions without their clicks.
    replaced_conversions = TableScan(
        "replaced_conversion",
        ("import", "id"),
        "import",
        f"owner > ? AND import NOT IN {UNDO_IMPORTS_SQL} AND EXISTS "  # noqa: S608
        "(SELECT 1 FROM click WHERE id = replaced_conversion.click AND import = ?)",
        (target, target),
        after=(target, 2**63 - 1),
    )
    async for rows in read_pages(database.read_internal, replaced_conversions):
        dependents += [number for (number,) in rows]
    for table in ("click", "conversion"):
        newer = f"(SELECT import FROM {table} WHERE {table}.id = replaced_{table}.id)"  # noqa: S608
        returning = _replaced_rows(table, target, newer)
        async for rows in read_pages(database.read_internal, returning):
            dependents += [number for (number,) in rows if number is not None and number > target]
    if dependents:
        last = max(dependents)
        raise StoreRefused(
            f"import {target} cannot be undone: import {last} replaced its stats or stored its ids "
            f"again; undo import {last} first"
        )


def _replaced_rows(table: str, number: int, columns: str = "import, id") -> TableScan:
    return TableScan(
        f"replaced_{table}",
        ("import", "id"),
        columns,
        after=(number, -1),
        upto=(number, 2**63 - 1),
    )


def _move_to_replaced(
    table: str, number: int, connection: sqlite3.Connection, ids: Sequence[tuple[int]]
) -> None:
    connection.executemany(
        f"INSERT INTO replaced_{table} "  # noqa: S608
        f"SELECT ?, {REPLACED_COLUMNS[table]} FROM {table} WHERE id = ?",
        [(number, each) for (each,) in ids],
    )
    connection.executemany(f"DELETE FROM {table} WHERE id = ?", ids)  # noqa: S608


def _execute_each(
    sqls: Sequence[str], connection: sqlite3.Connection, rows: Sequence[SqlRow]
) -> None:
    for sql in sqls:
        connection.executemany(sql, rows)


def _subtract_stats(
    number: int, connection: sqlite3.Connection, rows: Sequence[SqlRow], *, is_replacement: bool
) -> None:
    connection.executemany(
        ADD_STATS_SQL, [(*row[:3], number, *(-amount for amount in row[3:])) for row in rows]
    )
    if is_replacement:
        connection.executemany(
            "INSERT OR IGNORE INTO replacement VALUES (?, ?, ?)",
            sorted({(number, *row[:2]) for row in rows}),
        )


def _subtract_conversions(
    number: int, connection: sqlite3.Connection, rows: Sequence[SqlRow]
) -> None:
    stats = [(*key, 0, 0, 1, revenue) for _, *key, revenue in rows]
    _subtract_stats(number, connection, stats, is_replacement=False)
    # Copy their clicks as well: an undo of the conversions' own imports reads their campaigns.
    connection.executemany(
        "INSERT OR IGNORE INTO replaced_click SELECT ?, id, import, slot, campaign, banner "
        "FROM click WHERE id = (SELECT click FROM conversion WHERE id = ?)",
        [(number, row[0]) for row in rows],
    )
    _move_to_replaced("conversion", number, connection, [(row[0],) for row in rows])
