"""Ranking of campaigns over their stats: for the pages of a slot, and for a request."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, tzinfo
from random import Random

from domain.banners.ranking import Ranking, rank_banners
from domain.banners.slots import SlotPeriod, current_or_next_period, slot_at
from handlers.banners.campaign_page import CampaignRotation, SlotPlan
from handlers.common.responses import PageTemplates
from store.sqlite.banners.campaign_stats import CampaignStats, read_impressions
from store.sqlite.core.database import Database


def utc_now() -> datetime:
    """Return the current time in UTC."""
    return datetime.now(UTC)


def rank_campaign(stats: CampaignStats, campaign: int, period: SlotPeriod) -> Ranking:
    """Rank a campaign's banners for a slot period.

    The random fill is seeded by period and campaign, so that a restart draws the same banners.
    """
    return rank_banners(
        stats.total_stats(period.slot, campaign),
        stats.campaigns[campaign],
        stats.banners,
        Random(f"{period.start.isoformat()} {campaign}"),
        slot_banners=stats.imported_stats(period.slot, campaign),
    )


def prepare_slot_plan(
    templates: PageTemplates,
    stats: CampaignStats,
    period: SlotPeriod,
    previous: SlotPlan | None,
) -> SlotPlan:
    """Render the pages of all campaigns for a slot period; reuse unchanged ones of `previous`."""
    rotations: dict[str, CampaignRotation] = {}
    for campaign in stats.campaigns:
        known = None if previous is None else previous.rotations.get(str(campaign))
        ranking = rank_campaign(stats, campaign, period)
        rotations[str(campaign)] = CampaignRotation.build(templates, campaign, ranking, known)
    return SlotPlan(period.slot, rotations, frozenset(stats.banners), stats.targets)


class CampaignRanker:
    """Ranks a campaign in a slot on request."""

    def __init__(
        self,
        database: Database,
        stats: Callable[[], CampaignStats],
        zone: tzinfo,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        """`stats` returns the stats that the served pages are based on."""
        self._database = database
        self._stats = stats
        self._zone = zone
        self._clock = clock

    def current_slot(self) -> int:
        """Return the current slot, 1 to 4."""
        return slot_at(self._clock(), self._zone)

    async def rank(self, campaign: int, slot: int) -> Ranking | None:
        """Return the ranking of a campaign in a slot with current stats; None if it is unknown."""
        stats = self._stats()
        if campaign not in stats.campaigns:
            return None
        period = current_or_next_period(slot, self._clock(), self._zone)
        ranking = await asyncio.to_thread(rank_campaign, stats, campaign, period)
        # Clicks and revenue are those that determined the order; impressions do not affect it.
        impressions = await read_impressions(self._database, slot, campaign)
        candidates = (
            replace(
                each, figures=replace(each.figures, impressions=impressions.get(each.banner, 0))
            )
            for each in ranking.candidates
        )
        return replace(ranking, candidates=tuple(candidates))
