"""Ranking: which banners a campaign shows in a slot, in which order, and why."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from random import Random

MAX_CANDIDATES = 10
MIN_CANDIDATES = 5

RULE_TOP_BY_REVENUE = "10 or more banners have conversions: the 10 with the most revenue"
RULE_ALL_BY_REVENUE = "5 to 9 banners have conversions: these, by revenue"
RULE_REVENUE_THEN_CLICKS = (
    "1 to 4 banners have conversions: these by revenue, then others by clicks, 5 in all"
)
RULE_TOP_BY_CLICKS = "no banner has conversions: the 5 with the most clicks"
RULE_CLICKS_THEN_RANDOM = (
    "no banner has conversions and fewer than 5 have clicks: these by clicks, "
    "then random others, 5 in all"
)

REASON_REVENUE = "revenue"
REASON_CLICKS = "clicks"
REASON_RANDOM_IN_SLOT = "random: this campaign and slot"
REASON_RANDOM_IN_CAMPAIGN = "random: this campaign, another slot"
REASON_RANDOM_ANYWHERE = "random: another campaign"


@dataclass(frozen=True, slots=True)
class BannerStats:
    """What one banner did in one campaign and slot; revenue in millionths, so sums are exact."""

    impressions: int
    clicks: int
    conversions: int
    revenue: int

    def plus(self, more: "BannerStats") -> "BannerStats":
        """The sums of both."""
        return BannerStats(
            self.impressions + more.impressions,
            self.clicks + more.clicks,
            self.conversions + more.conversions,
            self.revenue + more.revenue,
        )


NO_BANNER_STATS = BannerStats(0, 0, 0, 0)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A banner that may be shown, its figures in this campaign and slot, and why it is there."""

    banner: int
    figures: BannerStats
    why: str


@dataclass(frozen=True, slots=True)
class Ranking:
    """The candidates in rank order, and in words the rule by which they are."""

    rule: str
    candidates: tuple[Candidate, ...]


def rank_banners(
    slot_figures: Mapping[int, BannerStats],
    campaign_banners: Collection[int],
    all_banners: Sequence[int],
    chance: Random,
    *,
    slot_banners: Collection[int] | None = None,
) -> Ranking:
    """The candidates of one campaign in one slot.

    `slot_figures` are its banners there; `campaign_banners` its banners in any slot, and
    `all_banners` those of every campaign, each once and sorted, serve where too few were clicked.
    Before these come `slot_banners`, if they are not just those with figures: figures may change
    within a slot's period, and what is drawn for it may not.
    The same inputs and the same `chance` give the same ranking, whatever order mappings have.
    """
    converted = [banner for banner, figures in slot_figures.items() if figures.conversions]
    converted.sort(key=lambda banner: _revenue_sort_key(banner, slot_figures[banner]))
    why = dict.fromkeys(converted[:MAX_CANDIDATES], REASON_REVENUE)
    if len(converted) >= MIN_CANDIDATES:
        return _build_ranking(
            RULE_TOP_BY_REVENUE if len(converted) >= MAX_CANDIDATES else RULE_ALL_BY_REVENUE,
            why,
            slot_figures,
        )

    clicked = [
        banner
        for banner, figures in slot_figures.items()
        if figures.clicks and not figures.conversions
    ]
    clicked.sort(key=lambda banner: (-slot_figures[banner].clicks, banner))
    why |= dict.fromkeys(clicked[: MIN_CANDIDATES - len(why)], REASON_CLICKS)
    rule = (
        RULE_REVENUE_THEN_CLICKS
        if converted
        else RULE_TOP_BY_CLICKS
        if len(why) == MIN_CANDIDATES
        else RULE_CLICKS_THEN_RANDOM
    )
    if len(why) < MIN_CANDIDATES:
        pool = slot_figures if slot_banners is None else slot_banners
        _fill_randomly(why, sorted(pool), REASON_RANDOM_IN_SLOT, chance)
    if len(why) < MIN_CANDIDATES:
        _fill_randomly(why, sorted(campaign_banners), REASON_RANDOM_IN_CAMPAIGN, chance)
    if len(why) < MIN_CANDIDATES:
        _fill_randomly(why, all_banners, REASON_RANDOM_ANYWHERE, chance)
    return _build_ranking(rule, why, slot_figures)


def _revenue_sort_key(banner: int, figures: BannerStats) -> tuple[int, int, int]:
    return -figures.revenue, -figures.clicks, banner


def _fill_randomly(why: dict[int, str], pool: Sequence[int], reason: str, chance: Random) -> None:
    """Add banners of the pool that are not there yet, until there are `LEAST` or no more.

    As many more are drawn as are there already, since these may be among them: so the pool, which
    may be large, is neither copied nor searched.
    """
    drawn = chance.sample(pool, min(len(pool), MIN_CANDIDATES))
    others: Iterable[int] = (banner for banner in drawn if banner not in why)
    for banner in list(others)[: MIN_CANDIDATES - len(why)]:
        why[banner] = reason


def _build_ranking(
    rule: str, why: Mapping[int, str], slot_figures: Mapping[int, BannerStats]
) -> Ranking:
    return Ranking(
        rule,
        tuple(
            Candidate(banner, slot_figures.get(banner, NO_BANNER_STATS), reason)
            for banner, reason in why.items()
        ),
    )
