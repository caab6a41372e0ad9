"""Corrections: undo an import, or replace the figures of campaigns in slots.

Both stage rows under the number of a new import, in small steps. Figures are corrected by negative
ones, as the sum over all published imports counts; one commit then puts the correction in force.
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
# Columns that follow the number of the import in the tables of what was replaced.
REPLACED_COLUMNS = {
    "click": "id, import, slot, campaign, banner",
    "conversion": "id, import, slot, click, revenue",
}
RESTORED_COLUMNS = {
    "click": "id, owner, slot, campaign, banner",
    "conversion": "id, owner, slot, click, revenue",
}
UNDO_IMPORTS_SQL = "(SELECT by FROM undone)"
# The campaign that a conversion counts for: that of its click when the conversion was stored. The
# click's id may have been stored again since, for another campaign.
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
    """Stage, for import `number`, the removal of all figures of these slots and campaigns.

    Their clicks and conversions become unknown, so that the import can store them again.
    """
    read, wanted = database.read_internal, frozenset(campaigns)
    among = f"slot IN ({', '.join(str(int(slot)) for slot in slots) or 'NULL'})"
    for table, campaign in (("conversion", CONVERSION_CAMPAIGN_SQL), ("click", "campaign")):
        steps = BatchedWriter(database)
        async for rows in read_pages(read, TableScan(table, ("id",), f"id, {campaign}", among)):
            ids = [(each,) for each, of in rows if of in wanted]
            await steps.write(ids, partial(_move_to_replaced, table, number))
    published = {each for (each,) in await read_all_rows(read, PUBLISHED_IMPORTS)}
    figures = TableScan(
        "figure",
        ("slot", "campaign", "banner"),
        "import, slot, campaign, banner, impressions, clicks, conversions, revenue",
        among,
    )
    steps, sums = BatchedWriter(database), [0, 0, 0]
    async for rows in read_pages(read, figures):
        counted: dict[tuple[int, int, int], list[int]] = {}
        for of, slot, campaign, banner, *amounts in rows:
            if of in published and campaign in wanted:
                known = counted.setdefault((slot, campaign, banner), [0, 0, 0, 0])
                counted[slot, campaign, banner] = [
                    one + other for one, other in zip(known, amounts, strict=True)
                ]
        taken = [(*key, *amounts) for key, amounts in counted.items() if any(amounts)]
        await steps.write(taken, partial(_subtract_stats, number, pairs=True))
        for position in range(3):
            sums[position] += sum(row[3 + position] for row in taken)
    return ReplacedStats(*sums)


async def stage_undo(database: Database, number: int, target: int) -> str:
    """Stage, as import `number`, the undo of import `target`; return the source of that one.

    Raises `StoreRefused` if it is not in force, or if later imports depend on it.
    """
    read = database.read_internal
    source = await read(partial(_undoable_source, target))
    await _refuse_if_later(database, target)
    steps = BatchedWriter(database)
    merged = TableScan(
        "merged_figure",
        ("import", "slot", "campaign", "banner"),
        "slot, campaign, banner, impressions, clicks, conversions, revenue",
        after=(target, -1, -1, -1),
        upto=(target, 5, 2**63 - 1, 2**63 - 1),
    )
    async for rows in read_pages(read, merged):
        await steps.write(rows, partial(_subtract_stats, number, pairs=False))
    # Conversions of later imports for its clicks, except clicks that now return unchanged.
    earned = TableScan(
        "conversion",
        ("id",),
        "id, slot, (SELECT campaign FROM click WHERE click.id = conversion.click), "
        "(SELECT banner FROM click WHERE click.id = conversion.click), revenue",
        "import > ? AND EXISTS (SELECT 1 FROM click WHERE id = conversion.click AND import = ?) "
        "AND NOT EXISTS (SELECT 1 FROM replaced_click AS back JOIN click USING (id) "
        "WHERE back.import = ? AND id = conversion.click "
        "AND back.campaign = click.campaign AND back.banner = click.banner)",
        (target, target, target),
    )
    steps = BatchedWriter(database)
    async for rows in read_pages(read, earned):
        await steps.write(rows, partial(_subtract_conversions, number))
    # Its own conversions that earlier undos took out must not be subtracted twice.
    unearned = TableScan(
        "replaced_conversion AS gone CROSS JOIN replaced_click AS of "
        "ON of.import = gone.import AND of.id = gone.click",
        ("gone.import", "gone.id"),
        "gone.slot, of.campaign, of.banner, 0, 0, -1, -revenue",
        f"gone.owner = ? AND gone.import IN {UNDO_IMPORTS_SQL}",
        (target,),
    )
    steps = BatchedWriter(database)
    async for rows in read_pages(read, unearned):
        await steps.write(rows, partial(_subtract_stats, number, pairs=False))
    return source


async def restore_replaced(database: Database, number: int) -> None:
    """Restore what import `number`, no longer in force, had replaced."""
    for table, columns in RESTORED_COLUMNS.items():
        back = f"INSERT OR IGNORE INTO {table} SELECT {columns} FROM replaced_{table} WHERE import = ? AND id = ?"  # noqa: S608, E501
        gone = f"DELETE FROM replaced_{table} WHERE import = ? AND id = ?"  # noqa: S608
        steps = BatchedWriter(database)
        async for rows in read_pages(database.read_internal, _replaced_rows(table, number)):
            await steps.write(rows, partial(_run_each, (back, gone)))


def publish_undo(connection: sqlite3.Connection, number: int, target: int, moment: int) -> str:
    """Take import `target` out of force, in the transaction that publishes import `number`."""
    source = _undoable_source(target, connection)
    connection.execute("UPDATE import SET published_at = NULL WHERE id = ?", (target,))
    connection.execute("INSERT INTO undone VALUES (?, ?, ?, ?)", (target, number, source, moment))
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


async def _refuse_if_later(database: Database, target: int) -> None:
    """Raise if a later import replaced figures of this one, or stored its ids again."""
    mine = " OR ".join(
        f"EXISTS (SELECT 1 FROM {table} AS mine WHERE mine.slot = replacement.slot "  # noqa: S608
        "AND mine.campaign = replacement.campaign AND mine.import = ?)"
        for table in ("figure", "merged_figure")
    )
    later = TableScan(
        "replacement",
        ("import", "slot", "campaign"),
        "import",
        f"import IN (SELECT id FROM import WHERE published_at IS NOT NULL) AND ({mine})",  # noqa: S608
        (target, target),
        after=(target, 5, 0),
    )
    found = [number for (number,) in await read_all_rows(database.read_internal, later)]
    # If that replacement was undone, they would return without their clicks.
    earned = TableScan(
        "replaced_conversion",
        ("import", "id"),
        "import",
        f"owner > ? AND import NOT IN {UNDO_IMPORTS_SQL} AND EXISTS "  # noqa: S608
        "(SELECT 1 FROM click WHERE id = replaced_conversion.click AND import = ?)",
        (target, target),
        after=(target, 2**63 - 1),
    )
    async for rows in read_pages(database.read_internal, earned):
        found += [number for (number,) in rows]
    for table in ("click", "conversion"):
        newer = f"(SELECT import FROM {table} WHERE {table}.id = replaced_{table}.id)"  # noqa: S608
        returning = _replaced_rows(table, target, newer)
        async for rows in read_pages(database.read_internal, returning):
            found += [number for (number,) in rows if number is not None and number > target]
    if found:
        raise StoreRefused(
            f"import {target} cannot be undone: import {max(found)} replaced its figures or stored "
            f"its ids again; undo import {max(found)} first"
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


def _run_each(sqls: Sequence[str], connection: sqlite3.Connection, rows: Sequence[SqlRow]) -> None:
    for sql in sqls:
        connection.executemany(sql, rows)


def _subtract_stats(
    number: int, connection: sqlite3.Connection, rows: Sequence[SqlRow], *, pairs: bool
) -> None:
    connection.executemany(
        ADD_STATS_SQL, [(*row[:3], number, *(-amount for amount in row[3:])) for row in rows]
    )
    if pairs:
        connection.executemany(
            "INSERT OR IGNORE INTO replacement VALUES (?, ?, ?)",
            sorted({(number, *row[:2]) for row in rows}),
        )


def _subtract_conversions(
    number: int, connection: sqlite3.Connection, rows: Sequence[SqlRow]
) -> None:
    figures = [(*key, 0, 0, 1, revenue) for _, *key, revenue in rows]
    _subtract_stats(number, connection, figures, pairs=False)
    # Their clicks go, too: what they counted for is kept for an undo of their own imports.
    connection.executemany(
        "INSERT OR IGNORE INTO replaced_click SELECT ?, id, import, slot, campaign, banner "
        "FROM click WHERE id = (SELECT click FROM conversion WHERE id = ?)",
        [(number, row[0]) for row in rows],
    )
    _move_to_replaced("conversion", number, connection, [(row[0],) for row in rows])
