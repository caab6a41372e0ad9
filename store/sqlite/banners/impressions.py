"""Impressions served by this server."""

import sqlite3
from collections.abc import Mapping

from store.sqlite.core.database import Database

# Import 0 stands for this server.
ADD_IMPRESSIONS_SQL = """
INSERT INTO figure VALUES (?, ?, ?, 0, ?, 0, 0, 0)
ON CONFLICT DO UPDATE SET impressions = impressions + excluded.impressions
"""


async def add_impressions(database: Database, counts: Mapping[tuple[int, int, int], int]) -> None:
    """Add impressions by (slot, campaign, banner) in one transaction."""
    rows = [(*key, count) for key, count in sorted(counts.items())]

    def job(connection: sqlite3.Connection) -> None:
        connection.executemany(ADD_IMPRESSIONS_SQL, rows)

    await database.write(job)
