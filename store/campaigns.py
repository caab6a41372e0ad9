"""What campaigns did: the figures that ranking goes by."""

import sqlite3
from dataclasses import dataclass

from rules.ranking import NOTHING, Figures
from store.database import Database

# In the key's order, which costs no sorting.
IMPORTED = """
SELECT slot, campaign, banner, impressions, clicks, conversions, revenue FROM figure
WHERE import > 0 AND import IN (SELECT id FROM import WHERE published_at IS NOT NULL)
ORDER BY slot, campaign, banner
"""
SERVED = "SELECT slot, campaign, banner, impressions FROM figure WHERE import = 0"
FRESH = """
SELECT banner, impressions, clicks, conversions, revenue FROM figure
WHERE slot = ? AND campaign = ?
AND import IN (SELECT id FROM import WHERE published_at IS NOT NULL)
"""
TARGETS = """
SELECT banner, url FROM target
WHERE import IN (SELECT id FROM import WHERE published_at IS NOT NULL)
ORDER BY banner, import
"""
VERSION = "SELECT max(id) FROM import WHERE published_at IS NOT NULL"


@dataclass(frozen=True)
class Book:
    """All that ranking needs, from one moment."""

    figures: dict[int, dict[int, dict[int, Figures]]]  # by slot, campaign, banner
    campaigns: dict[int, frozenset[int]]  # the banners of each, in any slot
    banners: tuple[int, ...]  # all, sorted
    targets: dict[int, str]  # where a click on a banner leads
    version: int  # rises with every import that is published


async def book(database: Database) -> Book:
    """The book as it stands; the impressions served are in its figures."""
    return await database.read(_book)


async def fresh(database: Database, slot: int, campaign: int) -> dict[int, Figures]:
    """The figures of one campaign in one slot now, also of banners that only filled up."""

    def job(connection: sqlite3.Connection) -> dict[int, Figures]:
        found: dict[int, Figures] = {}
        for banner, *amounts in connection.execute(FRESH, (slot, campaign)):
            found[banner] = _sum(found.get(banner, NOTHING), amounts)
        return found

    return await database.read(job)


def _sum(sums: Figures, more: list[int]) -> Figures:
    # Here and not in SQL, whose integers can overflow.
    impressions, clicks, conversions, revenue = more
    return Figures(
        sums.impressions + impressions,
        sums.clicks + clicks,
        sums.conversions + conversions,
        sums.revenue + revenue,
    )


def _book(connection: sqlite3.Connection) -> Book:
    figures: dict[int, dict[int, dict[int, Figures]]] = {}
    for slot, campaign, banner, *amounts in connection.execute(IMPORTED):
        banners = figures.setdefault(slot, {}).setdefault(campaign, {})
        known = banners.get(banner)
        banners[banner] = Figures(*amounts) if known is None else _sum(known, amounts)
    for slot, campaign, banner, views in connection.execute(SERVED):
        banners = figures.get(slot, {}).get(campaign, {})
        # One that was shown to fill up is no banner of this campaign.
        if banner in banners:
            banners[banner] = _sum(banners[banner], [views, 0, 0, 0])
    campaigns: dict[int, set[int]] = {}
    for slots in figures.values():
        for campaign, banners in slots.items():
            campaigns.setdefault(campaign, set()).update(banners)
    return Book(
        figures,
        {campaign: frozenset(some) for campaign, some in sorted(campaigns.items())},
        tuple(sorted(set().union(*campaigns.values()))),
        dict(connection.execute(TARGETS).fetchall()),
        connection.execute(VERSION).fetchone()[0],
    )
