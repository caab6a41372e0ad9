"""What campaigns did: the figures that ranking goes by."""

import sqlite3
from dataclasses import dataclass

from rules.ranking import NOTHING, Figures
from store.database import Database

# What is of one banner stands together, and what was served here (import 0) at its end.
FIGURES = """
SELECT slot, campaign, banner, import, impressions, clicks, conversions, revenue FROM figure
WHERE import IN (SELECT id FROM import WHERE published_at IS NOT NULL)
ORDER BY slot, campaign, banner, import DESC
"""
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
    banners: dict[int, set[int]] = {}
    last, sums = None, NOTHING
    for slot, campaign, banner, number, *amounts in connection.execute(FIGURES):
        key = (slot, campaign, banner)
        if key == last:
            sums = _sum(sums, amounts)
        elif number == 0:
            # Shown to fill up: that makes it no banner of this campaign.
            continue
        else:
            last, sums = key, Figures(*amounts)
        figures.setdefault(slot, {}).setdefault(campaign, {})[banner] = sums
        banners.setdefault(campaign, set()).add(banner)
    return Book(
        figures,
        {campaign: frozenset(some) for campaign, some in sorted(banners.items())},
        tuple(sorted(set().union(*banners.values()))),
        dict(connection.execute(TARGETS).fetchall()),
        connection.execute(VERSION).fetchone()[0],
    )
