"""The audience: what gains, asked of us and of stock Tornado; a reading of a large host; faults."""

import gc
import http.client
import json
import random
import statistics
import subprocess
import sys
import time
import tracemalloc
from itertools import accumulate
from urllib.parse import urlencode

from contest import BENCH, BUILD, ROOT, Contestant, Running, Sample, contest, folder, wrk
from report import HEAD, Promise, options, report, row
from rivals.page import SpoiledError

sys.path.insert(0, str(ROOT))

from background.audience.host_poller import HostPoller, PolledHost
from domain.audience.seasonal_baseline import NO_SEASONAL_BASELINE, SeasonalBaseline
from domain.audience.toppages_format import TopPagesReading
from domain.audience.visitor_history import MinuteTotals
from store.cache.active_visitors import ActiveVisitors
from tests.support.audience.faulty_upstream import FaultyUpstream

TOKEN, HOST = "bench", "www.example.com"
PATH = "/api/v1.0/increasingconcurrents?" + urlencode({"apikey": TOKEN, "host": HOST})
PAGES, VISITORS, READINGS = 10_000, 200_000, 120
FAULTS = ("hang", "reset", "500", "gigabyte", "bomb", "bad", "redirect", "drip")
PAGE = "/campaigns/1/"


def main() -> int:
    parser = options(__doc__ or "", data=False)
    parser.set_defaults(path=PATH)
    parser.add_argument("--only", nargs="*", default=["asked", "reading", "faults"])
    given = parser.parse_args()
    BUILD.mkdir(parents=True, exist_ok=True)
    tables, promises, notes = {}, [], []
    for name, part in (("asked", asked), ("reading", reading), ("faults", faults)):
        if name in given.only:
            head, rows, kept, told = part(given)
            tables[name] = head, rows
            promises += kept
            notes += told
    return report(given, tables, promises, notes)


def asked(given):
    """Warm `increasingconcurrents`, against the same answer from a stock handler."""
    with folder(None, None) as marquee:
        answer = {"key": TOKEN, "host": HOST}
        with marquee.running() as running:
            add_app(marquee)
            status, headers, body = grown(running)
            if status != 200 or not json.loads(body):
                raise SpoiledError(f"it answers {status} {body!r}")
            kept = ("content-length", "date", "connection", "server")
            answer["headers"] = {
                key: text for key, text in headers.items() if key.lower() not in kept
            }
            answer["body"] = body.decode()
        (BUILD / "gains.json").write_text(json.dumps(answer), "utf-8")
        stock = [sys.executable, str(BENCH / "rivals" / "gains.py"), str(BUILD / "gains.json")]
        chosen = [marquee, Contestant("tornado", [*stock, "{port}"])]
        length = len(answer["body"])

        def measure(running: Running) -> Sample:
            if running.name == "marquee":
                grown(running)
            got = running.get(PATH)[2]
            if not json.loads(got) or abs(len(got) - length) > length / 5:
                raise SpoiledError(f"{running.name} answers {got!r}")
            wrk(running, PATH, (), 1, given.connections)
            return wrk(running, PATH, (), given.seconds, given.connections)

        found = contest(chosen, given.rounds, measure)
    own, other = found["marquee"], found["tornado"]
    promises = [
        Promise("as fast as stock Tornado, by CPU, times", other.cpu / own.cpu, 10),
        Promise("requests a second on one core", own.rate, 30_000),
    ]
    return HEAD, [row(name, sample, own) for name, sample in found.items()], promises, []


def add_app(marquee: Contestant) -> None:
    """Add an app that lists the host to a server that runs."""
    data = marquee.command[marquee.command.index("--data") + 1]
    words = ["app", "create", "Bench", "--public-token", TOKEN, "--hosts", HOST, "--data", data]
    command = [sys.executable, "server.py", *words]
    subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)


def grown(running: Running) -> tuple[int, http.client.HTTPMessage, bytes]:
    """What is answered once twenty pages have gained in each reading for a while."""
    connection = http.client.HTTPConnection("127.0.0.1", running.port, timeout=10)
    visitor = 0

    def come(path: str) -> None:
        nonlocal visitor
        visitor += 1
        sign = {"kind": "beat", "session": f"{visitor}", "host": HOST, "path": path}
        connection.request("POST", f"/api/v1/beacon/{TOKEN}", json.dumps(sign).encode())
        connection.getresponse().read()

    for number in range(20):
        come(f"/a-page-of-the-site/{number}")
    running.get(PATH)
    until = time.monotonic() + 20
    while time.monotonic() < until:
        for number in range(20):
            come(f"/a-page-of-the-site/{number}")
        answer = running.get(PATH)
        if len(json.loads(answer[2])) == 20:
            connection.close()
            return answer
        time.sleep(0.2)
    raise SpoiledError("no page has gained")


class Nobody:
    """A source of which only the limits are asked."""

    name, a_minute, in_all, refusals_kept = "bench", None, None, 0.0

    async def read(self, key: str, host: str) -> TopPagesReading:
        """Nothing."""
        raise NotImplementedError


async def _keep(key: tuple[str, str], closed: MinuteTotals, titles: dict[str, str]) -> None:
    """Keep nothing."""


async def _remember(key: tuple[str, str]) -> SeasonalBaseline:
    return NO_SEASONAL_BASELINE


def reading(given):
    """A host with ten thousand pages and two hundred thousand visitors who come and go."""
    chance = random.Random(1)
    now = [1_000_000.0]
    tracemalloc.start()
    presence = ActiveVisitors(60.0, clock=lambda: now[0])
    weights = list(accumulate(1 / (rank + 10) ** 0.7 for rank in range(PAGES)))
    paths = [f"/section/{rank % 20}/an-article-with-a-name-{rank}" for rank in range(PAGES)]
    for visitor in range(VISITORS):
        path = paths[visitor] if visitor < PAGES else chance.choices(paths, cum_weights=weights)[0]
        presence.see(1, HOST, path, f"{visitor}", ago=chance.random() * 59)
    size = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    sampler = HostPoller(Nobody(), _keep, _remember, clock=lambda: now[0], wall=lambda: now[0])
    sampler._spawn = lambda work: work.close()  # type: ignore[assignment,method-assign]
    watch = PolledHost(TOKEN, HOST, now[0])
    gc.collect()  # as the server does
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)
    spent: dict[str, list[float]] = {"reading": [], "rising": [], "step of a sweep": []}
    visitor = VISITORS
    for _ in range(READINGS):
        for _ in range(5):
            now[0] += 1
            for _ in range(VISITORS // 60):
                visitor += 1
                presence.see(1, HOST, chance.choices(paths, cum_weights=weights)[0], f"{visitor}")
            more = True
            while more:
                began = time.thread_time()
                more = presence.sweep()
                spent["step of a sweep"].append(time.thread_time() - began)
        began = time.thread_time()
        sampler._take(watch, presence.reading(1, HOST))
        spent["reading"].append(time.thread_time() - began)
        began = time.thread_time()
        watch.rising(300, 100, 4.0)
        spent["rising"].append(time.thread_time() - began)
    pages, visits = len(watch.reading.visitors), presence.visits
    rows = [
        (name, f"{statistics.median(each) * 1000:.2f}", f"{max(each) * 1000:.2f}")
        for name, each in spent.items()
    ]
    promises = [
        Promise(
            "ms of the loop a reading takes", statistics.median(spent["reading"]) * 1000, 10, False
        )
    ]
    note = f"{pages:,} pages, {visits:,} visitors; {size / VISITORS:.0f} bytes a visitor"
    return ("ms of CPU", "median", "worst"), rows, promises, [note]


def faults(given):
    """Page views while the upstream does whatever it likes, against views while it is well."""
    faulty = FaultyUpstream()
    faulty.mode, faulty.pages_json = "pages", b'[{"i": "A", "path": "/a", "visitors": 3}]'
    found: dict[str, list[Sample]] = {}
    try:
        with (
            folder(None, None, upstream=faulty.address) as marquee,
            marquee.running() as running,
        ):
            add_app(marquee)
            running.get(PATH)
            wrk(running, PAGE, (), 1, given.connections)
            before = running.rss()
            for _ in range(given.rounds):
                for mode in ("pages", *FAULTS):
                    faulty.mode = mode
                    running.get(PATH)
                    sample = wrk(running, PAGE, (), 6, given.connections, calm=False)
                    found.setdefault(mode, []).append(sample)
            grown_by = (running.rss() - before) / 2**20
    finally:
        faulty.close()
    p99 = {mode: statistics.median(each.p99 for each in some) for mode, some in found.items()}
    cpu = {mode: statistics.median(each.cpu for each in some) for mode, some in found.items()}
    rows = [(mode, f"{cpu[mode]:.5f}", f"{p99[mode] * 1000:.2f}") for mode in found]
    worst = max(p99[mode] for mode in FAULTS)
    promises = [
        Promise(
            "p99 of page views, worst fault against a sound upstream",
            worst / p99["pages"],
            1.5,
            False,
        ),
        Promise("MiB of memory gained", grown_by, 30, False),
        Promise("requests at once for a (key, host)", faulty.max_concurrent, 1, False),
    ]
    return ("upstream", "CPU s / 1,000 page views", "p99 ms"), rows, promises, []


if __name__ == "__main__":
    sys.exit(main())
