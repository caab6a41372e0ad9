"""Views served by this server."""

import sqlite3
from collections.abc import Mapping

from store.sqlite.core.database import Database

# What was served here is import 0.
ADD_IMPRESSIONS_SQL = """
INSERT INTO figure VALUES (?, ?, ?, 0, ?, 0, 0, 0)
ON CONFLICT DO UPDATE SET impressions = impressions + excluded.impressions
"""


async def add_impressions(database: Database, counts: Mapping[tuple[int, int, int], int]) -> None:
    """Add views by (slot, campaign, banner), all or (when it raises) none."""
    rows = [(*key, count) for key, count in sorted(counts.items())]

    def job(connection: sqlite3.Connection) -> None:
        connection.executemany(ADD_IMPRESSIONS_SQL, rows)

    await database.write(job)
