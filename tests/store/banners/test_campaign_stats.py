"""Stats of campaigns, and the impressions served here."""

from pathlib import Path

from domain.banners.ranking import BannerStats
from store.sqlite.banners.campaign_stats import CampaignStats, load_campaign_stats, read_impressions
from store.sqlite.banners.impressions import add_impressions
from store.sqlite.core.database import Database
from tests.support.banners.campaign_files import (
    SMALL_CAMPAIGN,
    import_in_process,
    with_database,
    write_files,
)


def test_empty_database_has_no_stats(tmp_path: Path) -> None:
    assert with_database(tmp_path, load_campaign_stats) == CampaignStats({}, {}, (), {}, 0)


def test_served_impressions_count_at_once_and_keep_the_version(tmp_path: Path) -> None:
    import_in_process(tmp_path, write_files(tmp_path / "set", SMALL_CAMPAIGN))

    async def use(database: Database) -> None:
        await add_impressions(database, {(1, 10, 1): 5, (3, 10, 1): 7})
        await add_impressions(database, {(1, 10, 1): 2})
        await add_impressions(database, {})
        found = await load_campaign_stats(database)
        assert found.imported[1][10][1] == BannerStats(9, 2, 2, 1_750_000)
        assert 3 not in found.imported  # shown there only as random fill
        assert await read_impressions(database, 3, 10) == {1: 7}
        assert found.version == 1

    with_database(tmp_path, use)


def test_served_impressions_survive_imports_and_merges(tmp_path: Path) -> None:
    with_database(tmp_path, lambda database: add_impressions(database, {(1, 10, 1): 5}))
    for number in range(12):
        lines = f"banner_id,campaign_id\n1,10\n{number},11\n"
        import_in_process(
            tmp_path, write_files(tmp_path / str(number), {"1/impressions_1.csv": lines})
        )
    found = with_database(tmp_path, load_campaign_stats)
    assert found.imported[1][10][1].impressions == 17
    assert found.version == 12


def test_random_fill_does_not_add_a_banner_to_the_campaign(tmp_path: Path) -> None:
    lines = "banner_id,campaign_id\n1,10\n2,11\n"
    import_in_process(tmp_path, write_files(tmp_path / "set", {"1/impressions_1.csv": lines}))

    async def use(database: Database) -> None:
        await add_impressions(database, {(1, 10, 2): 5})
        found = await load_campaign_stats(database)
        assert found.campaigns[10] == {1}
        assert set(found.imported[1][10]) == {1}
        assert (await read_impressions(database, 1, 10))[2] == 5

    with_database(tmp_path, use)


def test_live_stats_count_only_for_the_campaigns_own_banners() -> None:
    imported_stats = {1: {10: {1: BannerStats(9, 2, 2, 5)}, 11: {3: BannerStats(1, 0, 0, 0)}}}
    campaigns = {10: frozenset({1, 2}), 11: frozenset({3})}
    live = {
        (1, 10): {
            1: BannerStats(0, 3, 1, 7),
            2: BannerStats(0, 4, 0, 0),
            3: BannerStats(0, 99, 9, 9),
        },
        (2, 10): {1: BannerStats(0, 1, 0, 0)},
    }
    found = CampaignStats(imported_stats, campaigns, (1, 2, 3), {}, 1, live)
    assert found.total_stats(1, 10) == {1: BannerStats(9, 5, 3, 12), 2: BannerStats(0, 4, 0, 0)}
    assert found.total_stats(2, 10) == {1: BannerStats(0, 1, 0, 0)}
    assert found.total_stats(1, 11) == found.imported_stats(1, 11) == {3: BannerStats(1, 0, 0, 0)}
    assert found.total_stats(4, 11) == {}
    assert imported_stats[1][10] == {1: BannerStats(9, 2, 2, 5)}
