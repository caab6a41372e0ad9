"""Ranking: which banners a campaign shows in a slot, in which order, and why."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from random import Random

MOST = 10
LEAST = 5

MANY = "10 or more banners have conversions: the 10 with the most revenue"
SOME = "5 to 9 banners have conversions: these, by revenue"
FEW = "1 to 4 banners have conversions: these by revenue, then others by clicks, 5 in all"
NONE = "no banner has conversions: the 5 with the most clicks"
NONE_FEW_CLICKED = (
    "no banner has conversions and fewer than 5 have clicks: these by clicks, "
    "then random others, 5 in all"
)

BY_REVENUE = "revenue"
BY_CLICKS = "clicks"
RANDOM_SLOT = "random: this campaign and slot"
RANDOM_CAMPAIGN = "random: this campaign, another slot"
RANDOM_ANY = "random: another campaign"


@dataclass(frozen=True, slots=True)
class Figures:
    """What one banner did in one campaign and slot; revenue in millionths, so sums are exact."""

    impressions: int
    clicks: int
    conversions: int
    revenue: int

    def plus(self, more: "Figures") -> "Figures":
        """The sums of both."""
        return Figures(
            self.impressions + more.impressions,
            self.clicks + more.clicks,
            self.conversions + more.conversions,
            self.revenue + more.revenue,
        )


NOTHING = Figures(0, 0, 0, 0)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A banner that may be shown, its figures in this campaign and slot, and why it is there."""

    banner: int
    figures: Figures
    why: str


@dataclass(frozen=True, slots=True)
class Ranking:
    """The candidates in rank order, and in words the rule by which they are."""

    rule: str
    candidates: tuple[Candidate, ...]


def rank(
    slot_figures: Mapping[int, Figures],
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
    converted.sort(key=lambda banner: _by_revenue(banner, slot_figures[banner]))
    why = dict.fromkeys(converted[:MOST], BY_REVENUE)
    if len(converted) >= LEAST:
        return _ranking(MANY if len(converted) >= MOST else SOME, why, slot_figures)

    clicked = [
        banner
        for banner, figures in slot_figures.items()
        if figures.clicks and not figures.conversions
    ]
    clicked.sort(key=lambda banner: (-slot_figures[banner].clicks, banner))
    why |= dict.fromkeys(clicked[: LEAST - len(why)], BY_CLICKS)
    rule = FEW if converted else NONE if len(why) == LEAST else NONE_FEW_CLICKED
    if len(why) < LEAST:
        pool = slot_figures if slot_banners is None else slot_banners
        _fill(why, sorted(pool), RANDOM_SLOT, chance)
    if len(why) < LEAST:
        _fill(why, sorted(campaign_banners), RANDOM_CAMPAIGN, chance)
    if len(why) < LEAST:
        _fill(why, all_banners, RANDOM_ANY, chance)
    return _ranking(rule, why, slot_figures)


def _by_revenue(banner: int, figures: Figures) -> tuple[int, int, int]:
    return -figures.revenue, -figures.clicks, banner


def _fill(why: dict[int, str], pool: Sequence[int], reason: str, chance: Random) -> None:
    """Add banners of the pool that are not there yet, until there are `LEAST` or no more.

    As many more are drawn as are there already, since these may be among them: so the pool, which
    may be large, is neither copied nor searched.
    """
    drawn = chance.sample(pool, min(len(pool), LEAST))
    others: Iterable[int] = (banner for banner in drawn if banner not in why)
    for banner in list(others)[: LEAST - len(why)]:
        why[banner] = reason


def _ranking(rule: str, why: Mapping[int, str], slot_figures: Mapping[int, Figures]) -> Ranking:
    return Ranking(
        rule,
        tuple(
            Candidate(banner, slot_figures.get(banner, NOTHING), reason)
            for banner, reason in why.items()
        ),
    )
