"""Growth: what a fuller log does to acknowledging, to queries and to the folds' lag.

The log is filled in this process through the store itself, then served by our own server. Events
come about as they happened, up to an hour late. Each query is answered by a page of 25: sessions
have more events in a fuller log, and longer answers would tell nothing of the log. The files are in
the system's cache: what a disk takes for what is not, it takes at every size.
"""

import asyncio
import json
import os
import random
import re
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from contest import BENCH, ROOT, Running, own, wrk
from report import Promise, options, report

sys.path.insert(0, str(ROOT))
from store.sqlite.core.database import Database
from store.sqlite.events.event_log import EventLog
from store.sqlite.projections.projections import Projections

HEAD = (
    *("events", "single/s", "CPU µs", "lag, s", "lines/s", "CPU µs", "caught up, s"),
    *("session", "type and time", "newest page"),
)
STEP, SESSIONS, ASKED, PAGE = 2_000, 20_000, 2_000, 25
DAYS, LATE = 30 * 86_400_000_000, 3_600_000_000  # µs
WITHIN = 1.25  # of the value at the second size
LAG = 2.0  # seconds
FOLDED = re.compile(r"^marquee_projection_lag_(\w+) (\S+)", re.MULTILINE)


def main() -> int:
    parser = options(__doc__ or "", data=False, rounds=0)
    parser.add_argument("--sizes", type=int, nargs="*", default=[100_000, 1_000_000])
    parser.add_argument("--data", help="a folder to fill and to keep (default: one that goes)")
    given = parser.parse_args()
    rows, found = [], []
    with tempfile.TemporaryDirectory(prefix="marquee-bench-") as folder:
        data = Path(given.data or folder, "data")
        marquee, token = own(data, f"bench {os.getpid()}")
        for size in given.sizes:
            asyncio.run(fill(data, size))
            settle(data)
            with marquee.running() as running:
                measured = measure(running, token, given.seconds)
            found.append(measured)
            rates, asked = measured[:6], measured[6:]
            told = [f"{rates[0]:,.0f}", f"{rates[1]:.1f}", f"{rates[2]:.1f}"]
            told += [f"{rates[3]:,.0f}", f"{rates[4]:.1f}", f"{rates[5]:.1f}"]
            told += [f"{p50 * 1000:.1f} / {p99 * 1000:.1f} ms" for p50, p99 in asked]
            rows.append((f"{size:,}", *told))
            print(rows[-1], file=sys.stderr)
    promises = [
        Promise(f"lag at {size:,} events, s", each[2], LAG, least=False)
        for size, each in zip(given.sizes, found, strict=True)
    ]
    if len(found) > 2:
        at, last = found[1], found[-1]
        times = {
            "single events a second, as often less": at[0] / last[0],
            "CPU of a single event, times": last[1] / at[1],
            "events in lines a second, as often less": at[3] / last[3],
            "CPU of an event in lines, times": last[4] / at[4],
        }
        for number, name in enumerate(HEAD[7:], 6):
            times[f"p99 of a query by {name}, times"] = last[number][1] / at[number][1]
        promises += [Promise(text, value, WITHIN, least=False) for text, value in times.items()]
    return report(given, {"at (p50 / p99)": (HEAD, rows)}, promises)


async def fill(data: Path, stop: int) -> None:
    """Log and fold events of the last thirty days until there are `stop`."""
    database = await Database.open(data / "marquee.db")
    log = await EventLog.open(database)
    views = await Projections.open(database, data / "views.db")
    start, begin = log.counts.stored, time.time_ns() // 1000 - DAYS
    chance = random.Random(log.counts.stored)
    sessions = [f"e2085be5-9137-4e4e-80b5-{number:012d}" for number in range(SESSIONS)]
    texts = [f'{{"host":"www.example.com","path":"/p/{number}"}}' for number in range(977)]
    while log.counts.stored < stop:
        some = []
        moment = begin + DAYS * (log.counts.stored - start) // (stop - start)
        for number in range(min(STEP, stop - log.counts.stored)):
            session, name = chance.choice(sessions), chance.choice(("pageview", "cta click"))
            at = moment - chance.randrange(LATE)
            text = texts[number % len(texts)]
            some.append((1, 1, session, None, "page interaction", name, at, None, None, text))
        await asyncio.gather(log.append(some), views.step())
    await views.catch_up()
    await views.close()
    await database.close()


def settle(data: Path) -> None:
    """Have all of the files on the disk, and in the system's cache."""
    os.sync()
    for path in data.glob("*.db"):
        with path.open("rb", buffering=0) as file:
            while file.read(1 << 20):
                pass


def measure(running: Running, token: str, seconds: float) -> tuple:
    """Events a second and CPU of each, one by one with the lag then, and in lines with the time
    that the views take to catch up; each query's p50 and p99."""
    script = str(BENCH / "events.lua")
    asked = queries(running, token)
    wrk(running, "/events", (), 1, 256, script=[script, "none", "1", token], calm=False)
    single = wrk(running, "/events", (), seconds, 256, script=[script, "none", "1", token])
    lag = behind(running)["seconds"]
    lines = wrk(running, "/events", (), seconds, 32, script=[script, "none", "100", token])
    began = time.monotonic()
    while behind(running)["events"]:
        time.sleep(0.1)
    caught = time.monotonic() - began
    return (single.rate, single.cpu * 1e3, lag, lines.rate * 100, lines.cpu * 10, caught, *asked)


def behind(running: Running) -> dict[str, float]:
    """How far the views are behind the log, in events and in seconds."""
    return {
        name: float(value) for name, value in FOLDED.findall(running.get("/metrics")[2].decode())
    }


def queries(running: Running, token: str) -> list[tuple[float, float]]:
    """p50 and p99, in seconds, of each kind of query, one at a time."""
    chance = random.Random(1)
    day = 86_400
    kinds: list[Callable[[], str]] = [
        lambda: f"session_id=e2085be5-9137-4e4e-80b5-{chance.randrange(SESSIONS):012d}",
        lambda: (
            "category=page%20interaction&name=pageview&from="
            + time.strftime(
                "%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - chance.randrange(29 * day))
            )
        ),
        lambda: "order=desc",
    ]
    found = []
    for kind in kinds:
        spent = []
        for _ in range(ASKED):
            path = f"/events?limit={PAGE}&{kind()}"
            began = time.perf_counter()
            status, _, body = running.get(path, {"Authorization": f"Bearer {token}"})
            spent.append(time.perf_counter() - began)
            assert status == 200, body
            json.loads(body)
        spent.sort()
        found.append((spent[ASKED // 2], spent[ASKED * 99 // 100]))
    return found


if __name__ == "__main__":
    sys.exit(main())
