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
Book = dict[tuple[int, int], dict[int, BannerStats]]  # by slot and campaign


def rows(files: dict[str, bytes], name: str, kind: str) -> list[tuple[Any, ...]]:
    """A file's rows, read as an import reads them."""
    header, *lines = files[name].splitlines()
    assert header.decode().split(",") == list(REQUIRED_COLUMNS[kind])
    parse = row_parser(kind, detect_layout(header, kind))
    return [parse(line) for line in lines]


def book(files: dict[str, bytes]) -> Book:
    """What the sample's campaigns did, added up the slow and obvious way."""
    views, clicks, sales, revenue = (Counter[tuple[int, int, int]]() for _ in range(4))
    clicked = {}
    for slot in SLOTS:
        for banner, campaign in rows(files, f"{slot}/impressions_{slot}.csv", "impressions"):
            views[slot, campaign, banner] += 1
        for click, banner, campaign in rows(files, f"{slot}/clicks_{slot}.csv", "clicks"):
            assert click not in clicked
            clicked[click] = (slot, campaign, banner)
            clicks[slot, campaign, banner] += 1
        converted = rows(files, f"{slot}/conversions_{slot}.csv", "conversions")
        assert len({conversion for conversion, _, _ in converted}) == len(converted)
        for _, click, amount in converted:
            assert clicked[click][0] == slot
            sales[clicked[click]] += 1
            revenue[clicked[click]] += amount
    found: Book = defaultdict(dict)
    for key in sorted(views.keys() | clicks.keys()):
        slot, campaign, banner = key
        found[slot, campaign][banner] = BannerStats(
            views[key], clicks[key], sales[key], revenue[key]
        )
    return found


def rankings(found: Book) -> dict[tuple[int, int], Ranking]:
    banners = sorted({banner for figures in found.values() for banner in figures})
    return {
        (slot, campaign): rank_banners(
            figures,
            {banner for (_, one), some in found.items() if one == campaign for banner in some},
            banners,
            Random(slot),
        )
        for (slot, campaign), figures in found.items()
    }


def pictured(files: dict[str, bytes]) -> set[int]:
    return {int(name[13:-4]) for name in files if name.startswith("images/")}


def test_the_same_seed_makes_the_same_files_and_another_one_others() -> None:
    assert demo_campaign_files(1) == demo_campaign_files(1)
    assert demo_campaign_files(1)["1/clicks_1.csv"] != demo_campaign_files(2)["1/clicks_1.csv"]


def test_the_files_are_those_that_an_import_looks_for() -> None:
    names = set(demo_campaign_files(1))
    expected = {
        f"{slot}/{kind}_{slot}.csv"
        for slot in SLOTS
        for kind in ("impressions", "clicks", "conversions")
    }
    expected |= {f"images/image_{banner}.svg" for banner in pictured(demo_campaign_files(1))}
    assert names == expected | {"targets.csv"}


@pytest.mark.parametrize("seed", SEEDS)
def test_every_branch_of_the_ranking_and_every_reason_occurs_in_every_slot(seed: int) -> None:
    ranked = rankings(book(demo_campaign_files(seed)))
    for slot in SLOTS:
        here = [ranking for (one, _), ranking in ranked.items() if one == slot]
        assert {ranking.rule for ranking in here} == {
            RULE_TOP_BY_REVENUE,
            RULE_ALL_BY_REVENUE,
            RULE_REVENUE_THEN_CLICKS,
            RULE_TOP_BY_CLICKS,
            RULE_CLICKS_THEN_RANDOM,
        }
        whys = {each.why for ranking in here for each in ranking.candidates}
        assert whys >= {
            REASON_REVENUE,
            REASON_CLICKS,
            REASON_RANDOM_IN_CAMPAIGN,
            REASON_RANDOM_ANYWHERE,
        }
    whys = {each.why for ranking in ranked.values() for each in ranking.candidates}
    assert REASON_RANDOM_IN_SLOT in whys


@pytest.mark.parametrize("seed", SEEDS)
def test_the_sample_is_small_but_not_too_small(seed: int) -> None:
    files = demo_campaign_files(seed)
    found = book(files)
    assert 8 <= len({campaign for _, campaign in found}) <= 12
    assert 50 <= len({banner for figures in found.values() for banner in figures}) <= 60
    figures = [one for some in found.values() for one in some.values()]
    views, clicks, sales = (
        sum(getattr(one, name) for one in figures)
        for name in ("impressions", "clicks", "conversions")
    )
    assert 10_000 < views < 30_000
    assert 0.03 < clicks / views < 0.15
    assert 0.05 < sales / clicks < 0.35
    assert sum(len(content) for content in files.values()) < 500_000


@pytest.mark.parametrize("seed", SEEDS)
def test_two_banners_have_no_image_and_are_shown_all_the_same(seed: int) -> None:
    files = demo_campaign_files(seed)
    found = book(files)
    without = {banner for figures in found.values() for banner in figures} - pictured(files)
    assert len(without) == 2
    shown = {each.banner for ranking in rankings(found).values() for each in ranking.candidates}
    assert without & shown


def test_targets_are_nobody_s_real_pages_and_some_banners_have_none() -> None:
    files = demo_campaign_files(1)
    found: dict[int, str] = dict(rows(files, "targets.csv", "targets"))
    banners = {banner for figures in book(files).values() for banner in figures}
    assert set(found) < banners
    assert {urlsplit(url).hostname for url in found.values()} == {"example.com", "example.org"}
    assert {urlsplit(url).scheme for url in found.values()} == {"https", "http"}


def test_the_samples_apps_have_their_stories() -> None:
    assert [(each.app, each.id, each.metadata) for each in demo_stories()] == [
        (f"token_{app}", number, f'{{"img":"image{number}.png"}}')
        for app, number in ((1, 1), (1, 2), (1, 3), (2, 4), (3, 5), (3, 6), (3, 7), (3, 8))
    ]
