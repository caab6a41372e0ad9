"""Owners' pages: how soon each page's HTML is there over a full log, what it weighs, and what
eight open overviews cost.

The log is filled in this process through the store itself (`bench/growth.py`).
"""

import asyncio
import contextlib
import http.client
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from urllib.parse import urlencode

from contest import ROOT, Running, ours
from events import own
from growth import fill
from report import Promise, options, report

sys.path.insert(0, str(ROOT))
from store.sqlite.core.database import Database
from store.sqlite.events.event_log import EventLog

HEAD = ("page", "p50, ms", "p99, ms", "KB")
WITHIN, WEIGHT, SHARE = 0.030, 60_000, 0.05
ASKED, VIEWERS, REJECTS = 200, 8, 100_000
PASSWORD = "correct horse"
SESSION = "e2085be5-9137-4e4e-80b5-000000000007"
PAGES = (
    "",
    "campaigns",
    "campaigns/1",
    "apps",
    "apps/1",
    "events",
    "events?order=asc",
    "events?category=page+interaction&name=pageview",
    "events?app=1",
    f"events?session_id={SESSION}",
    f"sessions?id={SESSION}",
    "schemas",
    "schemas/edit?category=page+interaction&name=pageview",
    "rejected-events",
    "rejected-events?app=1",
    "rejected-events?app=2",
    "imports",
    "health",
    "users",
    "audit",
)


def main() -> int:
    parser = options(__doc__ or "", data=False, rounds=0)
    parser.add_argument("--size", type=int, default=1_000_000, help="events (%(default)s)")
    parser.add_argument("--data", help="a folder to fill and to keep (default: one that goes)")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="marquee-bench-") as folder:
        data = Path(given.data or folder, "data")
        if not data.exists():
            prepare(data, Path(folder, "campaigns"))
        asyncio.run(fill(data, given.size))
        marquee = ours(str(data))
        with marquee.running() as running:
            key = {"Cookie": log_in(running)}
            rows, slowest, heaviest = pages(running, key)
            alone = idle(running, given.seconds)
            watched = viewers(running, key, given.seconds)
    promises = [
        Promise("p99 of the slowest page, s", slowest, WITHIN, least=False),
        Promise("bytes of the heaviest page with its files", heaviest, WEIGHT, least=False),
        Promise(f"{VIEWERS} open overviews, of a core", watched - alone, SHARE, least=False),
    ]
    head = ("overviews open", "of a core")
    found = [("none", f"{alone:.2%}"), (VIEWERS, f"{watched:.2%}")]
    return report(
        given,
        {f"pages over {given.size:,} events": (HEAD, rows), "live": (head, found)},
        promises,
    )


def prepare(data: Path, campaigns: Path) -> None:
    """A user, two apps, a campaign, and as many rejects as are kept."""
    own(data, "bench")
    write_campaign(campaigns)
    for words in (
        ["app", "create", "quiet"],
        ["user", "create", "bench"],
        ["import", str(campaigns)],
    ):
        command = [sys.executable, "server.py", *words, "--data", str(data)]
        subprocess.run(command, cwd=ROOT, check=True, input=PASSWORD.encode(), capture_output=True)
    asyncio.run(reject(data))


async def reject(data: Path) -> None:
    """As many rejects of the first app as are kept, after one of the second."""
    database = await Database.open(data / "marquee.db")
    log = await EventLog.open(database)
    body, errors = b'{"session_id":"%s"}' % (b"x" * 200), '[{"pointer":"/name","message":"x"}]'
    await log.append((), [(2, body, errors)])
    for _ in range(REJECTS // 500):
        await log.append((), [(1, body, errors)] * 500)
    await log.drain()
    await database.close()


def write_campaign(folder: Path) -> None:
    """One campaign, so that its pages have something to show."""
    (folder / "1").mkdir(parents=True)
    rows = "".join(f"{banner},1\n" for banner in range(1, 200))
    (folder / "1" / "impressions_1.csv").write_text(f"banner_id,campaign_id\n{rows}")


def log_in(running: Running) -> str:
    """A session's cookie."""
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", running.port)) as line:
        said = urlencode({"name": "bench", "password": PASSWORD})
        kind = {"Content-Type": "application/x-www-form-urlencoded"}
        line.request("POST", "/admin/login", said, {**kind, "Sec-Fetch-Site": "same-origin"})
        return line.getresponse().headers["Set-Cookie"].split(";")[0]


def pages(running: Running, key: dict[str, str]) -> tuple[list[tuple[object, ...]], float, int]:
    """A row for each page, the slowest p99 (s), and the most bytes of one with its files."""
    rows, slowest, heaviest = [], 0.0, 0
    for path in PAGES:
        spent, body = [], b""
        for _ in range(ASKED):
            began = time.perf_counter()
            status, _, body = running.get(f"/admin/{path}", key)
            spent.append(time.perf_counter() - began)
            assert status == 200, body
        spent.sort()
        files = set(re.findall(rb'(?:href|src)="(/static/[^"]+)"', body))
        size = len(body) + sum(len(running.get(each.decode())[2]) for each in files)
        p50, p99 = spent[ASKED // 2], spent[ASKED * 99 // 100]
        slowest, heaviest = max(slowest, p99), max(heaviest, size)
        rows.append(
            (f"/admin/{path}", f"{p50 * 1000:.1f}", f"{p99 * 1000:.1f}", f"{size / 1000:.1f}")
        )
        print(rows[-1], file=sys.stderr)
    return rows, slowest, heaviest


def idle(running: Running, seconds: float) -> float:
    """What part of a core the server takes for so long."""
    time.sleep(2)
    before, began = running.cpu(), time.monotonic()
    time.sleep(max(10.0, seconds))
    return (running.cpu() - before) / (time.monotonic() - began)


def viewers(running: Running, key: dict[str, str], seconds: float) -> float:
    """The same, while overviews are open; each is told of every beat."""
    lines = [http.client.HTTPConnection("127.0.0.1", running.port) for _ in range(VIEWERS)]
    with contextlib.ExitStack() as opened:
        streams = []
        for line in lines:
            opened.callback(line.close)
            line.request("GET", "/admin/live", headers=key)
            streams.append(line.getresponse())
        share = idle(running, seconds)
        for stream in streams:
            told = b""
            while b"data: " not in told:
                told = stream.readline()
            assert b"<svg" in told
    return share


if __name__ == "__main__":
    sys.exit(main())
