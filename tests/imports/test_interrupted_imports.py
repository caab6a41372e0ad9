"""Imports that are cut off leave nothing behind, and stand in nobody's way."""

import asyncio
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from imports.importer import import_folder
from store.api.errors import StoreBusy, StoreFull, StoreRefused
from store.api.import_session import RowRejection
from store.sqlite.banners.campaign_stats import load_campaign_stats
from store.sqlite.core.database import Database
from store.sqlite.imports.import_staging import ImportStaging
from tests.support import PROGRAMS, ROOT
from tests.support.banners.campaign_files import (
    PNG,
    SMALL_CAMPAIGN,
    data_content,
    import_in_process,
    query_rows,
    with_database,
    write_files,
)
from tests.support.cpu_time import scaled_20_ms

IMPORTER = PROGRAMS / "import_client.py"


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A set that takes some hundred steps."""
    chance = random.Random(1)
    clicks = [(n, chance.randrange(400), chance.randrange(50)) for n in range(30_000)]
    conversions = [(n, chance.randrange(30_000), chance.random()) for n in range(8_000)]
    files: dict[str, str | bytes] = {
        "1/clicks_1.csv": "click_id,banner_id,campaign_id\n"
        + "".join(f"{n},{banner},{campaign}\n" for n, banner, campaign in clicks),
        "1/conversions_1.csv": "conversion_id,click_id,revenue\n"
        + "".join(f"{n},{click},{revenue:.6f}\n" for n, click, revenue in conversions)
        + "9000,99999,1\n" * 500,
        "2/impressions_2.csv": "banner_id,campaign_id\n"
        + "".join(f"{banner},{campaign}\n" for _, banner, campaign in clicks),
        **{f"images/image_{n}.png": PNG + bytes([n]) for n in range(20)},
    }
    return write_files(tmp_path_factory.mktemp("large"), files)


def start(data: Path, folder: Path) -> "subprocess.Popen[str]":
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        [sys.executable, IMPORTER, data, folder],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=environment,
    )


def without_numbers(found: dict[str, list[tuple[object, ...]]]) -> dict[str, object]:
    """The content but for the imports' and rejects' own numbers, which cut-off ones use up."""
    return {
        "figure": [row[:3] + row[4:] for row in found["figure"]],
        "click": [row[:1] + row[2:] for row in found["click"]],
        "conversion": [row[:1] + row[2:] for row in found["conversion"]],
        "reject": sorted(row[2:] for row in found["reject"]),
        "file": [row[:1] + row[2:] for row in found["file"]],
        "image": [row[:1] + row[2:] for row in found["image"]],
        "files": found["files"],
    }


def test_kill_9_at_any_moment_leaves_nothing_and_a_repeat_succeeds(
    tmp_path: Path, large: Path
) -> None:
    import_in_process(tmp_path / "whole", write_files(tmp_path / "small", SMALL_CAMPAIGN))
    import_in_process(tmp_path / "whole", large)
    import_in_process(
        tmp_path / "whole", large
    )  # what is replaced goes when the next import begins
    whole = without_numbers(data_content(tmp_path / "whole"))

    data = tmp_path / "data"
    import_in_process(data, tmp_path / "small")
    before = with_database(data, load_campaign_stats)
    seed = random.randrange(10**6)
    chance = random.Random(seed)
    cut = 0
    # The first is cut at once: it is not through yet, however fast the machine.
    for longest in (0.0, 0.1, 0.1, 0.2, 0.3, 0.3):
        with start(data, large) as importer:
            assert importer.stdout is not None
            assert importer.stdout.readline() == "reading\n"
            time.sleep(chance.random() * longest)
            importer.send_signal(signal.SIGKILL)
            told = importer.stdout.read()
        if with_database(data, load_campaign_stats).version != before.version:
            break  # it was through already
        assert "done" not in told
        assert with_database(data, load_campaign_stats) == before, f"seed {seed}"
        cut += 1
    assert cut, f"seed {seed}"
    last = start(data, large)
    told, _ = last.communicate(timeout=60)
    assert last.returncode == 0
    assert told.splitlines()[-1].startswith("done")
    import_in_process(data, large)
    assert without_numbers(data_content(data)) == whole, f"seed {seed}"
    assert query_rows(data, "SELECT count(*) FROM import WHERE published_at IS NULL") == [(0,)]


def test_what_is_staged_is_neither_seen_nor_known(tmp_path: Path) -> None:
    async def use(database: Database) -> None:
        staging = ImportStaging(database, tmp_path / "images")
        await staging.begin("here")
        assert await staging.add_clicks(1, [(1, 2, 3)]) == []
        await staging.add_stats([(1, 3, 2, 1, 1, 0, 0)])
        await staging.add_targets([(2, "https://a.example/")])
        await staging.add_image(2, PNG)
        await staging.add_rejections([RowRejection("file", 2, "reason", "row")])
        found = await load_campaign_stats(database)
        assert (found.imported, found.targets, found.version) == ({}, {}, 0)
        assert await staging.find_imported([(b"sha", "file")]) == [None]
        await staging.abort()
        await staging.abort()
        assert await staging.begin("here") == 2
        assert await staging.add_clicks(1, [(1, 2, 3)]) == []
        assert await staging.add_image(2, PNG) == "stored"
        await staging.abort()

    with_database(tmp_path, use)
    assert not any(data_content(tmp_path).values())


def test_a_second_import_waits_its_turn(tmp_path: Path) -> None:
    async def use(database: Database) -> None:
        staging = ImportStaging(database, tmp_path / "images")
        await staging.begin("/first")
        with pytest.raises(StoreBusy, match="an import from /first is active"):
            await staging.begin("/second")
        await staging.publish()
        await staging.begin("/second")

    with_database(tmp_path, use)


def test_an_import_that_has_ended_takes_nothing_more(tmp_path: Path) -> None:
    async def use(database: Database) -> None:
        staging = ImportStaging(database, tmp_path / "images")
        await staging.begin("here")
        await staging.publish()
        for late in (
            staging.add_clicks(1, [(1, 2, 3)]),
            staging.publish(),
            staging.add_image(1, PNG),
        ):
            with pytest.raises(StoreRefused, match="has ended"):
                await late

    with_database(tmp_path, use)


def test_an_abort_amid_a_call_leaves_nothing_of_that_call(tmp_path: Path) -> None:
    rows_of = [(number, 1, 1) for number in range(20_000)]

    async def use(database: Database) -> None:
        for cancel in (True, False):
            staging = ImportStaging(database, tmp_path / "images")
            await staging.begin("here")
            call = asyncio.create_task(staging.add_clicks(1, rows_of))
            await asyncio.sleep(0.01)
            assert not call.done()
            if cancel:
                call.cancel()
            await staging.abort()
            await asyncio.gather(call, return_exceptions=True)
            left = await database.read(lambda c: c.execute("SELECT count(*) FROM click").fetchone())
            assert left == (0,)

    with_database(tmp_path, use)


def test_an_import_that_is_cancelled_leaves_nothing(tmp_path: Path, large: Path) -> None:
    async def use(database: Database) -> None:
        importing: asyncio.Task[Any]

        def progress(done: int, total: int) -> None:
            if done > total / 3:
                importing.cancel()

        staging = ImportStaging(database, tmp_path / "data/images")
        importing = asyncio.create_task(import_folder(large, staging, progress))
        with pytest.raises(asyncio.CancelledError):
            await importing

    with_database(tmp_path / "data", use)
    assert not any(data_content(tmp_path / "data").values())


def test_a_disk_that_fills_up_ends_the_import_and_leaves_nothing(
    tmp_path: Path, large: Path
) -> None:
    def pages(count: int) -> Any:
        return lambda c: c.execute(f"PRAGMA max_page_count = {count}").fetchone()

    async def use(database: Database) -> None:
        staging = ImportStaging(database, tmp_path / "data/images")
        await database.write(pages(150))
        with pytest.raises(StoreFull):
            await import_folder(large, staging)
        await database.write(pages(1_000_000))
        assert (await load_campaign_stats(database)).imported == {}
        assert (await import_folder(large, staging)).ok

    with_database(tmp_path / "data", use)


def test_no_step_holds_the_writer_for_long(tmp_path: Path, large: Path) -> None:
    async def use(database: Database) -> None:
        holds = []
        write = database.timed_write

        async def timed(job: Any) -> Any:
            result, held = await write(job)
            holds.append(held)
            return result, held

        database.timed_write = timed  # type: ignore[method-assign]
        staging = ImportStaging(database, tmp_path / "data/images")
        await import_folder(large, staging)
        assert len(holds) > 20
        # The promise is 20 ms for each; a busy machine may stretch a few.
        assert sorted(holds)[int(len(holds) * 0.9)] < 2 * scaled_20_ms()

    with_database(tmp_path / "data", use)


def test_the_newest_rejects_are_kept_and_what_falls_out_is_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from store.sqlite.imports import import_staging, rejected_rows

    monkeypatch.setattr(rejected_rows, "MAX_REJECTED_ROWS", 1_000)
    monkeypatch.setattr(import_staging, "MAX_REJECTED_ROWS", 1_000)
    bad = "banner_id,campaign_id\n" + "".join(f"x,{number}\n" for number in range(2_500))
    import_in_process(tmp_path, write_files(tmp_path / "one", {"1/impressions_1.csv": bad}))
    more = "banner_id,campaign_id\n" + "".join(f"y,{number}\n" for number in range(400))
    import_in_process(tmp_path, write_files(tmp_path / "two", {"1/impressions_1.csv": more}))

    async def use(database: Database) -> None:
        page = await rejected_rows.list_rejected_rows(database, limit=401)
        assert (page.kept, page.dropped) == (1_000, 1_900)
        assert [each.row for each in page.rejected[:2]] == ["y,399", "y,398"]
        assert page.rejected[400].row == "x,2499"
        assert page.next == page.rejected[400].id
        rest = await rejected_rows.list_rejected_rows(database, before=page.next, limit=1_000)
        assert (len(rest.rejected), rest.next) == (599, None)
        assert rest.rejected[-1].row == "x,1900"

    with_database(tmp_path, use)


def test_a_cut_off_import_of_an_older_run_is_cleared_away_in_pages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from store.sqlite.core import paging

    monkeypatch.setattr(paging, "PAGE_ROWS", 7)
    import_in_process(tmp_path, write_files(tmp_path / "small", SMALL_CAMPAIGN))
    before = data_content(tmp_path)

    async def stage(database: Database) -> None:
        staging = ImportStaging(database, tmp_path / "images")
        await staging.begin("here")
        await staging.add_clicks(1, [(n, n, n) for n in range(1_000, 1_050)])
        await staging.add_stats([(s, c, 1, 1, 1, 0, 0) for s in (1, 2) for c in range(20)])
        await staging.add_image(9, PNG + b"9")

    with_database(tmp_path, stage)
    assert data_content(tmp_path) != before
    (tmp_path / "images/.half").write_bytes(b"half an image")

    async def clear(database: Database) -> None:
        await ImportStaging(database, tmp_path / "images").clean_up()

    with_database(tmp_path, clear)
    assert data_content(tmp_path) == before


def test_clearing_away_touches_no_import_that_is_under_way(tmp_path: Path) -> None:
    async def use(database: Database) -> None:
        staging = ImportStaging(database, tmp_path / "images")
        await staging.begin("here")
        await staging.add_image(2, PNG)
        await staging.clean_up()
        await staging.publish()

    with_database(tmp_path, use)
    assert len(data_content(tmp_path)["image"]) == len(data_content(tmp_path)["files"]) == 1


def test_a_full_disk_puts_clearing_away_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def use(database: Database) -> None:
        staging = ImportStaging(database, tmp_path / "images")
        await staging.begin("cut off")
        with monkeypatch.context() as full:
            full.setattr(database, "timed_write", no_room)
            await ImportStaging(database, tmp_path / "images").clean_up()
        assert len(query_rows(tmp_path, "SELECT 1 FROM import WHERE id > 0")) == 1
        await ImportStaging(database, tmp_path / "images").clean_up()
        assert not query_rows(tmp_path, "SELECT 1 FROM import WHERE id > 0")

    with_database(tmp_path, use)


def test_an_import_is_in_force_also_if_old_rejects_cannot_be_dropped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from store.sqlite.imports import import_staging

    monkeypatch.setattr(import_staging, "trim_rejected_rows", no_room)
    assert import_in_process(tmp_path, write_files(tmp_path / "small", SMALL_CAMPAIGN)).ok
    assert with_database(tmp_path, load_campaign_stats).campaigns


async def no_room(_: object) -> None:
    raise StoreFull("the disk is full")


def test_merging_figures_changes_no_sum(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from store.sqlite.core import paging
    from store.sqlite.imports import import_sweeper

    monkeypatch.setattr(paging, "PAGE_ROWS", 3)
    import_in_process(tmp_path, write_files(tmp_path / "small", SMALL_CAMPAIGN))
    for number in range(4):
        lines = f"banner_id,campaign_id\n{number},10\n1,10\n"
        import_in_process(
            tmp_path, write_files(tmp_path / str(number), {"1/impressions_1.csv": lines})
        )
    before = with_database(tmp_path, load_campaign_stats)

    async def merge(database: Database) -> list[Any]:
        seen = []
        write = database.timed_write

        async def watched(job: Any) -> Any:
            result = await write(job)
            seen.append((await load_campaign_stats(database)).imported)
            return result

        database.timed_write = watched  # type: ignore[method-assign]
        await import_sweeper.merge_stats(database, max_unmerged=2)
        return seen

    steps = with_database(tmp_path, merge)
    assert steps and all(step == before.imported for step in steps)
    assert with_database(tmp_path, load_campaign_stats) == before
    assert query_rows(tmp_path, "SELECT DISTINCT import FROM figure") == [(-1,)]
