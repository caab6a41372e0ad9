"""Overload: how much memory it costs when far more is sent than a slowed disk takes.

Each sync takes 50 ms longer (`tests/support/faults/slow_disk.c`, built by gcc). The baseline of
memory is read after the same senders, a few of each, have been served.
"""

import asyncio
import os
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import replace
from pathlib import Path

from contest import BUILD, LOAD, ROOT, Running
from events import own
from report import Promise, options, report

sys.path.insert(0, str(ROOT))
from tests.support.faults.overload_senders import OverloadTally, SenderGroup, run_overload

MIXES = {
    "of all kinds": [
        SenderGroup(400, 250_000, pause=0.5),
        SenderGroup(100, 300, lines=100),
        SenderGroup(60, 2_000, lines=60),
        SenderGroup(24, 300, lines=2_500),
        SenderGroup(200, 300),
    ],
    "500 of 250 KB": [SenderGroup(500, 250_000)],
    "800 of 100 lines": [SenderGroup(800, 300, lines=100)],
    "150 streams of 4,000 lines": [SenderGroup(150, 300, lines=4_000)],
    "3,000 one by one": [SenderGroup(3_000, 300)],
}
HEAD = ("senders", "sent MB", "taken MB", "202", "503", "other", "more memory, MiB")
MORE = 64.0


def main() -> int:
    parser = options(__doc__ or "", data=False, load=False, rounds=0)
    parser.add_argument("--seconds", type=float, default=6, help="of each mix (%(default)s)")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead")
    given = parser.parse_args()
    os.sched_setaffinity(0, {int(LOAD)})
    BUILD.mkdir(parents=True, exist_ok=True)
    shim = BUILD / "slow.so"
    source = str(ROOT / "tests/support/faults/slow_disk.c")
    subprocess.run(["gcc", "-shared", "-fPIC", "-O2", "-o", shim, source, "-ldl"], check=True)
    env = {"LD_PRELOAD": str(shim), "SLOW_SYNC": "50000"}
    rows, most = [], 0.0
    for name, senders in MIXES.items():
        with tempfile.TemporaryDirectory(prefix="marquee-bench-") as folder:
            marquee, token = own(Path(folder, "data"))
            with replace(marquee, env={**marquee.env, **env}).running() as running:
                tally, more = pushed(running, token, senders, given.seconds)
        answers = tally.statuses
        other = sum(answers.values()) - answers["202"] - answers["503"]
        sizes = (f"{tally.sent_bytes / 1e6:,.0f}", f"{tally.accepted_bytes / 1e6:,.0f}")
        rows.append((name, *sizes, answers["202"], answers["503"], other, f"{more:.1f}"))
        print(rows[-1], file=sys.stderr)
        most = max(most, more)
    promises = [
        Promise("more memory, MiB", most, MORE, least=False),
        Promise("answers that are neither", sum(row[5] for row in rows), 0, least=False),
    ]
    return report(given, {"overload": (HEAD, rows)}, promises)


def pushed(
    running: Running, token: str, senders: list[SenderGroup], seconds: float
) -> tuple[OverloadTally, float]:
    """What senders were told, and MiB of memory that the server took for it."""
    few = [each._replace(connections=4) for each in senders]
    asyncio.run(run_overload(running.port, token, 3, [*few, SenderGroup(8, 300, lines=100)]))
    warm, most, ended = running.rss(), [0], threading.Event()

    def watch() -> None:
        while not ended.wait(0.02):
            most[0] = max(most[0], running.rss())

    watching = threading.Thread(target=watch)
    watching.start()
    time.sleep(0.1)
    tally = asyncio.run(run_overload(running.port, token, seconds, senders, 10**9))
    ended.set()
    watching.join()
    return tally, (most[0] - warm) / 2**20


if __name__ == "__main__":
    sys.exit(main())
