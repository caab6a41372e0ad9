"""What is known of the clock, over restarts."""

import sqlite3

from rules.trust import UNKNOWN, Trust
from store.database import Database

MICRO = 1_000_000


async def trust_in_clock(database: Database, now: float) -> Trust:
    """Return what earlier runs noted of the clock.

    A new installation believes `now` (seconds since 1970) and notes it before it serves: the next
    start may have another clock, however short this run is.
    """
    sql = "SELECT believed, lived FROM log"
    found = await database.read_internal(lambda it: it.execute(sql).fetchone())
    trust = Trust(*(micros / MICRO for micros in found))
    if trust == UNKNOWN:
        trust = Trust(now)
        await note_trust(database, trust)
    return trust


async def note_trust(database: Database, trust: Trust) -> None:
    """Note it."""
    row = [int(each * MICRO) for each in trust]

    def job(connection: sqlite3.Connection) -> None:
        connection.execute("UPDATE log SET believed = ?, lived = ?", row)

    await database.write(job)
