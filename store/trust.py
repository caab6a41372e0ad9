"""What is known of the clock, over restarts."""

import sqlite3

from rules.trust import Trust
from store.database import Database

MICRO = 1_000_000


async def trust_in_clock(database: Database) -> Trust:
    """What was noted last."""
    sql = "SELECT believed, lived FROM log"
    found = await database.read_internal(lambda it: it.execute(sql).fetchone())
    return Trust(*(micros / MICRO for micros in found))


async def note_trust(database: Database, trust: Trust) -> None:
    """Note it."""
    row = [int(each * MICRO) for each in trust]

    def job(connection: sqlite3.Connection) -> None:
        connection.execute("UPDATE log SET believed = ?, lived = ?", row)

    await database.write(job)
