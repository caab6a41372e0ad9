"""Campaigns: what each shows in each quarter of the hour, why, and how it looks."""

from collections.abc import Awaitable, Callable
from random import random
from typing import Any

from handlers.admin.page import Page
from handlers.base import Refusal
from rules.ranking import BY_CLICKS, BY_REVENUE, Ranking
from rules.rotation import draw
from rules.slots import SLOTS
from store.campaigns import Book

LIMIT = 50
MICROS = 1_000_000
WHY = {BY_REVENUE: "earned most", BY_CLICKS: "clicked most"}

Rank = Callable[[int, int], Awaitable[Ranking | None]]


def routes(book: Callable[[], Book], present: Callable[[], int], rank: Rank) -> list[Any]:
    """Where these are; `present` tells the slot now, `rank` ranks a (campaign, slot)."""
    parts = {"book": book, "present": present, "rank": rank}
    return [
        (r"/admin/campaigns", Campaigns, parts),
        (r"/admin/campaigns/(\d{1,19})", One, parts),
        (r"/admin/campaigns/(\d{1,19})/preview", Preview, parts),
    ]


class Base(Page):
    """What has to do with campaigns."""

    def initialize(self, book: Callable[[], Book], present: Callable[[], int], rank: Rank) -> None:
        """See `routes`."""
        self.book = book
        self.present = present
        self.rank = rank

    def slot(self) -> int:
        """The slot that is asked for; the present one if none is."""
        return self.number("slot", least=SLOTS[0], most=SLOTS[-1]) or self.present()

    async def ranking(self, campaign: str, slot: int) -> Ranking:
        """A campaign's candidates; raises 404."""
        found = await self.rank(int(campaign), slot)
        if found is None:
            raise Refusal(404, "There is no campaign with this number.")
        return found

    def frame(self, campaign: str, slot: int) -> dict[str, Any]:
        """What the pages of one campaign have in common."""
        return {"campaign": int(campaign), "slot": slot, "slots": SLOTS, "present": self.present()}


class Campaigns(Base):
    """`/admin/campaigns?slot=&after=&number=`."""

    def get(self) -> None:
        """A page of them, by their numbers."""
        book, slot = self.book(), self.slot()
        wanted, after = self.number("number"), self.number("after") or -1
        numbers = [number for number in book.campaigns if number > after]
        if wanted is not None:
            numbers = [number for number in numbers if number == wanted]
        rows = []
        for number in numbers[:LIMIT]:
            figures = book.counted(slot, number).values()
            sums = [
                sum(getattr(each, name) for each in figures)
                for name in ("impressions", "clicks", "conversions", "revenue")
            ]
            rows.append((number, len(book.campaigns[number]), *sums[:3], sums[3] / MICROS))
        further = self.query(after=numbers[LIMIT - 1]) if len(numbers) > LIMIT else None
        self.show(
            "campaigns.html",
            "Campaigns",
            rows=rows,
            further=further,
            asked=wanted,
            **self.frame("0", slot),
        )


class One(Base):
    """`/admin/campaigns/{id}?slot=`."""

    async def get(self, campaign: str) -> None:
        """The candidates of a slot, and why."""
        slot = self.slot()
        ranking = await self.ranking(campaign, slot)
        rows = [
            (place, each.banner, WHY.get(each.why, each.why), each.figures)
            for place, each in enumerate(ranking.candidates, 1)
        ]
        self.show(
            "campaign.html",
            f"Campaign {int(campaign)}",
            rule=ranking.rule,
            rows=rows,
            micros=MICROS,
            targets=self.book().targets,
            **self.frame(campaign, slot),
        )


class Preview(Base):
    """`/admin/campaigns/{id}/preview?slot=&last=`: as a visitor sees it; it counts for nothing."""

    async def get(self, campaign: str) -> None:
        """One of the candidates by chance, but not the `last` one."""
        slot = self.slot()
        banners = [each.banner for each in (await self.ranking(campaign, slot)).candidates]
        last = self.number("last")
        place = banners.index(last) if last in banners else None
        banner = banners[draw(len(banners), place, random)]
        self.show(
            "preview.html",
            f"Campaign {int(campaign)}, as a visitor sees it",
            banner=banner,
            target=self.book().targets.get(banner),
            another=self.query(last=banner, slot=slot),
            **self.frame(campaign, slot),
        )
