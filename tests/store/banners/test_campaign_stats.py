"""The book of figures, and the views served."""

from pathlib import Path

from domain.banners.ranking import BannerStats
from store.sqlite.banners.campaign_stats import CampaignStats, load_campaign_stats, read_impressions
from store.sqlite.banners.impressions import add_impressions
from store.sqlite.core.database import Database
from tests.support.banners.campaign_files import SMALL, imported, lay, with_database


def test_an_empty_store_has_an_empty_book(tmp_path: Path) -> None:
    assert with_database(tmp_path, load_campaign_stats) == CampaignStats({}, {}, (), {}, 0)


def test_views_served_are_in_the_figures_at_once_and_raise_no_version(tmp_path: Path) -> None:
    imported(tmp_path, lay(tmp_path / "set", SMALL))

    async def use(database: Database) -> None:
        await add_impressions(database, {(1, 10, 1): 5, (3, 10, 1): 7})
        await add_impressions(database, {(1, 10, 1): 2})
        await add_impressions(database, {})
        found = await load_campaign_stats(database)
        assert found.figures[1][10][1] == BannerStats(9, 2, 2, 1_750_000)
        assert 3 not in found.figures  # where it only filled up
        assert await read_impressions(database, 3, 10) == {1: 7}
        assert found.version == 1

    with_database(tmp_path, use)


def test_views_outlive_imports_and_merges(tmp_path: Path) -> None:
    with_database(tmp_path, lambda database: add_impressions(database, {(1, 10, 1): 5}))
    for number in range(12):
        lines = f"banner_id,campaign_id\n1,10\n{number},11\n"
        imported(tmp_path, lay(tmp_path / str(number), {"1/impressions_1.csv": lines}))
    found = with_database(tmp_path, load_campaign_stats)
    assert found.figures[1][10][1].impressions == 17
    assert found.version == 12


def test_a_banner_that_filled_up_is_no_banner_of_that_campaign(tmp_path: Path) -> None:
    lines = "banner_id,campaign_id\n1,10\n2,11\n"
    imported(tmp_path, lay(tmp_path / "set", {"1/impressions_1.csv": lines}))

    async def use(database: Database) -> None:
        await add_impressions(database, {(1, 10, 2): 5})
        found = await load_campaign_stats(database)
        assert found.campaigns[10] == {1}
        assert set(found.figures[1][10]) == {1}
        assert (await read_impressions(database, 1, 10))[2] == 5

    with_database(tmp_path, use)


def test_what_is_live_counts_for_the_banners_of_the_campaign_alone() -> None:
    figures = {1: {10: {1: BannerStats(9, 2, 2, 5)}, 11: {3: BannerStats(1, 0, 0, 0)}}}
    campaigns = {10: frozenset({1, 2}), 11: frozenset({3})}
    live = {
        (1, 10): {
            1: BannerStats(0, 3, 1, 7),
            2: BannerStats(0, 4, 0, 0),
            3: BannerStats(0, 99, 9, 9),
        },
        (2, 10): {1: BannerStats(0, 1, 0, 0)},
    }
    found = CampaignStats(figures, campaigns, (1, 2, 3), {}, 1, live)
    assert found.counted(1, 10) == {1: BannerStats(9, 5, 3, 12), 2: BannerStats(0, 4, 0, 0)}
    assert found.counted(2, 10) == {1: BannerStats(0, 1, 0, 0)}
    assert found.counted(1, 11) == found.imported(1, 11) == {3: BannerStats(1, 0, 0, 0)}
    assert found.counted(4, 11) == {}
    assert figures[1][10] == {1: BannerStats(9, 2, 2, 5)}
