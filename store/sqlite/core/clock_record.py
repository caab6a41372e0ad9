"""The clock state, stored across restarts."""

import sqlite3

from domain.common.clock_state import UNKNOWN_CLOCK, ClockState
from store.sqlite.core.database import Database

MICROS_PER_SECOND = 1_000_000


async def load_clock_state(database: Database, now: float) -> ClockState:
    """Return the clock state that earlier runs saved.

    A new installation trusts `now` (seconds since 1970) and saves it before it serves requests: the
    clock may differ at the next start, however short this run is.
    """
    sql = "SELECT believed, lived FROM log"
    row = await database.read_internal(lambda it: it.execute(sql).fetchone())
    state = ClockState(*(micros / MICROS_PER_SECOND for micros in row))
    if state == UNKNOWN_CLOCK:
        state = ClockState(now)
        await save_clock_state(database, state)
    return state


async def save_clock_state(database: Database, state: ClockState) -> None:
    """Replace the stored clock state."""
    micros = [int(seconds * MICROS_PER_SECOND) for seconds in state]

    def job(connection: sqlite3.Connection) -> None:
        connection.execute("UPDATE log SET believed = ?, lived = ?", micros)

    await database.write(job)
