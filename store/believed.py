"""The latest time that was believed, over restarts: a clock far ahead of it is not, at once."""

import sqlite3

from store.database import Database


async def believed(database: Database) -> float:
    """Seconds since 1970; 0 if no time has been believed yet."""
    sql = "SELECT believed FROM log"
    micros: int = await database.read(lambda it: it.execute(sql).fetchone()[0])
    return micros / 1_000_000


async def believe(database: Database, moment: float) -> None:
    """Note that this was believed (seconds since 1970)."""

    def job(connection: sqlite3.Connection) -> None:
        connection.execute("UPDATE log SET believed = ?", (int(moment * 1_000_000),))

    await database.write(job)
