"""Whole tables are read in pages of bounded size, whatever changes between two of them."""

import asyncio
import random
import sqlite3
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from store.sqlite.admin.apps import CreateApp, ListApps, app_names
from store.sqlite.audience.audience_history import AudienceHistory
from store.sqlite.audience.site_registry import SiteRegistry
from store.sqlite.banners.campaign_stats import load_campaign_stats
from store.sqlite.core import paging
from store.sqlite.core.database import Database
from store.sqlite.core.paging import TableScan, read_all_rows, read_pages
from store.sqlite.events.event_retention import DAY_MICROS, EventRetention
from store.sqlite.events.event_schemas import EventSchemaStore
from store.sqlite.imports.import_staging import ImportStaging
from store.sqlite.imports.import_sweeper import merge_stats
from store.sqlite.projections.projections import Projections
from store.sqlite.stories.stories import ListStories
from tests.support.events.event_store import OpenEventStore

ROWS = 6_000
FIGURES = "INSERT INTO figure VALUES (?, ?, ?, ?, 1, 1, 0, 0)"
PUBLISH = "INSERT INTO import VALUES (?, 'test', 0, 0)"


def numbers(database: Database, sql: str, rows: list[Any]) -> Awaitable[None]:
    def job(connection: sqlite3.Connection) -> None:
        connection.executemany(sql, rows)

    return database.write(job)


def with_database(folder: Path, use: Callable[[Database], Awaitable[None]]) -> None:
    async def run() -> None:
        database = await Database.open(folder / "marquee.db")
        try:
            await use(database)
        finally:
            await database.close()

    asyncio.run(run())


@pytest.mark.parametrize("size", [1, 2, 3, 7, 19, 20, 21, 100])
def test_pages_of_any_size_come_to_all_rows_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    monkeypatch.setattr(paging, "PAGE_ROWS", size)
    rows = [(slot, campaign, 1, 1) for slot in (1, 2) for campaign in range(10)]

    async def use(database: Database) -> None:
        await numbers(database, FIGURES, random.Random(1).sample(rows, len(rows)))
        table = TableScan("figure", ("slot", "campaign", "banner", "import"), "slot, campaign")
        read = database.read_internal
        assert await read_all_rows(read, table) == [row[:2] for row in rows]
        part = replace(table, after=(1, 7, 1, 1), upto=(2, 3, 1, 1))
        found = [(1, 8), (1, 9), (2, 0), (2, 1), (2, 2), (2, 3)]
        assert await read_all_rows(read, part) == found
        odd = replace(part, where="campaign % 2 = ?", values=(1,))
        assert await read_all_rows(read, odd) == [each for each in found if each[1] % 2]
        # Rows of one key stay together.
        by_slot = TableScan("figure", ("slot",), "slot")
        counts = [len(page) async for page in read_pages(read, by_slot)]
        assert [each for each in counts if each] in ([10, 10], [20])

    with_database(tmp_path, use)


def test_a_merge_of_imports_amid_the_reading_of_figures_changes_no_sum(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paging, "PAGE_ROWS", 30)

    async def use(database: Database) -> None:
        await numbers(database, PUBLISH, [(number,) for number in range(1, 11)])
        rows = [(1, 1, banner, number) for banner in range(100) for number in range(1, 11)]
        await numbers(database, FIGURES, rows)
        merging = asyncio.create_task(merge_stats(database))
        while not merging.done():
            found = await load_campaign_stats(database)
            counted = found.imported_stats(1, 1)
            assert len(counted) == 100
            assert {each.impressions for each in counted.values()} == {10}
        await merging

    with_database(tmp_path, use)


def test_an_import_published_amid_the_reading_of_figures_is_in_the_book(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paging, "PAGE_ROWS", 10)

    async def use(database: Database) -> None:
        await numbers(database, PUBLISH, [(1,)])
        await numbers(database, FIGURES, [(1, 1, banner, 1) for banner in range(100)])
        read, reads = database.read_internal, 0

        async def publish(job: Any) -> Any:
            nonlocal reads
            reads += 1
            if reads == 5:
                await numbers(database, FIGURES, [(1, 1, banner, 2) for banner in range(100)])
                await numbers(database, PUBLISH, [(2,)])
            return await read(job)

        monkeypatch.setattr(database, "read_internal", publish)
        found = await load_campaign_stats(database)
        assert found.version == 2
        assert {each.impressions for each in found.imported_stats(1, 1).values()} == {2}

    with_database(tmp_path, use)


class Measured:
    """Counts the steps of SQLite's machine in each of the server's own reads."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.most = 0
        for kind in (Database, Projections):
            self._measure(monkeypatch, kind)

    def _measure(self, monkeypatch: pytest.MonkeyPatch, kind: Any) -> None:
        read = kind.read_internal

        async def measured(this: Any, job: Callable[[sqlite3.Connection], Any]) -> Any:
            def counted(connection: sqlite3.Connection) -> Any:
                steps = 0

                def step() -> int:
                    nonlocal steps
                    steps += 100
                    return 0

                connection.set_progress_handler(step, 100)
                try:
                    return job(connection)
                finally:
                    connection.set_progress_handler(None, 100)
                    self.most = max(self.most, steps)

            return await read(this, counted)

        monkeypatch.setattr(kind, "read_internal", measured)


async def fill(database: Database) -> None:
    """Some thousand rows in each table that is read as a whole."""
    every = range(1, ROWS + 1)
    await numbers(database, PUBLISH, [(number,) for number in range(1, 4)])
    await numbers(database, FIGURES, [(1, n % 50, n, 1 + n % 3) for n in every])
    for each in (0, 1, 2):
        sql = "INSERT INTO target VALUES (?, ?, 'https://example.com')"
        await numbers(database, sql, [(n, 1 + each) for n in every])
    await numbers(database, "INSERT INTO import VALUES (?, 'cut off', 0, NULL)", [(9,)])
    await numbers(database, "INSERT INTO click VALUES (?, ?, 1, 1, 1)", [(n, 1) for n in every])
    await numbers(
        database,
        "INSERT INTO app VALUES (?, 'app ' || ?1, 'public ' || ?1, '[\"www.example.com\"]', 0, 0)",
        [(n,) for n in every],
    )
    await numbers(
        database, "INSERT INTO token VALUES (?, ?1, x'', 'read', 0, NULL)", [(n,) for n in every]
    )
    sql = "INSERT INTO story VALUES (?, 1 + ?1 % 2, ?1, NULL, NULL, '{}', 0)"
    await numbers(database, sql, [(n,) for n in every])
    sql = "INSERT INTO event_rule VALUES ('c', 'n' || ?, 0, '{}', 0)"
    await numbers(database, sql, [(n,) for n in every])
    await numbers(
        database, "INSERT INTO audience VALUES (?, 'here', 'k', 'h' || ?1)", [(n,) for n in every]
    )


def test_no_read_of_the_servers_own_grows_with_its_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that looked at all rows of a table would take some ten steps for each of them."""
    monkeypatch.setattr(paging, "PAGE_ROWS", 100)

    async def run() -> None:
        async with OpenEventStore(tmp_path) as opened:
            database, views = opened.database, opened.projections
            await fill(database)
            start = 20_000 * DAY_MICROS
            kinds = [(n, 1, 1, "c", f"n{n}", start) for n in range(ROWS)]
            insert = (
                "INSERT INTO event (id, source, app, category, name, at, received, data) "
                "VALUES (1 + ?1, ?2, ?3, ?4, ?5, ?6, ?6, '{}')"
            )
            await numbers(database, insert, kinds)
            while await views.step():
                pass
            measured = Measured(monkeypatch)
            assert len((await load_campaign_stats(database)).banners) == ROWS
            assert len(await ListApps().run(database)) == len(await app_names(database)) == ROWS
            assert len(await ListStories().run(database)) == ROWS
            assert len(await ListStories("2").run(database)) == ROWS // 2
            await SiteRegistry(database).refresh()
            assert len((await EventSchemaStore.open(database)).schemas) > ROWS
            assert len(await AudienceHistory(database, "here", 30).recent_hosts(200)) == 200
            staging = ImportStaging(database, tmp_path / "images")
            await staging.clean_up()
            assert (
                await staging.find_imported([(b"%d" % n, "file") for n in range(ROWS)])
                == [None] * ROWS
            )
            retention = EventRetention(database, views, 31)
            while await retention.run_step(start + 60 * DAY_MICROS):
                pass
            assert retention.dropped == ROWS
            sql = "SELECT count(*) FROM sealed_kind"
            assert await database.read(lambda it: it.execute(sql).fetchone()) == (ROWS,)
            await views.rebuild(lambda _: None)
            assert measured.most < 4 * ROWS, measured.most

    asyncio.run(run())


def test_an_app_without_a_token_is_listed(tmp_path: Path) -> None:
    async def use(database: Database) -> None:
        made = await CreateApp("a").run(database)
        await numbers(database, "DELETE FROM token WHERE app = ?", [(made.id,)])
        (found,) = await ListApps().run(database)
        assert found.tokens == []

    with_database(tmp_path, use)
