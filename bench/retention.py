"""Retention: how long dropping and sealing hold the writer, while events of random senders go.

In this process, through the store itself; nothing else is written meanwhile.
"""

import asyncio
import random
import sys
import tempfile
import time
import uuid
from functools import partial
from pathlib import Path

from contest import ROOT
from report import Promise, options, report

sys.path.insert(0, str(ROOT))
from store.sqlite.core.database import Database
from store.sqlite.events.event_log import EventLog
from store.sqlite.events.event_retention import DAY_MICROS, MIN_RETENTION_DAYS, EventRetention
from store.sqlite.projections.projections import Projections

STEP, SESSIONS, KINDS = 1_000, 20_000, 30
HEAD = ("events dropped", "seconds", "CPU µs an event", "p50 ms", "p99 ms", "longest ms")


class Timed:
    """A database that notes how long each job holds its writer."""

    def __init__(self, database: Database) -> None:
        self.holds: list[float] = []
        self.read = database.read
        self._database = database

    async def timed_write(self, job):
        """As the database's."""
        result, held = await self._database.timed_write(job)
        self.holds.append(held * 1000)
        return result, held

    async def write(self, job):
        """As the database's."""
        return (await self.timed_write(job))[0]


def main() -> int:
    parser = options(__doc__ or "", data=False, rounds=0)
    parser.add_argument("--events", type=int, default=200_000, help="(%(default)s)")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="marquee-bench-") as folder:
        row, longest = asyncio.run(measure(Path(folder), given.events))
    promise = Promise("longest hold of the writer, ms", longest, 20, least=False)
    return report(given, {"retention": (HEAD, [row])}, [promise])


async def measure(folder: Path, count: int) -> tuple[tuple[str, ...], float]:
    """A row of the table, and the longest hold in ms."""
    database = await Database.open(folder / "marquee.db")
    views = None
    try:
        now = time.time_ns() // 1000
        await fill(await EventLog.open(database), count, now)
        views = await Projections.open(database, folder / "views.db")
        await views.catch_up()
        timed = Timed(database)
        retention = EventRetention(timed, views, MIN_RETENTION_DAYS)
        began, spent = time.perf_counter(), time.process_time()
        while await retention.run_step(now):
            pass
        took, cpu = time.perf_counter() - began, time.process_time() - spent
        if retention.dropped != count:
            raise SystemExit(f"{retention.dropped} of {count} events were dropped")
        holds = sorted(timed.holds)
        at = partial(quantile, holds)
        figures = (f"{at(0.5):.1f}", f"{at(0.99):.1f}", f"{holds[-1]:.1f}")
        return (f"{count:,}", f"{took:.1f}", f"{cpu / count * 1e6:.1f}", *figures), holds[-1]
    finally:
        if views is not None:
            await views.close()
        await database.close()


def quantile(values: list[float], part: float) -> float:
    """Of sorted values."""
    return values[min(len(values) - 1, int(len(values) * part))]


async def fill(log: EventLog, count: int, now: int) -> None:
    """Events of twenty days, which are due to go."""
    chance = random.Random(1)
    begin, pace = now - 60 * DAY_MICROS, 20 * DAY_MICROS // count
    for first in range(0, count, STEP):
        rows = [
            (
                *(1, 1, f"e2085be5-9137-4e4e-80b5-{chance.randrange(SESSIONS):012d}", None),
                *("page interaction", f"kind {chance.randrange(KINDS)}", begin + number * pace),
                *(str(uuid.uuid4()), b"x" * 32, f'{{"path":"/p/{number % 977}"}}'),
            )
            for number in range(first, min(first + STEP, count))
        ]
        await log.append(rows, received=begin + first * pace)


if __name__ == "__main__":
    sys.exit(main())
