from collections import Counter, defaultdict
from random import Random
from typing import Any
from urllib.parse import urlsplit

import pytest

from demo.demo_campaigns import demo_campaign_files, demo_stories
from domain.banners.ranking import (
    REASON_CLICKS,
    REASON_RANDOM_ANYWHERE,
    REASON_RANDOM_IN_CAMPAIGN,
    REASON_RANDOM_IN_SLOT,
    REASON_REVENUE,
    RULE_ALL_BY_REVENUE,
    RULE_CLICKS_THEN_RANDOM,
    RULE_REVENUE_THEN_CLICKS,
    RULE_TOP_BY_CLICKS,
    RULE_TOP_BY_REVENUE,
    BannerStats,
    Ranking,
    rank_banners,
)
from domain.banners.slots import SLOTS
from domain.common.csv_rows import REQUIRED_COLUMNS, detect_layout, row_parser

SEEDS = range(1, 11)
StatsBySlotAndCampaign = dict[tuple[int, int], dict[int, BannerStats]]


def parse_rows(files: dict[str, bytes], name: str, kind: str) -> list[tuple[Any, ...]]:
    """Parse the rows of a file as an import does."""
    header, *lines = files[name].splitlines()
    assert header.decode().split(",") == list(REQUIRED_COLUMNS[kind])
    parse = row_parser(kind, detect_layout(header, kind))
    return [parse(line) for line in lines]


def count_stats(files: dict[str, bytes]) -> StatsBySlotAndCampaign:
    """Count the stats of every banner row by row."""
    views, clicks, sales, revenue = (Counter[tuple[int, int, int]]() for _ in range(4))
    clicked = {}
    for slot in SLOTS:
        for banner, campaign in parse_rows(files, f"{slot}/impressions_{slot}.csv", "impressions"):
            views[slot, campaign, banner] += 1
        for click, banner, campaign in parse_rows(files, f"{slot}/clicks_{slot}.csv", "clicks"):
            assert click not in clicked
            clicked[click] = (slot, campaign, banner)
            clicks[slot, campaign, banner] += 1
        converted = parse_rows(files, f"{slot}/conversions_{slot}.csv", "conversions")
        assert len({conversion for conversion, _, _ in converted}) == len(converted)
        for _, click, amount in converted:
            assert clicked[click][0] == slot
            sales[clicked[click]] += 1
            revenue[clicked[click]] += amount
    stats: StatsBySlotAndCampaign = defaultdict(dict)
    for key in sorted(views.keys() | clicks.keys()):
        slot, campaign, banner = key
        stats[slot, campaign][banner] = BannerStats(
            views[key], clicks[key], sales[key], revenue[key]
        )
    return stats


def rank_all(stats: StatsBySlotAndCampaign) -> dict[tuple[int, int], Ranking]:
    banners = sorted({banner for campaign_stats in stats.values() for banner in campaign_stats})
    return {
        (slot, campaign): rank_banners(
            campaign_stats,
            {banner for (_, other), some in stats.items() if other == campaign for banner in some},
            banners,
            Random(slot),
        )
        for (slot, campaign), campaign_stats in stats.items()
    }


def banners_with_image(files: dict[str, bytes]) -> set[int]:
    return {int(name[13:-4]) for name in files if name.startswith("images/")}


def test_files_depend_only_on_seed() -> None:
    assert demo_campaign_files(1) == demo_campaign_files(1)
    assert demo_campaign_files(1)["1/clicks_1.csv"] != demo_campaign_files(2)["1/clicks_1.csv"]


def test_files_have_names_that_imports_expect() -> None:
    names = set(demo_campaign_files(1))
    expected = {
        f"{slot}/{kind}_{slot}.csv"
        for slot in SLOTS
        for kind in ("impressions", "clicks", "conversions")
    }
    expected |= {
        f"images/image_{banner}.svg" for banner in banners_with_image(demo_campaign_files(1))
    }
    assert names == expected | {"targets.csv"}


@pytest.mark.parametrize("seed", SEEDS)
def test_every_ranking_rule_and_reason_occurs(seed: int) -> None:
    ranked = rank_all(count_stats(demo_campaign_files(seed)))
    for slot in SLOTS:
        slot_rankings = [ranking for (one, _), ranking in ranked.items() if one == slot]
        assert {ranking.rule for ranking in slot_rankings} == {
            RULE_TOP_BY_REVENUE,
            RULE_ALL_BY_REVENUE,
            RULE_REVENUE_THEN_CLICKS,
            RULE_TOP_BY_CLICKS,
            RULE_CLICKS_THEN_RANDOM,
        }
        reasons = {each.why for ranking in slot_rankings for each in ranking.candidates}
        assert reasons >= {
            REASON_REVENUE,
            REASON_CLICKS,
            REASON_RANDOM_IN_CAMPAIGN,
            REASON_RANDOM_ANYWHERE,
        }
    reasons = {each.why for ranking in ranked.values() for each in ranking.candidates}
    assert REASON_RANDOM_IN_SLOT in reasons


@pytest.mark.parametrize("seed", SEEDS)
def test_sample_size_is_within_bounds(seed: int) -> None:
    files = demo_campaign_files(seed)
    stats = count_stats(files)
    assert 8 <= len({campaign for _, campaign in stats}) <= 12
    assert (
        50 <= len({banner for campaign_stats in stats.values() for banner in campaign_stats}) <= 60
    )
    all_stats = [one for some in stats.values() for one in some.values()]
    views, clicks, sales = (
        sum(getattr(one, name) for one in all_stats)
        for name in ("impressions", "clicks", "conversions")
    )
    assert 10_000 < views < 30_000
    assert 0.03 < clicks / views < 0.15
    assert 0.05 < sales / clicks < 0.35
    assert sum(len(content) for content in files.values()) < 500_000


@pytest.mark.parametrize("seed", SEEDS)
def test_two_banners_without_image_are_candidates(seed: int) -> None:
    files = demo_campaign_files(seed)
    stats = count_stats(files)
    without_image = {
        banner for campaign_stats in stats.values() for banner in campaign_stats
    } - banners_with_image(files)
    assert len(without_image) == 2
    candidates = {
        each.banner for ranking in rank_all(stats).values() for each in ranking.candidates
    }
    assert without_image & candidates


def test_targets_are_example_domains_and_some_banners_have_none() -> None:
    files = demo_campaign_files(1)
    targets: dict[int, str] = dict(parse_rows(files, "targets.csv", "targets"))
    banners = {banner for stats in count_stats(files).values() for banner in stats}
    assert set(targets) < banners
    assert {urlsplit(url).hostname for url in targets.values()} == {"example.com", "example.org"}
    assert {urlsplit(url).scheme for url in targets.values()} == {"https", "http"}


def test_sample_apps_have_stories() -> None:
    assert [(each.app, each.id, each.metadata) for each in demo_stories()] == [
        (f"token_{app}", number, f'{{"img":"image{number}.png"}}')
        for app, number in ((1, 1), (1, 2), (1, 3), (2, 4), (3, 5), (3, 6), (3, 7), (3, 8))
    ]
