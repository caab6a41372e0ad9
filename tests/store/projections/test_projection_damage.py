"""Views whose file a disk has changed are made anew from the log, by themselves."""

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from background.events.projection_worker import ProjectionWorker
from store.api.errors import StoreBusy
from store.sqlite.backup.integrity_report import build_integrity_report
from store.sqlite.projections import projections as module
from tests.support.events.event_rows import event_row
from tests.support.events.event_store import OpenEventStore

PAGE = 4_096


def zero(path: Path, first: int, many: int) -> None:
    """Have the disk forget some pages."""
    with path.open("r+b") as file:
        file.seek(first * PAGE)
        file.write(bytes(many * PAGE))


async def harmed(it: OpenEventStore) -> list[int]:
    """Views of some events in which all but the first pages are gone; the events' ids."""
    ids = await it.append(*[event_row(session=f"s{n}", at=n) for n in range(500)])
    await it.projections.step()
    await it.projections.scrub()
    size = it.projections.path.stat().st_size
    zero(it.projections.path, 6, size // PAGE - 6)
    for connection in it.projections._opened:  # what they have in memory is right yet
        await module.run_on_connection(
            connection, lambda each: each.execute("PRAGMA shrink_memory").close()
        )
    return ids


def test_a_look_up_in_harmed_views_is_put_off_and_they_are_made_anew(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def run() -> None:
        async with OpenEventStore(tmp_path) as it:
            ids = await harmed(it)
            with pytest.raises(StoreBusy, match="made anew"):
                await it.find_ids()
            folding = asyncio.create_task(
                ProjectionWorker(it.projections.step, mend=it.projections.mend).run()
            )
            async with asyncio.timeout(120):
                while it.projections.harmed:
                    await asyncio.sleep(0.05)
            folding.cancel()
            await asyncio.gather(folding, return_exceptions=True)
            assert await it.find_ids() == ids
            told = [each for each in caplog.records if each.name.startswith("marquee")]
            assert [each.levelname for each in told] == ["ERROR"]
            assert "views.db is harmed" in caplog.text

    asyncio.run(run())
    with closing(sqlite3.connect(tmp_path / "views.db")) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def test_where_nobody_mends_them_they_stay_harmed(tmp_path: Path) -> None:
    """The test above can fail."""

    async def run() -> None:
        async with OpenEventStore(tmp_path) as it:
            await harmed(it)
            folding = asyncio.create_task(ProjectionWorker(it.projections.step).run())
            for _ in range(3):
                with pytest.raises(StoreBusy):
                    await it.find_ids()
                await asyncio.sleep(0.3)
            folding.cancel()
            await asyncio.gather(folding, return_exceptions=True)

    asyncio.run(run())


def test_a_log_that_is_harmed_itself_has_the_views_made_anew_but_now_and_then(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def run() -> None:
        async with OpenEventStore(tmp_path) as it:
            await harmed(it)
            with pytest.raises(StoreBusy):
                await it.find_ids()
            assert await it.projections.mend()
            it.projections.harmed = "again"
            assert not await it.projections.mend()

    asyncio.run(run())
    assert len(caplog.records) == 1


def test_a_look_over_the_folder_finds_the_harm(tmp_path: Path) -> None:
    async def run() -> None:
        async with OpenEventStore(tmp_path) as it:
            await harmed(it)

    asyncio.run(run())
    found = build_integrity_report(tmp_path)
    assert not found.faults
    assert found.harm
