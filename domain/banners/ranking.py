"""Ranking of a campaign's banners in a slot, with the reason for each candidate."""

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
    """Stats of a banner in one campaign and slot; revenue in micros, so that sums are exact."""

    impressions: int
    clicks: int
    conversions: int
    revenue: int

    def plus(self, more: "BannerStats") -> "BannerStats":
        """Return the sum of both."""
        return BannerStats(
            self.impressions + more.impressions,
            self.clicks + more.clicks,
            self.conversions + more.conversions,
            self.revenue + more.revenue,
        )


NO_BANNER_STATS = BannerStats(0, 0, 0, 0)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A banner to show, its stats in this campaign and slot, and the reason for choosing it."""

    banner: int
    figures: BannerStats
    why: str


@dataclass(frozen=True, slots=True)
class Ranking:
    """Candidates, best first, and the description of the rule that ranked them."""

    rule: str
    candidates: tuple[Candidate, ...]


def rank_banners(
    slot_stats: Mapping[int, BannerStats],
    campaign_banners: Collection[int],
    all_banners: Sequence[int],
    rng: Random,
    *,
    slot_banners: Collection[int] | None = None,
) -> Ranking:
    """Return the candidates of a campaign in a slot, best first.

    `slot_stats` holds the stats of the campaign's banners in the slot. If too few have clicks,
    random ones fill up: from `slot_banners` (default: those with stats), then `campaign_banners`
    (any slot), then `all_banners` (every campaign; unique and sorted). Stats change within a slot
    period; pass fixed `slot_banners` to keep the random ones.
    The same inputs and `rng` state give the same ranking, regardless of mapping order.
    """
    converted = [banner for banner, stats in slot_stats.items() if stats.conversions]
    converted.sort(key=lambda banner: _revenue_sort_key(banner, slot_stats[banner]))
    reasons = dict.fromkeys(converted[:MAX_CANDIDATES], REASON_REVENUE)
    if len(converted) >= MIN_CANDIDATES:
        return _build_ranking(
            RULE_TOP_BY_REVENUE if len(converted) >= MAX_CANDIDATES else RULE_ALL_BY_REVENUE,
            reasons,
            slot_stats,
        )

    clicked = [
        banner for banner, stats in slot_stats.items() if stats.clicks and not stats.conversions
    ]
    clicked.sort(key=lambda banner: (-slot_stats[banner].clicks, banner))
    reasons |= dict.fromkeys(clicked[: MIN_CANDIDATES - len(reasons)], REASON_CLICKS)
    rule = (
        RULE_REVENUE_THEN_CLICKS
        if converted
        else RULE_TOP_BY_CLICKS
        if len(reasons) == MIN_CANDIDATES
        else RULE_CLICKS_THEN_RANDOM
    )
    if len(reasons) < MIN_CANDIDATES:
        pool = slot_stats if slot_banners is None else slot_banners
        _fill_randomly(reasons, sorted(pool), REASON_RANDOM_IN_SLOT, rng)
    if len(reasons) < MIN_CANDIDATES:
        _fill_randomly(reasons, sorted(campaign_banners), REASON_RANDOM_IN_CAMPAIGN, rng)
    if len(reasons) < MIN_CANDIDATES:
        _fill_randomly(reasons, all_banners, REASON_RANDOM_ANYWHERE, rng)
    return _build_ranking(rule, reasons, slot_stats)


def _revenue_sort_key(banner: int, stats: BannerStats) -> tuple[int, int, int]:
    return -stats.revenue, -stats.clicks, banner


def _fill_randomly(reasons: dict[int, str], pool: Sequence[int], reason: str, rng: Random) -> None:
    """Add random banners of the pool to `reasons`, up to `MIN_CANDIDATES` in all.

    Draws `MIN_CANDIDATES`, as some may be present already. The pool may be large, so this neither
    copies nor searches it.
    """
    drawn = rng.sample(pool, min(len(pool), MIN_CANDIDATES))
    new: Iterable[int] = (banner for banner in drawn if banner not in reasons)
    for banner in list(new)[: MIN_CANDIDATES - len(reasons)]:
        reasons[banner] = reason


def _build_ranking(
    rule: str, reasons: Mapping[int, str], slot_stats: Mapping[int, BannerStats]
) -> Ranking:
    return Ranking(
        rule,
        tuple(
            Candidate(banner, slot_stats.get(banner, NO_BANNER_STATS), reason)
            for banner, reason in reasons.items()
        ),
    )
