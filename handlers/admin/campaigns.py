"""Campaigns: their stats, the ranked candidates of a slot, and a preview."""

from collections.abc import Awaitable, Callable
from random import random
from typing import Any

from domain.banners.ranking import REASON_CLICKS, REASON_REVENUE, Ranking
from domain.banners.rotation import next_candidate_index
from domain.banners.slots import SLOTS
from handlers.admin.admin_page import AdminPage
from handlers.common.base_handler import ApiError
from handlers.common.route import Route
from handlers.common.text import as_sentence
from store.sqlite.banners.campaign_stats import CampaignStats

CAMPAIGNS_PER_PAGE = 50
MICROS_PER_UNIT = 1_000_000
RANKING_REASONS = {REASON_REVENUE: "most revenue", REASON_CLICKS: "most clicks"}

RankCampaign = Callable[[int, int], Awaitable[Ranking | None]]


def routes(
    campaign_stats: Callable[[], CampaignStats],
    current_slot: Callable[[], int],
    rank_campaign: RankCampaign,
) -> list[Route]:
    """Return the routes; `rank_campaign` returns the candidates of a (campaign, slot)."""
    parts = {
        "campaign_stats": campaign_stats,
        "current_slot": current_slot,
        "rank_campaign": rank_campaign,
    }
    return [
        Route(r"/admin/campaigns", AdminCampaignsPage, parts, "admin campaigns"),
        Route(r"/admin/campaigns/(\d{1,19})", AdminCampaignDetailPage, parts, "admin campaign"),
        Route(
            r"/admin/campaigns/(\d{1,19})/preview",
            AdminCampaignPreviewPage,
            parts,
            "admin campaign preview",
        ),
    ]


class AdminCampaignsBasePage(AdminPage):
    """The base of the pages about campaigns."""

    def initialize(
        self,
        campaign_stats: Callable[[], CampaignStats],
        current_slot: Callable[[], int],
        rank_campaign: RankCampaign,
    ) -> None:
        """Keep the parameters of `routes`."""
        self.campaign_stats = campaign_stats
        self.current_slot = current_slot
        self.rank_campaign = rank_campaign

    def requested_slot(self) -> int:
        """Return the query argument `slot`; by default the current slot."""
        return self.int_argument("slot", minimum=SLOTS[0], maximum=SLOTS[-1]) or self.current_slot()

    async def get_ranking(self, campaign: str, slot: int) -> Ranking:
        """Return the ranked candidates of a campaign; raise 404 for an unknown campaign."""
        ranking = await self.rank_campaign(int(campaign), slot)
        if ranking is None:
            raise ApiError(404, "There is no campaign with this id.")
        return ranking

    def common_values(self, campaign: str, slot: int) -> dict[str, Any]:
        """Return the template values that all these pages share."""
        current = self.current_slot()
        return {"campaign": int(campaign), "slot": slot, "slots": SLOTS, "current_slot": current}


class AdminCampaignsPage(AdminCampaignsBasePage):
    """`/admin/campaigns?slot=&after=&number=`: list campaigns."""

    def get(self) -> None:
        """Send a page of campaigns, ordered by id, with their stats in the slot."""
        stats, slot = self.campaign_stats(), self.requested_slot()
        wanted_id, after = self.int_argument("number"), self.int_argument("after") or -1
        numbers = [number for number in stats.campaigns if number > after]
        if wanted_id is not None:
            numbers = [number for number in numbers if number == wanted_id]
        rows = []
        for number in numbers[:CAMPAIGNS_PER_PAGE]:
            banner_stats = stats.total_stats(slot, number).values()
            sums = [
                sum(getattr(each, name) for each in banner_stats)
                for name in ("impressions", "clicks", "conversions", "revenue")
            ]
            rows.append(
                (number, len(stats.campaigns[number]), *sums[:3], sums[3] / MICROS_PER_UNIT)
            )
        next_page_url = (
            self.page_url(after=numbers[CAMPAIGNS_PER_PAGE - 1])
            if len(numbers) > CAMPAIGNS_PER_PAGE
            else None
        )
        self.send_page(
            "campaigns.html",
            "Campaigns",
            rows=rows,
            next_page_url=next_page_url,
            wanted_id=wanted_id,
            **self.common_values("0", slot),
        )


class AdminCampaignDetailPage(AdminCampaignsBasePage):
    """`/admin/campaigns/{id}?slot=`: explain the ranking of a campaign."""

    async def get(self, campaign: str) -> None:
        """Send the candidates of a slot, best first, with the reason for each."""
        slot = self.requested_slot()
        ranking = await self.get_ranking(campaign, slot)
        rows = [
            (rank, each.banner, RANKING_REASONS.get(each.why, each.why), each.figures)
            for rank, each in enumerate(ranking.candidates, 1)
        ]
        self.send_page(
            "campaign.html",
            f"Campaign {int(campaign)}",
            ranking_rule=as_sentence(ranking.rule),
            rows=rows,
            micros=MICROS_PER_UNIT,
            **self.common_values(campaign, slot),
        )


class AdminCampaignPreviewPage(AdminCampaignsBasePage):
    """`/admin/campaigns/{id}/preview?slot=&last=`: show a banner without counting it."""

    async def get(self, campaign: str) -> None:
        """Send a random candidate other than the `last` one."""
        slot = self.requested_slot()
        banners = [each.banner for each in (await self.get_ranking(campaign, slot)).candidates]
        last = self.int_argument("last")
        last_index = banners.index(last) if last in banners else None
        banner = banners[next_candidate_index(len(banners), last_index, random)]
        self.send_page(
            "preview.html",
            f"Preview of campaign {int(campaign)}",
            banner=banner,
            target=self.campaign_stats().targets.get(banner),
            next_preview_url=self.page_url(last=banner, slot=slot),
            **self.common_values(campaign, slot),
        )
