"""Imports that are taken back, and imports that replace what earlier ones counted."""

import asyncio
from pathlib import Path

import pytest

from domain.banners.ranking import BannerStats
from imports.import_report import ImportReport
from imports.importer import import_folder, undo_import
from store.api.errors import StoreRefused
from store.api.import_session import ReplacedStats
from store.sqlite.banners.campaign_stats import CampaignStats, load_campaign_stats
from store.sqlite.banners.image_store import ImageStore
from store.sqlite.core.database import Database
from store.sqlite.imports import import_sweeper
from store.sqlite.imports.import_staging import ImportStaging
from tests.support.banners.campaign_files import (
    GIF,
    PNG,
    SMALL_CAMPAIGN,
    import_in_process,
    query_rows,
    row_counts,
    with_database,
    write_files,
)

Key = tuple[int, int, int]
CLICKS = "click_id,banner_id,campaign_id\n"
SHOWN = "banner_id,campaign_id\n"
EARNED = "conversion_id,click_id,revenue\n"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "set"


def replaced(data: Path, folder: Path) -> ImportReport:
    async def use(database: Database) -> ImportReport:
        return await import_folder(folder, ImportStaging(database, data / "images"), replace=True)

    return with_database(data, use)


def undone(data: Path, number: int) -> int:
    async def use(database: Database) -> int:
        return (await undo_import(number, ImportStaging(database, data / "images")))[0]

    return with_database(data, use)


def read(data: Path) -> CampaignStats:
    return with_database(data, load_campaign_stats)


def figures(data: Path) -> dict[Key, BannerStats]:
    return {
        (slot, campaign, banner): found
        for slot, campaigns in read(data).imported.items()
        for campaign, banners in campaigns.items()
        for banner, found in banners.items()
    }


def ids(data: Path) -> list[list[tuple[object, ...]]]:
    """Clicks and conversions that are known, once what counts no longer is cleared away."""

    async def clear(database: Database) -> None:
        await ImportStaging(database, data / "images").clean_up()

    with_database(data, clear)
    return [
        query_rows(data, "SELECT id, slot, campaign, banner FROM click ORDER BY id"),
        query_rows(data, "SELECT id, slot, click, revenue FROM conversion ORDER BY id"),
    ]


def test_an_import_that_is_taken_back_counts_no_longer(data: Path, folder: Path) -> None:
    import_in_process(data, write_files(folder / "one", SMALL_CAMPAIGN))
    before, known = figures(data), ids(data)
    more = {
        "1/impressions_1.csv": SHOWN + "9,10\n1,10\n",
        "1/clicks_1.csv": CLICKS + "900,9,12\n",
        "1/conversions_1.csv": EARNED + "900,900,5\n901,100,1\n",
        "targets.csv": "banner_id,url\n1,https://other.example/\n",
        "images/image_1.gif": GIF,
    }
    result = import_in_process(data, write_files(folder / "two", more))
    assert result.number is not None and figures(data) != before
    assert undone(data, result.number) == 3
    assert figures(data) == before
    assert read(data).targets[1] == "https://example.com/one"

    async def image(database: Database) -> bytes:
        found = await ImageStore(database, data / "images", 10_000).get(1)
        assert found is not None
        return found.body

    assert with_database(data, image) == PNG
    assert ids(data) == known
    # As if it had never been: it can be imported again.
    assert row_counts(import_in_process(data, folder / "two")) == row_counts(result)


def test_taking_the_first_import_back_leaves_the_others(data: Path, folder: Path) -> None:
    first = import_in_process(data, write_files(folder / "one", SMALL_CAMPAIGN))
    later = {
        "1/impressions_1.csv": SHOWN + "1,10\n",
        "1/clicks_1.csv": CLICKS + "100,1,10\n300,1,10\n",  # 100 is known
        "1/conversions_1.csv": EARNED + "700,101,8\n701,300,2\n",  # 101 is a click of the first
    }
    assert row_counts(import_in_process(data, write_files(folder / "two", later)))[2] == 1
    assert first.number is not None
    undone(data, first.number)
    assert figures(data) == {(1, 10, 1): BannerStats(1, 1, 1, 2_000_000)}
    assert ids(data) == [[(300, 1, 10, 1)], [(701, 1, 300, 2_000_000)]]
    # What were duplicates of it, or conversions of its clicks, come with the same files again.
    again = import_in_process(data, folder / "two")
    assert row_counts(again) == (5, 1, 3, 1)
    assert figures(data) == {(1, 10, 1): BannerStats(1, 2, 1, 2_000_000)}


@pytest.mark.parametrize("number", [1, 3, 12])
def test_an_import_can_be_taken_back_after_its_figures_were_merged(
    data: Path, folder: Path, number: int
) -> None:
    for each in range(1, 13):
        clicks = CLICKS + f"{each},{each % 3},1\n"
        files = {"1/clicks_1.csv": clicks, "2/impressions_2.csv": SHOWN + f"{each % 4},1\n" * each}
        import_in_process(data, write_files(folder / str(each), files))
    assert query_rows(data, "SELECT count(DISTINCT import) FROM merged_figure")[0][0]
    before = figures(data)
    undone(data, number)
    after = figures(data)
    click, shown = (1, 1, number % 3), (2, 1, number % 4)
    assert before[click].clicks - after.get(click, BannerStats(0, 0, 0, 0)).clicks == 1
    assert before[shown].impressions - after[shown].impressions == number
    import_in_process(data, folder / str(number))
    assert figures(data) == before


def test_what_cannot_be_taken_back_is_refused_with_nothing_changed(
    data: Path, folder: Path
) -> None:
    import_in_process(data, write_files(folder, SMALL_CAMPAIGN))
    own = undone(data, 1)
    for number, words in (
        (1, "was undone already, by import 2"),
        (own, "is an undo"),
        (9, "there is no import 9"),
        (0, "there is no import 0"),
    ):
        with pytest.raises(StoreRefused, match=words):
            undone(data, number)
    assert figures(data) == {}
    assert query_rows(data, "SELECT id FROM import WHERE id > 0 AND published_at IS NOT NULL") == [
        (2,)
    ]


CORRECTED = {
    "1/impressions_1.csv": SHOWN + "1,10\n" * 5,
    "1/clicks_1.csv": CLICKS + "100,2,10\n107,1,10\n",
    "1/conversions_1.csv": EARNED + "500,107,9\n",
}
# Of SMALL: campaign 11 of slot 1, and slot 2.
OTHERS = {(1, 11, 3): BannerStats(1, 0, 0, 0), (2, 10, 4): BannerStats(1, 1, 1, 2_000_000)}
TRUTH = {(1, 10, 1): BannerStats(5, 1, 1, 9_000_000), (1, 10, 2): BannerStats(0, 1, 0, 0), **OTHERS}


def test_a_replacing_import_is_the_whole_truth_for_its_slots_and_campaigns(
    data: Path, folder: Path
) -> None:
    import_in_process(data, write_files(folder / "one", SMALL_CAMPAIGN))
    before, known = figures(data), ids(data)
    result = replaced(data, write_files(folder / "two", CORRECTED))
    assert row_counts(result) == (8, 8, 0, 0)
    assert result.replaced == ReplacedStats(3, 3, 2)
    assert figures(data) == TRUTH
    # The same again, and as an import that only adds, changes nothing.
    assert replaced(data, folder / "two").replaced == ReplacedStats(5, 2, 1)
    assert figures(data) == TRUTH
    assert import_in_process(data, folder / "two").number is None
    assert figures(data) == TRUTH
    undone(data, 3)
    assert figures(data) == TRUTH
    undone(data, 2)
    assert figures(data) == before
    assert ids(data) == known


def test_a_folder_with_targets_alone_is_no_slot_of_a_replacing_import(
    data: Path, folder: Path
) -> None:
    import_in_process(data, write_files(folder / "one", {"2/impressions_2.csv": SHOWN + "1,10\n"}))
    target = "banner_id,url\n1,https://example.com/\n"
    files = {"1/impressions_1.csv": SHOWN + "1,10\n", "2/targets.csv": target}
    assert replaced(data, write_files(folder / "two", files)).replaced == ReplacedStats(0, 0, 0)
    assert figures(data) == {
        (1, 10, 1): BannerStats(1, 0, 0, 0),
        (2, 10, 1): BannerStats(1, 0, 0, 0),
    }


def test_a_replacing_import_that_names_no_campaign_is_refused(data: Path, folder: Path) -> None:
    import_in_process(data, write_files(folder / "one", SMALL_CAMPAIGN))
    before = figures(data)
    files = {"1/conversions_1.csv": EARNED + "500,107,9\n", "1/clicks_1.csv": CLICKS}
    with pytest.raises(StoreRefused, match="names a campaign"):
        replaced(data, write_files(folder / "two", files))
    assert figures(data) == before


def test_a_banner_of_which_nothing_counts_any_more_is_gone(data: Path, folder: Path) -> None:
    import_in_process(
        data, write_files(folder / "one", {"1/impressions_1.csv": SHOWN + "1,10\n2,10\n3,11\n"})
    )
    replaced(data, write_files(folder / "two", {"1/impressions_1.csv": SHOWN + "1,10\n"}))
    found = read(data)
    assert found.campaigns == {10: frozenset({1}), 11: frozenset({3})}
    assert found.banners == (1, 3)


def test_impressions_that_were_served_stay_when_imported_ones_are_replaced(
    data: Path, folder: Path
) -> None:
    from store.sqlite.banners.impressions import add_impressions

    import_in_process(
        data, write_files(folder / "one", {"1/impressions_1.csv": SHOWN + "1,10\n" * 4})
    )
    with_database(data, lambda database: add_impressions(database, {(1, 10, 1): 7}))
    replaced(data, write_files(folder / "two", {"1/impressions_1.csv": SHOWN + "1,10\n"}))
    assert figures(data) == {(1, 10, 1): BannerStats(8, 0, 0, 0)}


def test_an_import_is_not_taken_back_beneath_one_that_replaced_it(data: Path, folder: Path) -> None:
    import_in_process(data, write_files(folder / "one", SMALL_CAMPAIGN))
    import_in_process(
        data, write_files(folder / "other", {"4/impressions_4.csv": SHOWN + "1,10\n"})
    )
    replaced(data, write_files(folder / "two", CORRECTED))
    with pytest.raises(StoreRefused, match="undo import 3 first"):
        undone(data, 1)
    undone(data, 2)  # of which nothing was replaced
    # An id that the replacement dropped, and that has come again since.
    import_in_process(
        data, write_files(folder / "three", {"3/clicks_3.csv": CLICKS + "101,2,10\n"})
    )
    with pytest.raises(StoreRefused, match="undo import 6 first"):
        undone(data, 3)
    undone(data, 6)
    undone(data, 3)
    undone(data, 1)
    assert figures(data) == {}


@pytest.mark.parametrize("deed", ["replace", "undo"])
def test_a_correction_that_is_cut_off_leaves_nothing(data: Path, folder: Path, deed: str) -> None:
    import_in_process(data, write_files(folder, SMALL_CAMPAIGN))
    more = {"3/conversions_3.csv": EARNED + "800,100,4\n"}
    import_in_process(data, write_files(folder / "more", more))
    before, known = figures(data), ids(data)

    async def use(database: Database) -> None:
        staging = ImportStaging(database, data / "images")
        await staging.begin("here")
        if deed == "replace":
            assert await staging.replace([1, 2, 3], [10, 11]) == ReplacedStats(5, 4, 4)
            await staging.add_clicks(1, [(100, 5, 50), (777, 5, 50)])
        else:
            await staging.undo(1)

    with_database(data, use)  # it ends here, as if it was killed
    assert figures(data) == before
    assert ids(data) == known
    assert query_rows(data, "SELECT count(*) FROM figure WHERE revenue < 0") == [(0,)]
    assert query_rows(data, "SELECT count(*) FROM replacement") == [(0,)]


def test_corrections_stand_in_the_list_of_changes(data: Path, folder: Path) -> None:
    import_in_process(data, write_files(folder / "one", SMALL_CAMPAIGN))
    replaced(data, write_files(folder / "two", CORRECTED))
    undone(data, 2)
    told = [str(about) for (about,) in query_rows(data, "SELECT deed || ': ' || about FROM audit")][
        -2:
    ]
    assert told[0].startswith("imported campaigns: import 2 from ")
    assert told[0].endswith("; replaced: slots 1 of 1 campaign")
    assert told[1].startswith("undid import: 2 from ")
    assert told[1].endswith("/two, by import 3")


def test_corrections_hold_the_writer_only_for_small_steps(data: Path, folder: Path) -> None:
    clicks = CLICKS + "".join(f"{n},{n % 500},{n % 40}\n" for n in range(30_000))
    import_in_process(data, write_files(folder / "one", {"1/clicks_1.csv": clicks}))
    sizes: list[int] = []

    async def use(database: Database) -> None:
        real = database.timed_write

        async def counted(job):  # type: ignore[no-untyped-def]
            sizes.append(len(job.args[1]) if getattr(job, "args", None) else 0)
            return await real(job)

        database.timed_write = counted  # type: ignore[method-assign]
        staging = ImportStaging(database, data / "images")
        await import_folder(folder / "one", staging, replace=True)
        await undo_import(2, staging)
        await staging.clean_up()
        await asyncio.sleep(0)

    with_database(data, use)
    assert max(sizes) <= 2_000 and sum(sizes) > 60_000
    assert sum(each.clicks for each in figures(data).values()) == 30_000
    assert import_sweeper.MAX_UNMERGED_IMPORTS  # its figures are merged beyond so many
