"""What is known of the clock, over restarts."""

import sqlite3

from domain.common.clock_state import UNKNOWN_CLOCK, ClockState
from store.sqlite.core.database import Database

MICROS_PER_SECOND = 1_000_000


async def load_clock_state(database: Database, now: float) -> ClockState:
    """Return what earlier runs noted of the clock.

    A new installation believes `now` (seconds since 1970) and notes it before it serves: the next
    start may have another clock, however short this run is.
    """
    sql = "SELECT believed, lived FROM log"
    found = await database.read_internal(lambda it: it.execute(sql).fetchone())
    trust = ClockState(*(micros / MICROS_PER_SECOND for micros in found))
    if trust == UNKNOWN_CLOCK:
        trust = ClockState(now)
        await save_clock_state(database, trust)
    return trust


async def save_clock_state(database: Database, trust: ClockState) -> None:
    """Note it."""
    row = [int(each * MICROS_PER_SECOND) for each in trust]

    def job(connection: sqlite3.Connection) -> None:
        connection.execute("UPDATE log SET believed = ?, lived = ?", row)

    await database.write(job)
