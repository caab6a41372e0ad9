"""What campaigns did: the figures that ranking goes by."""

import asyncio
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass, field

from domain.banners.ranking import NO_BANNER_STATS, BannerStats
from store.sqlite.core.database import Database
from store.sqlite.core.paging import QueryRunner, SqlRow, TableScan, map_pages

STATS_TABLE = TableScan(
    "figure",
    # All imports of a banner in one page: what is merged from one into another is not lost.
    ("slot", "campaign", "banner"),
    "import, slot, campaign, banner, impressions, clicks, conversions, revenue",
)
TARGET_TABLE = TableScan("target", ("banner", "import"), "import, banner, url")
LIVE_STATS_TABLE = TableScan(
    "live", ("slot", "campaign", "banner"), "slot, campaign, banner, clicks, conversions, high, low"
)
PUBLISHED_IMPORTS_SQL = "SELECT id FROM import WHERE published_at IS NOT NULL"
# Maximum repetitions because an import was published during the read. The reload that follows
# that import brings its changes.
MAX_READ_ATTEMPTS = 5
IMPRESSIONS_SQL = """
SELECT banner, impressions FROM figure WHERE slot = ? AND campaign = ?
AND import IN (SELECT id FROM import WHERE published_at IS NOT NULL)
"""


# By (slot, campaign), then banner.
LiveStats = Mapping[tuple[int, int], Mapping[int, BannerStats]]


@dataclass(frozen=True)
class CampaignStats:
    """All that ranking needs, from one moment."""

    figures: dict[int, dict[int, dict[int, BannerStats]]]  # by slot, campaign, banner
    campaigns: dict[int, frozenset[int]]  # the banners of each, in any slot
    banners: tuple[int, ...]  # all, sorted
    targets: dict[int, str]  # where a click on a banner leads
    version: int  # rises with every import that is published
    live: LiveStats = field(default_factory=dict)  # what happened here, if it is to count

    def imported(self, slot: int, campaign: int) -> Mapping[int, BannerStats]:
        """The campaign's banners in the slot, without what is live."""
        return self.figures.get(slot, {}).get(campaign, {})

    def counted(self, slot: int, campaign: int) -> Mapping[int, BannerStats]:
        """The same and what is live, which counts for the campaign's own banners, of any slot.

        Not for those of others, which were shown to fill up: anyone can ask for a click's address.
        """
        imported, live = self.imported(slot, campaign), self.live.get((slot, campaign))
        if not live:
            return imported
        own = self.campaigns[campaign]
        counted = dict(imported)
        for banner, figures in live.items():
            if banner in own:
                counted[banner] = counted.get(banner, NO_BANNER_STATS).plus(figures)
        return counted


async def load_campaign_stats(database: Database) -> CampaignStats:
    """The book as it stands; the impressions served are in its figures."""
    read = database.read_internal
    published = await read(_published_imports)
    for _ in range(MAX_READ_ATTEMPTS):
        reading = _CampaignStatsBuilder(published)
        async for _ in map_pages(read, STATS_TABLE, reading.figures):
            pass
        async for _ in map_pages(read, TARGET_TABLE, reading.targets):
            pass
        before, published = published, await read(_published_imports)
        if published == before:
            break
    return await asyncio.to_thread(reading.book)


async def has_campaigns(database: Database) -> bool:
    """Whether any campaign was imported."""
    published = f"import != 0 AND import IN ({PUBLISHED_IMPORTS_SQL})"
    sql = f"SELECT EXISTS (SELECT 1 FROM figure WHERE {published})"  # noqa: S608
    return bool(await database.read_internal(lambda it: it.execute(sql).fetchone()[0]))


async def read_impressions(database: Database, slot: int, campaign: int) -> dict[int, int]:
    """Those of one campaign in one slot now, also of banners that only filled up."""

    def job(connection: sqlite3.Connection) -> dict[int, int]:
        found: dict[int, int] = {}
        for banner, count in connection.execute(IMPRESSIONS_SQL, (slot, campaign)):
            found[banner] = found.get(banner, 0) + count
        return found

    return await database.read(job)


async def load_live_stats(read: QueryRunner) -> LiveStats:
    """Clicks, conversions and revenue that happened here; `read` is of the views."""
    found: dict[tuple[int, int], dict[int, BannerStats]] = {}

    def take(rows: list[SqlRow]) -> None:
        for slot, campaign, banner, clicks, conversions, high, low in rows:
            figures = BannerStats(0, clicks, conversions, (high << 32) + low)
            found.setdefault((slot, campaign), {})[banner] = figures

    async for _ in map_pages(read, LIVE_STATS_TABLE, take):
        pass
    return found


class _CampaignStatsBuilder:
    """Builds a book from the pages of its tables."""

    def __init__(self, published: frozenset[int]) -> None:
        self._published = published
        self._figures: dict[int, dict[int, dict[int, BannerStats]]] = {}
        self._targets: dict[int, str] = {}

    def figures(self, rows: list[SqlRow]) -> None:
        """Take a page of `FIGURES`."""
        served: list[SqlRow] = []
        corrected: set[tuple[int, int, int]] = set()
        for number, slot, campaign, banner, *amounts in rows:
            if not number:
                served.append((slot, campaign, banner, amounts[0]))
            elif number in self._published:
                banners = self._figures.setdefault(slot, {}).setdefault(campaign, {})
                known = banners.get(banner)
                more = BannerStats(*amounts)
                banners[banner] = more if known is None else known.plus(more)
                # Negative figures of a correction, or what is left once they are merged.
                if min(amounts) < 0 or not any(amounts):
                    corrected.add((slot, campaign, banner))
        for slot, campaign, banner in corrected:
            self._drop_uncounted(slot, campaign, banner)
        for slot, campaign, banner, views in served:
            banners = self._figures.get(slot, {}).get(campaign, {})
            # A banner shown as random fill does not belong to this campaign.
            if banner in banners:
                banners[banner] = banners[banner].plus(BannerStats(views, 0, 0, 0))

    def _drop_uncounted(self, slot: int, campaign: int, banner: int) -> None:
        """Remove a banner without any figures left after corrections."""
        campaigns = self._figures[slot]
        if campaigns[campaign][banner] == NO_BANNER_STATS:
            del campaigns[campaign][banner]
            if not campaigns[campaign]:
                del campaigns[campaign]

    def targets(self, rows: list[SqlRow]) -> None:
        """Take a page of `TARGETS`, in which the newest of a banner comes last."""
        self._targets.update((banner, url) for it, banner, url in rows if it in self._published)

    def book(self) -> CampaignStats:
        """The book, once all pages are in."""
        campaigns: dict[int, set[int]] = {}
        for slots in self._figures.values():
            for campaign, banners in slots.items():
                campaigns.setdefault(campaign, set()).update(banners)
        return CampaignStats(
            self._figures,
            {campaign: frozenset(some) for campaign, some in sorted(campaigns.items())},
            tuple(sorted(set().union(*campaigns.values()))),
            self._targets,
            max(self._published, default=0),
        )


def _published_imports(connection: sqlite3.Connection) -> frozenset[int]:
    return frozenset(number for (number,) in connection.execute(PUBLISHED_IMPORTS_SQL))
