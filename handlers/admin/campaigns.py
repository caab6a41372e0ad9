"""Campaigns: what each shows in each quarter of the hour, why, and how it looks."""

from collections.abc import Awaitable, Callable
from random import random
from typing import Any

from domain.banners.ranking import REASON_CLICKS, REASON_REVENUE, Ranking
from domain.banners.rotation import next_candidate_index
from domain.banners.slots import SLOTS
from handlers.admin.admin_page import AdminPage
from handlers.common.base_handler import ApiError
from handlers.common.route import Route
from store.sqlite.banners.campaign_stats import CampaignStats

CAMPAIGNS_PER_PAGE = 50
MICROS_PER_UNIT = 1_000_000
RANKING_REASONS = {REASON_REVENUE: "earned most", REASON_CLICKS: "clicked most"}

RankCampaign = Callable[[int, int], Awaitable[Ranking | None]]


def routes(
    book: Callable[[], CampaignStats], present: Callable[[], int], rank: RankCampaign
) -> list[Route]:
    """Where these are; `present` tells the slot now, `rank` ranks a (campaign, slot)."""
    parts = {"book": book, "present": present, "rank": rank}
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
    """What has to do with campaigns."""

    def initialize(
        self, book: Callable[[], CampaignStats], present: Callable[[], int], rank: RankCampaign
    ) -> None:
        """See `routes`."""
        self.book = book
        self.present = present
        self.rank = rank

    def slot(self) -> int:
        """The slot that is asked for; the present one if none is."""
        return self.int_argument("slot", minimum=SLOTS[0], maximum=SLOTS[-1]) or self.present()

    async def ranking(self, campaign: str, slot: int) -> Ranking:
        """A campaign's candidates; raises 404."""
        found = await self.rank(int(campaign), slot)
        if found is None:
            raise ApiError(404, "There is no campaign with this number.")
        return found

    def frame(self, campaign: str, slot: int) -> dict[str, Any]:
        """What the pages of one campaign have in common."""
        return {"campaign": int(campaign), "slot": slot, "slots": SLOTS, "present": self.present()}


class AdminCampaignsPage(AdminCampaignsBasePage):
    """`/admin/campaigns?slot=&after=&number=`."""

    def get(self) -> None:
        """A page of them, by their numbers."""
        book, slot = self.book(), self.slot()
        wanted, after = self.int_argument("number"), self.int_argument("after") or -1
        numbers = [number for number in book.campaigns if number > after]
        if wanted is not None:
            numbers = [number for number in numbers if number == wanted]
        rows = []
        for number in numbers[:CAMPAIGNS_PER_PAGE]:
            figures = book.counted(slot, number).values()
            sums = [
                sum(getattr(each, name) for each in figures)
                for name in ("impressions", "clicks", "conversions", "revenue")
            ]
            rows.append((number, len(book.campaigns[number]), *sums[:3], sums[3] / MICROS_PER_UNIT))
        further = (
            self.query(after=numbers[CAMPAIGNS_PER_PAGE - 1])
            if len(numbers) > CAMPAIGNS_PER_PAGE
            else None
        )
        self.show(
            "campaigns.html",
            "Campaigns",
            rows=rows,
            further=further,
            asked=wanted,
            **self.frame("0", slot),
        )


class AdminCampaignDetailPage(AdminCampaignsBasePage):
    """`/admin/campaigns/{id}?slot=`."""

    async def get(self, campaign: str) -> None:
        """The candidates of a slot, and why."""
        slot = self.slot()
        ranking = await self.ranking(campaign, slot)
        rows = [
            (place, each.banner, RANKING_REASONS.get(each.why, each.why), each.figures)
            for place, each in enumerate(ranking.candidates, 1)
        ]
        self.show(
            "campaign.html",
            f"Campaign {int(campaign)}",
            rule=ranking.rule,
            rows=rows,
            micros=MICROS_PER_UNIT,
            targets=self.book().targets,
            **self.frame(campaign, slot),
        )


class AdminCampaignPreviewPage(AdminCampaignsBasePage):
    """`/admin/campaigns/{id}/preview?slot=&last=`: as a visitor sees it; it counts for nothing."""

    async def get(self, campaign: str) -> None:
        """One of the candidates by chance, but not the `last` one."""
        slot = self.slot()
        banners = [each.banner for each in (await self.ranking(campaign, slot)).candidates]
        last = self.int_argument("last")
        place = banners.index(last) if last in banners else None
        banner = banners[next_candidate_index(len(banners), place, random)]
        self.show(
            "preview.html",
            f"Campaign {int(campaign)}, as a visitor sees it",
            banner=banner,
            target=self.book().targets.get(banner),
            another=self.query(last=banner, slot=slot),
            **self.frame(campaign, slot),
        )
