"""What our server alone is asked of events: its peak, half of that, a burst, a long haul.

Each begins with a new data folder. What memory is used and how far the views lag is looked at
every half second meanwhile.
"""

import json
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from contest import BENCH, SERVER, Running, own, wrk
from rate import Paced, event_requests, paced, written
from report import Promise, options, report

LOOK = 0.5
MEMORY = 256  # MiB that may be used at most, whatever comes


Found = tuple[tuple[object, ...], list[Promise]]  # a line of the table, and what is promised
HEAD = ("load", "events/s", "p50 ms", "p99 ms", "lag s, at most", "MiB, at most")


class Watch:
    """The most that was seen while something ran."""

    def __init__(self, running: Running) -> None:
        self._running = running
        self._over = threading.Event()
        self.lag = 0.0  # seconds
        self.rss = 0  # bytes

    def look(self) -> float:
        """Look now; events that are not in the views."""
        text = self._running.get("/metrics")[2].decode()
        found = dict(re.findall(r"^(marquee_projection_lag_\w+) (\S+)", text, re.MULTILINE))
        self.lag = max(self.lag, float(found["marquee_projection_lag_seconds"]))
        self.rss = max(self.rss, self._running.rss())
        return float(found["marquee_projection_lag_events"])

    @contextmanager
    def looking(self) -> Iterator[None]:
        """Look every now and then until the block ends."""

        def turn() -> None:
            while not self._over.wait(LOOK):
                self.look()

        thread = threading.Thread(target=turn)
        thread.start()
        try:
            yield
        finally:
            self._over.set()
            thread.join()

    def caught_up(self) -> float:
        """Seconds until the views have all."""
        began = time.monotonic()
        while self.look():
            if time.monotonic() > began + 120:
                return float("inf")
            time.sleep(0.1)
        return time.monotonic() - began


@contextmanager
def started() -> Iterator[tuple[Running, str]]:
    """Our server on a new folder, and a token for it."""
    with tempfile.TemporaryDirectory(prefix="marquee-bench-") as folder:
        marquee, token = own(Path(folder, "data"))
        with marquee.running() as running:
            yield running, token


def loaded(running: Running, token: str, seconds: float, size: int, connections: int) -> float:
    """Events a second that wrk could send, `size` a request."""
    script = [str(BENCH / "events.lua"), "none", str(size), token]
    wrk(running, "/events", (), 1, connections, script=script, calm=False)
    return wrk(running, "/events", (), seconds, connections, script=script).rate * size


def steady(
    running: Running, token: str, size: int, rate: float, seconds: float, connections: int = 256
) -> Paced:
    """What came of `rate` requests a second, with `size` events each."""
    with tempfile.NamedTemporaryFile(prefix="marquee-bench-") as file:
        made = event_requests(token, size, 50_000 // size)
        requests = written(Path(file.name), made)
        paced(running, requests, rate, 1, connections=connections)  # warm
        return paced(running, requests, rate, seconds, connections=connections)


def bare(seconds: float) -> dict[str, float]:
    """What one thread can give to the bare table, in commits as large as ours."""
    with tempfile.TemporaryDirectory(prefix="marquee-bench-") as folder:
        program = str(BENCH / "rivals" / "events_bare.py")
        command = ["taskset", "-c", SERVER, sys.executable, program, folder, "1024", str(seconds)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def peak(seconds: float = 10) -> tuple[tuple[object, ...], list[Promise], float]:
    """One by one over 256 connections, as fast as it goes, and the views' lag meanwhile."""
    with started() as (running, token):
        watch = Watch(running)
        with watch.looking():
            rate = loaded(running, token, seconds, 1, 256)
    promises = [
        Promise("one by one: events a second", rate, 25_000),
        Promise("one by one: the views' lag, seconds", watch.lag, 2, least=False),
    ]
    return line("one by one, 256 connections", rate, watch), promises, rate


def half(rate: float, seconds: float = 20) -> Found:
    """One by one at half of a peak."""
    with started() as (running, token):
        watch = Watch(running)
        with watch.looking():
            found = steady(running, token, 1, rate / 2, seconds)
    promises = [
        Promise("at half of the peak: p99, ms", found.p99 * 1000, 15, least=False),
        Promise("at half of the peak: not acknowledged", found.due - found.taken, 0, least=False),
    ]
    return line("one by one, at half of that", found.rate, watch, found), promises


def burst(seconds: float = 10) -> Found:
    """Lines of 100 as fast as they go, and how long the views take then."""
    with started() as (running, token):
        watch = Watch(running)
        with watch.looking():
            rate = loaded(running, token, seconds, 100, 32)
        behind = watch.caught_up()
    least = bare(4)
    promises = [
        Promise("burst of lines: of bare executemany", rate / least["rate"], 0.4),
        Promise("burst of lines: events a second", rate, 100_000),
        Promise("burst of lines: seconds until the views have all", behind, 60, least=False),
        Promise("burst of lines: memory, MiB", watch.rss / 2**20, MEMORY, least=False),
    ]
    name = f"lines of 100, a burst of {seconds:g} s (the views had all {behind:.1f} s later)"
    return line(name, rate, watch), promises


def haul(seconds: float = 60, rate: int = 50_000) -> Found:
    """Lines of 100 at a rate that is kept up."""
    with started() as (running, token):
        watch = Watch(running)
        with watch.looking():
            found = steady(running, token, 100, rate / 100, seconds, connections=32)
    promises = [
        Promise(
            f"{rate:,} events a second in lines: not acknowledged",
            found.due - found.taken,
            0,
            least=False,
        ),
        Promise(f"{rate:,} events a second in lines: the views' lag, s", watch.lag, 2, least=False),
        Promise(
            f"{rate:,} events a second in lines: memory, MiB",
            watch.rss / 2**20,
            MEMORY,
            least=False,
        ),
    ]
    name = f"lines of 100, {rate:,} events a second for {seconds:g} s"
    return line(name, found.rate * 100, watch, found), promises


def line(name: str, rate: float, watch: Watch, found: Paced | None = None) -> tuple[object, ...]:
    """A line of the table."""
    quantiles = [f"{took * 1000:.1f}" for took in (found.p50, found.p99)] if found else ["", ""]
    return name, f"{rate:,.0f}", *quantiles, f"{watch.lag:.2f}", f"{watch.rss / 2**20:.0f}"


def main() -> int:
    parser = options(__doc__ or "", data=False, load=False, rounds=0)
    parser.add_argument("parts", nargs="*", help="some of peak, half, burst, haul (default: all)")
    parser.add_argument("--peak", type=float, default=0, help="events a second, if it is known")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead")
    given = parser.parse_args()
    rows, promises, rate = [], [], given.peak

    def take(found: Found) -> None:
        rows.append(found[0])
        promises.extend(found[1])
        print(found[0], file=sys.stderr)

    parts = given.parts or ("peak", "half", "burst", "haul")
    if "peak" in parts or ("half" in parts and not rate):
        *found, rate = peak()
        take(tuple(found))
    for part, do in (("half", lambda: half(rate)), ("burst", burst), ("haul", haul)):
        if part in parts:
            take(do())
    return report(given, {"marquee alone": (HEAD, rows)}, promises)


if __name__ == "__main__":
    sys.exit(main())
