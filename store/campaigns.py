"""What campaigns did: the figures that ranking goes by."""

import sqlite3
from dataclasses import dataclass

from rules.ranking import Figures
from store.database import Database

# In the key's order, so that what is of one banner stands together.
FIGURES = """
SELECT slot, campaign, banner, impressions, clicks, conversions, revenue FROM figure
WHERE import IN (SELECT id FROM import WHERE published_at IS NOT NULL)
ORDER BY slot, campaign, banner
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


def _book(connection: sqlite3.Connection) -> Book:
    figures: dict[int, dict[int, dict[int, Figures]]] = {}
    banners: dict[int, set[int]] = {}
    last, sums = None, Figures(0, 0, 0, 0)
    for slot, campaign, banner, impressions, clicks, conversions, revenue in connection.execute(
        FIGURES
    ):
        key = (slot, campaign, banner)
        if key == last:
            # Here and not in SQL, whose integers can overflow.
            sums = Figures(
                sums.impressions + impressions,
                sums.clicks + clicks,
                sums.conversions + conversions,
                sums.revenue + revenue,
            )
        else:
            last, sums = key, Figures(impressions, clicks, conversions, revenue)
        figures.setdefault(slot, {}).setdefault(campaign, {})[banner] = sums
        banners.setdefault(campaign, set()).add(banner)
    return Book(
        figures,
        {campaign: frozenset(some) for campaign, some in sorted(banners.items())},
        tuple(sorted(set().union(*banners.values()))),
        dict(connection.execute(TARGETS).fetchall()),
        connection.execute(VERSION).fetchone()[0],
    )
