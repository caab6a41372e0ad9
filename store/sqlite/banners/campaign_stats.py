"""Stats of campaigns per slot: the input of the ranking."""

import asyncio
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass, field

from domain.banners.ranking import NO_BANNER_STATS, BannerStats
from store.sqlite.core.database import Database
from store.sqlite.core.paging import QueryRunner, SqlRow, TableScan, map_pages

STATS_TABLE = TableScan(
    "figure",
    # The import is not part of the key: a page has all imports of a banner, so that no stats are
    # missed while one import is merged into another.
    ("slot", "campaign", "banner"),
    "import, slot, campaign, banner, impressions, clicks, conversions, revenue",
)
TARGET_TABLE = TableScan("target", ("banner", "import"), "import, banner, url")
LIVE_STATS_TABLE = TableScan(
    "live", ("slot", "campaign", "banner"), "slot, campaign, banner, clicks, conversions, high, low"
)
PUBLISHED_IMPORTS_SQL = "SELECT id FROM import WHERE published_at IS NOT NULL"
# The read is repeated if an import was published meanwhile. After the last attempt, the reload that
# follows each import corrects the result.
MAX_READ_ATTEMPTS = 5
IMPRESSIONS_SQL = """
SELECT banner, impressions FROM figure WHERE slot = ? AND campaign = ?
AND import IN (SELECT id FROM import WHERE published_at IS NOT NULL)
"""


# Key: (slot, campaign), then banner.
LiveStats = Mapping[tuple[int, int], Mapping[int, BannerStats]]


@dataclass(frozen=True)
class CampaignStats:
    """Everything that the ranking needs, read at one moment."""

    imported: dict[int, dict[int, dict[int, BannerStats]]]  # by slot, campaign, banner
    campaigns: dict[int, frozenset[int]]  # the banners of each campaign, in any slot
    banners: tuple[int, ...]  # all, sorted
    targets: dict[int, str]  # the URL that a click on a banner leads to
    version: int  # rises with every published import
    live: LiveStats = field(default_factory=dict)  # events of this server, if they count

    def imported_stats(self, slot: int, campaign: int) -> Mapping[int, BannerStats]:
        """Return the imported stats of a campaign's banners in a slot."""
        return self.imported.get(slot, {}).get(campaign, {})

    def total_stats(self, slot: int, campaign: int) -> Mapping[int, BannerStats]:
        """Return imported plus live stats; live stats count only for the campaign's own banners.

        Banners of other campaigns are shown as random fill, and anyone can request their click URL.
        """
        imported, live = self.imported_stats(slot, campaign), self.live.get((slot, campaign))
        if not live:
            return imported
        own = self.campaigns[campaign]
        totals = dict(imported)
        for banner, stats in live.items():
            if banner in own:
                totals[banner] = totals.get(banner, NO_BANNER_STATS).plus(stats)
        return totals


async def load_campaign_stats(database: Database) -> CampaignStats:
    """Return the stats of all published imports, with the impressions served here."""
    read = database.read_internal
    published = await read(_published_imports)
    for _ in range(MAX_READ_ATTEMPTS):
        builder = _CampaignStatsBuilder(published)
        async for _ in map_pages(read, STATS_TABLE, builder.add_stats):
            pass
        async for _ in map_pages(read, TARGET_TABLE, builder.add_targets):
            pass
        before, published = published, await read(_published_imports)
        if published == before:
            break
    return await asyncio.to_thread(builder.build)


async def has_campaigns(database: Database) -> bool:
    """Return whether any campaign was imported."""
    published = f"import != 0 AND import IN ({PUBLISHED_IMPORTS_SQL})"
    sql = f"SELECT EXISTS (SELECT 1 FROM figure WHERE {published})"  # noqa: S608
    return bool(await database.read_internal(lambda it: it.execute(sql).fetchone()[0]))


async def read_impressions(database: Database, slot: int, campaign: int) -> dict[int, int]:
    """Return current impressions by banner, including banners shown as random fill."""

    def job(connection: sqlite3.Connection) -> dict[int, int]:
        found: dict[int, int] = {}
        for banner, count in connection.execute(IMPRESSIONS_SQL, (slot, campaign)):
            found[banner] = found.get(banner, 0) + count
        return found

    return await database.read(job)


async def load_live_stats(read: QueryRunner) -> LiveStats:
    """Return clicks, conversions and revenue of this server; `read` reads the projections."""
    found: dict[tuple[int, int], dict[int, BannerStats]] = {}

    def add(rows: list[SqlRow]) -> None:
        for slot, campaign, banner, clicks, conversions, high, low in rows:
            stats = BannerStats(0, clicks, conversions, (high << 32) + low)
            found.setdefault((slot, campaign), {})[banner] = stats

    async for _ in map_pages(read, LIVE_STATS_TABLE, add):
        pass
    return found


class _CampaignStatsBuilder:
    """Builds `CampaignStats` from pages of table rows."""

    def __init__(self, published: frozenset[int]) -> None:
        self._published = published
        self._imported: dict[int, dict[int, dict[int, BannerStats]]] = {}
        self._targets: dict[int, str] = {}

    def add_stats(self, rows: list[SqlRow]) -> None:
        """Add a page of `STATS_TABLE`."""
        served: list[SqlRow] = []
        corrected: set[tuple[int, int, int]] = set()
        for number, slot, campaign, banner, *amounts in rows:
            if not number:
                served.append((slot, campaign, banner, amounts[0]))
            elif number in self._published:
                banners = self._imported.setdefault(slot, {}).setdefault(campaign, {})
                known = banners.get(banner)
                more = BannerStats(*amounts)
                banners[banner] = more if known is None else known.plus(more)
                # Negative stats of a correction, or zeros that remain after merging it.
                if min(amounts) < 0 or not any(amounts):
                    corrected.add((slot, campaign, banner))
        for slot, campaign, banner in corrected:
            self._drop_uncounted(slot, campaign, banner)
        for slot, campaign, banner, impressions in served:
            banners = self._imported.get(slot, {}).get(campaign, {})
            # A banner shown as random fill does not belong to this campaign.
            if banner in banners:
                banners[banner] = banners[banner].plus(BannerStats(impressions, 0, 0, 0))

    def _drop_uncounted(self, slot: int, campaign: int, banner: int) -> None:
        """Remove a banner whose stats are all zero after corrections."""
        campaigns = self._imported[slot]
        if campaigns[campaign][banner] == NO_BANNER_STATS:
            del campaigns[campaign][banner]
            if not campaigns[campaign]:
                del campaigns[campaign]

    def add_targets(self, rows: list[SqlRow]) -> None:
        """Add a page of `TARGET_TABLE`, where the newest target of a banner comes last."""
        self._targets.update(
            (banner, url) for number, banner, url in rows if number in self._published
        )

    def build(self) -> CampaignStats:
        """Return the stats after all pages were added."""
        campaigns: dict[int, set[int]] = {}
        for slots in self._imported.values():
            for campaign, banners in slots.items():
                campaigns.setdefault(campaign, set()).update(banners)
        return CampaignStats(
            self._imported,
            {campaign: frozenset(banners) for campaign, banners in sorted(campaigns.items())},
            tuple(sorted(set().union(*campaigns.values()))),
            self._targets,
            max(self._published, default=0),
        )


def _published_imports(connection: sqlite3.Connection) -> frozenset[int]:
    return frozenset(number for (number,) in connection.execute(PUBLISHED_IMPORTS_SQL))
