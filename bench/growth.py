"""Growth: what a fuller log does to acknowledging, to queries and to the folds' lag.

The log is filled in this process through the store itself, then served by our own server.
"""

import asyncio
import json
import random
import re
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from contest import BENCH, ROOT, Running, wrk
from events import own
from report import Promise, options, report

sys.path.insert(0, str(ROOT))
from store.database import Database
from store.log import Log
from store.views import Views

HEAD = ("events", "single/s", "lines/s", "lag after, s", "session", "type and time", "newest page")
STEP, SESSIONS, ASKED = 500, 20_000, 300
WITHIN = 1.25  # of the value at the second size


def main() -> int:
    parser = options(__doc__ or "", data=False, rounds=0)
    parser.add_argument("--sizes", type=int, nargs="*", default=[100_000, 1_000_000])
    given = parser.parse_args()
    rows, found = [], []
    with tempfile.TemporaryDirectory(prefix="marquee-bench-") as folder:
        data = Path(folder, "data")
        marquee, token = own(data)
        held = 0
        for size in given.sizes:
            asyncio.run(fill(data, held, size))
            held = size
            with marquee.running() as running:
                measured = measure(running, token, given.seconds)
            found.append(measured)
            single, lines, lag, *asked = measured
            quantiles = [f"{p50 * 1000:.1f} / {p99 * 1000:.1f} ms" for p50, p99 in asked]
            rows.append((f"{size:,}", f"{single:,.0f}", f"{lines:,.0f}", f"{lag:.1f}", *quantiles))
            print(rows[-1], file=sys.stderr)
    promises = []
    if len(found) > 2:
        at, last = found[1], found[-1]
        for number, name in enumerate(("single events a second", "events in lines a second")):
            promises.append(
                Promise(
                    f"{name}, at most as often less", at[number] / last[number], WITHIN, least=False
                )
            )
        for number, name in enumerate(HEAD[4:], 3):
            promises.append(
                Promise(f"p99 {name}, times", last[number][1] / at[number][1], WITHIN, least=False)
            )
    return report(given, {"at (p50 / p99)": (HEAD, rows)}, promises)


async def fill(data: Path, start: int, stop: int) -> None:
    """Log and fold events number `start` to `stop`, of the last thirty days."""
    database = await Database.open(data / "marquee.db")
    log = await Log.open(database)
    views = await Views.open(database, data / "views.db")
    begin = time.time_ns() // 1000 - 30 * 86_400_000_000
    chance = random.Random(start)
    for first in range(start, stop, STEP):
        some = []
        for number in range(first, min(first + STEP, stop)):
            session = f"e2085be5-9137-4e4e-80b5-{chance.randrange(SESSIONS):012d}"
            name = chance.choice(("pageview", "cta click"))
            text = f'{{"host":"www.example.com","path":"/p/{number % 977}"}}'
            at = begin + chance.randrange(30 * 86_400_000_000)
            some.append((1, 1, session, None, "page interaction", name, at, None, None, text))
        await log.append(some)
        if first % (STEP * 40) == 0:
            await views.step(20_000)
    await views.catch_up()
    await log.drain()
    await views.close()
    await database.close()


def measure(running: Running, token: str, seconds: float) -> tuple:
    """Events a second one by one and in lines, the lag then, and each query's p50 and p99."""
    script = str(BENCH / "events.lua")
    asked = queries(running, token)
    wrk(running, "/events", (), 1, 256, script=[script, "none", "1", token], calm=False)
    single = wrk(running, "/events", (), seconds, 256, script=[script, "none", "1", token])
    lines = wrk(running, "/events", (), seconds, 32, script=[script, "none", "100", token])
    text = running.get("/metrics")[2].decode()
    lag = float(re.findall(r"^marquee_fold_lag_seconds (\S+)", text, re.MULTILINE)[0])
    return single.rate, lines.rate * 100, lag, *asked


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
            path = f"/events?{kind()}"
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
