"""A backup of a large log beside a server at full speed: what senders feel, and what it costs.

Turns of 256 connections that send one event at a time, without a backup and with one after another.
The backup runs where the load does, as its niceness would have it on a machine with cores to spare.
"""

import json
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import closing
from pathlib import Path
from statistics import median

from contest import BENCH, LOAD, ROOT, Running, Sample, own, wrk
from report import Promise, options, report

CONNECTIONS = 256
FILL = """
WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n LIMIT ?)
INSERT INTO event SELECT
    (1700000000000 << 22) + n, 1, 1, printf('%036d', n % 20000), n % 20000, NULL,
    'page interaction', 'pageview', n, n, NULL, NULL, '{"host":"example.com","path":"/"}'
FROM n
"""
HEAD = ("senders", "req/s", "CPU s / 1,000", "p50 ms", "p99 ms", "WAL, MB at most")


class Backups(threading.Thread):
    """Back up again and again, until told to stop."""

    def __init__(self, data: Path, to: Path) -> None:
        super().__init__()
        self.ending = threading.Event()
        self.took: list[float] = []
        self.bytes = 0
        self._words = ["server.py", "backup", "--data", str(data), "--to", str(to), "--json"]

    def run(self) -> None:
        """The thread's work."""
        while not self.ending.is_set():
            began = time.perf_counter()
            command = ["taskset", "-c", LOAD, sys.executable, *self._words]
            done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
            self.took.append(time.perf_counter() - began)
            made = json.loads(done.stdout)
            self.bytes = made["bytes"]
            shutil.rmtree(made["place"])


def main() -> int:
    parser = options(__doc__ or "", data=False, rounds=3)
    parser.add_argument("--events", type=int, default=1_000_000, help="(%(default)s)")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="marquee-bench-") as folder:
        data = Path(folder, "data")
        marquee, token = own(data)
        with closing(sqlite3.connect(data / "marquee.db")) as connection:
            connection.execute(FILL, (given.events,))
            connection.commit()
        without: list[Sample] = []
        beside: list[Sample] = []
        wals: list[list[int]] = [[], []]
        took: list[float] = []
        with marquee.running() as running:
            script = [str(BENCH / "events.lua"), "none", "1", token]
            wrk(running, "/events", (), 2, CONNECTIONS, script=script)
            for _ in range(given.rounds):
                without.append(load(running, given.seconds, script, data, wals[0]))
                backups = Backups(data, Path(folder, "to"))
                backups.start()
                try:
                    beside.append(load(running, given.seconds, script, data, wals[1]))
                finally:
                    backups.ending.set()
                    backups.join()
                took += backups.took
        rows = [
            line("alone", without, max(wals[0])),
            line("beside backups", beside, max(wals[1])),
        ]
        notes = [
            f"{len(took)} backups of {backups.bytes / 1e6:.0f} MB took {min(took):.1f} to "
            f"{max(took):.1f} s each, checked"
        ]
    slower = median(each.cpu for each in beside) / median(each.cpu for each in without)
    worst = max(each.p99 for each in beside)
    promises = [
        Promise("CPU of a request beside backups, times that without", slower, 1.25, least=False),
        Promise("p99 beside backups, ms", worst * 1000, 250, least=False),
    ]
    return report(given, {"backup": (HEAD, rows)}, promises, notes)


def load(
    running: Running, seconds: float, script: list[str], data: Path, wals: list[int]
) -> Sample:
    """A turn; how large the WAL came to be is added to `wals`."""
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(0.05):
            wals.append((data / "marquee.db-wal").stat().st_size)

    watching = threading.Thread(target=watch)
    watching.start()
    try:
        return wrk(running, "/events", (), seconds, CONNECTIONS, calm=False, script=script)
    finally:
        ended.set()
        watching.join()


def line(name: str, samples: list[Sample], wal: int) -> tuple[str, ...]:
    """A row of the table, of medians."""
    figures = [
        median(getattr(each, key) for each in samples) for key in ("rate", "cpu", "p50", "p99")
    ]
    rate, cpu, p50, p99 = figures
    return (
        name,
        f"{rate:,.0f}",
        f"{cpu:.5f}",
        f"{p50 * 1000:.1f}",
        f"{p99 * 1000:.1f}",
        f"{wal / 1e6:.1f}",
    )


if __name__ == "__main__":
    sys.exit(main())
