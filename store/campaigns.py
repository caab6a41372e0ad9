"""What campaigns did: the figures that ranking goes by."""

import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass, field

from rules.ranking import NOTHING, Figures
from store.database import Database

# In the key's order, which costs no sorting.
IMPORTED = """
SELECT slot, campaign, banner, impressions, clicks, conversions, revenue FROM figure
WHERE import > 0 AND import IN (SELECT id FROM import WHERE published_at IS NOT NULL)
ORDER BY slot, campaign, banner
"""
SERVED = "SELECT slot, campaign, banner, impressions FROM figure WHERE import = 0"
SHOWN = """
SELECT banner, impressions FROM figure WHERE slot = ? AND campaign = ?
AND import IN (SELECT id FROM import WHERE published_at IS NOT NULL)
"""
LIVE = "SELECT slot, campaign, banner, clicks, conversions, high, low FROM live"
TARGETS = """
SELECT banner, url FROM target
WHERE import IN (SELECT id FROM import WHERE published_at IS NOT NULL)
ORDER BY banner, import
"""
VERSION = "SELECT max(id) FROM import WHERE published_at IS NOT NULL"


# By (slot, campaign), then banner.
Live = Mapping[tuple[int, int], Mapping[int, Figures]]


@dataclass(frozen=True)
class Book:
    """All that ranking needs, from one moment."""

    figures: dict[int, dict[int, dict[int, Figures]]]  # by slot, campaign, banner
    campaigns: dict[int, frozenset[int]]  # the banners of each, in any slot
    banners: tuple[int, ...]  # all, sorted
    targets: dict[int, str]  # where a click on a banner leads
    version: int  # rises with every import that is published
    live: Live = field(default_factory=dict)  # what happened here, if it is to count

    def imported(self, slot: int, campaign: int) -> Mapping[int, Figures]:
        """The campaign's banners in the slot, without what is live."""
        return self.figures.get(slot, {}).get(campaign, {})

    def counted(self, slot: int, campaign: int) -> Mapping[int, Figures]:
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
                counted[banner] = counted.get(banner, NOTHING).plus(figures)
        return counted


async def book(database: Database) -> Book:
    """The book as it stands; the impressions served are in its figures."""
    return await database.read(_book)


async def impressions(database: Database, slot: int, campaign: int) -> dict[int, int]:
    """Those of one campaign in one slot now, also of banners that only filled up."""

    def job(connection: sqlite3.Connection) -> dict[int, int]:
        found: dict[int, int] = {}
        for banner, count in connection.execute(SHOWN, (slot, campaign)):
            found[banner] = found.get(banner, 0) + count
        return found

    return await database.read(job)


def live(connection: sqlite3.Connection) -> Live:
    """Clicks, conversions and revenue that happened here; a job for a reader of the views."""
    found: dict[tuple[int, int], dict[int, Figures]] = {}
    for slot, campaign, banner, clicks, conversions, high, low in connection.execute(LIVE):
        figures = Figures(0, clicks, conversions, (high << 32) + low)
        found.setdefault((slot, campaign), {})[banner] = figures
    return found


def _book(connection: sqlite3.Connection) -> Book:
    figures: dict[int, dict[int, dict[int, Figures]]] = {}
    for slot, campaign, banner, *amounts in connection.execute(IMPORTED):
        banners = figures.setdefault(slot, {}).setdefault(campaign, {})
        known = banners.get(banner)
        more = Figures(*amounts)
        banners[banner] = more if known is None else known.plus(more)
    for slot, campaign, banner, views in connection.execute(SERVED):
        banners = figures.get(slot, {}).get(campaign, {})
        # One that was shown to fill up is no banner of this campaign.
        if banner in banners:
            banners[banner] = banners[banner].plus(Figures(views, 0, 0, 0))
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
