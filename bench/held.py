"""Hostile bodies: how long each holds the loop, and what a page waits meanwhile.

The server runs on the asyncio loop, so that `tests/support/programs/loop_watch.py` can time turns.
"""

import http.client
import json
import os
import signal
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
from tests.support.events.hostile_bodies import hostile_bodies

WATCHED = str(ROOT / "tests/support/programs/loop_watch.py")
KINDS = ("application/json", "application/x-ndjson")
HEAD = ("begins", "bytes", "sent as", "answer", "longest turn, CPU ms")
SHOWN, LONGEST = 12, 20.0


def main() -> int:
    parser = options(__doc__ or "", data=False, load=False, rounds=0)
    parser.add_argument("--json", action="store_true", help="print one JSON object instead")
    given = parser.parse_args()
    os.sched_setaffinity(0, {int(LOAD)})
    with tempfile.TemporaryDirectory(prefix="marquee-bench-") as folder:
        marquee, token = own(Path(folder, "data"))
        command = [WATCHED if part == "server.py" else part for part in marquee.command]
        with replace(marquee, name="marquee watched", command=command).running() as running:
            rows, waits = measure(running, token)
    rows.sort(key=lambda row: -float(row[-1]))
    waits.sort()
    p99 = waits[len(waits) * 99 // 100] * 1000
    told = f"of {len(rows)} bodies, those that took longest"
    return report(
        given,
        {told: (HEAD, rows[:SHOWN])},
        [
            Promise("longest turn, CPU ms", float(rows[0][-1]), LONGEST, least=False),
            Promise("p99 of a page meanwhile, ms", p99, LONGEST, least=False),
        ],
    )


def measure(running: Running, token: str) -> tuple[list[tuple[str, ...]], list[float]]:
    """A row for each body, and what each look at a page took (in seconds)."""
    connection = http.client.HTTPConnection("127.0.0.1", running.port)
    ended, waits, rows = threading.Event(), [], []
    running.get("/events")
    time.sleep(1)
    turn(running)
    looking = threading.Thread(target=look, args=(running, ended, waits))
    looking.start()
    for body in hostile_bodies():
        for kind in KINDS:
            headers = {"Authorization": f"Bearer {token}", "Content-Type": kind}
            connection.request("POST", "/events", body, headers)
            answer = connection.getresponse()
            answer.read()
            begins = json.dumps(body[:32].decode("latin-1"))
            took = turn(running) * 1000
            rows.append((begins, f"{len(body):,}", kind, str(answer.status), f"{took:.2f}"))
    ended.set()
    looking.join()
    connection.close()
    return rows, waits


def look(running: Running, ended: threading.Event, waits: list[float]) -> None:
    """Ask for a page every few milliseconds."""
    connection = http.client.HTTPConnection("127.0.0.1", running.port)
    while not ended.wait(0.005):
        began = time.perf_counter()
        connection.request("GET", "/healthz")
        connection.getresponse().read()
        waits.append(time.perf_counter() - began)
    connection.close()


def turn(running: Running) -> float:
    """The longest turn since this was last asked, in CPU seconds."""
    log = BUILD / "marquee-watched.log"
    before = log.read_text().count("\nturn ")
    running.process.send_signal(signal.SIGUSR1)
    while (text := log.read_text()).count("\nturn ") == before or not text.endswith("\n"):
        time.sleep(0.001)
    return float(text.rpartition("\nturn ")[2].split()[0])


if __name__ == "__main__":
    sys.exit(main())
