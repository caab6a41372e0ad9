"""The audience: which hosts are watched, who is there, and which pages rise."""

from typing import Any, NamedTuple
from urllib.parse import quote, urlencode

from handlers.admin.page import Page
from loops.sampler import Sampler, Watch
from rules import words
from rules.history import WINDOW
from store.apps import ListApps
from store.database import Database

# Pages that are shown of a host, and hosts on one page.
SHOWN, LIMIT = 8, 50


class Rising(NamedTuple):
    """A page as it is shown."""

    host: str
    path: str
    title: str
    visitors: int
    change: int
    state: str
    live: str
    stale: str  # how old the reading is, if it is older than it should be


def routes(database: Database, sampler: Sampler, threshold: float) -> list[Any]:
    """Where this is; `threshold` is how surprising a gain is that is called rising."""
    return [
        (
            r"/admin/audience",
            Audience,
            {"database": database, "sampler": sampler, "threshold": threshold},
        )
    ]


class Audience(Page):
    """`/admin/audience?start=`."""

    def initialize(self, database: Database, sampler: Sampler, threshold: float) -> None:
        """See `routes`."""
        self.database = database
        self.sampler = sampler
        self.threshold = threshold

    async def get(self) -> None:
        """Who is where now; hosts with most visitors first."""
        start = self.number("start") or 0
        watches = sorted(self.sampler.watches, key=lambda it: (-visitors(it), it.host))
        rows = [
            (it, visitors(it), stale(self.sampler, it), pages(it, self.threshold), live(it))
            for it in watches[start : start + LIMIT]
        ]
        watched = {it.host for it in watches}
        others = [
            (host, app.name, address(app.public_token, host))
            for app in await ListApps().run(self.database)
            for host in app.hosts
            if host not in watched
        ]
        further = self.query(start=start + LIMIT) if len(watches) > start + LIMIT else None
        self.show("audience.html", "Audience", rows=rows, others=others[:LIMIT], further=further)


def rising(sampler: Sampler, threshold: float) -> list[Rising]:
    """The pages of all hosts that gain now, the most visited first."""
    found = [
        page
        for watch in sampler.watches
        for page in pages(watch, threshold, stale(sampler, watch))
        if page.state in ("rising", "new")
    ]
    return sorted(found, key=lambda page: (-page.visitors, page.path))[:SHOWN]


def stale(sampler: Sampler, watch: Watch) -> str:
    """Return how old the reading of a host is, if that is older than it should be."""
    return words.seconds(sampler.age(watch)) if watch.reading and sampler.stale(watch) else ""


def now(sampler: Sampler) -> str:
    """Return the unit of the number of visitors: "now", or how many are stale."""
    found = [it for it in sampler.watches if stale(sampler, it) and visitors(it)]
    if not found:
        return "now"
    count, age = sum(map(visitors, found)), max(map(sampler.age, found))
    return (
        f"of which {count:,} {'is' if count == 1 else 'are'} stale: read {words.seconds(age)} ago"
    )


def visitors(watch: Watch) -> int:
    """Return the number of visitors at the last reading."""
    return 0 if watch.reading is None else sum(watch.reading.visitors.values())


def pages(watch: Watch, threshold: float, stale: str = "") -> list[Rising]:
    """Some pages of a host: what gains, then what loses, then the largest."""
    titles = {} if watch.reading is None else watch.reading.titles
    return [
        Rising(
            watch.host,
            page.path,
            titles.get(page.path, page.path),
            page.visitors,
            page.change,
            page.judged.state,
            live(watch),
            stale,
        )
        for page in watch.rising(WINDOW, SHOWN, threshold)
    ]


def live(watch: Watch) -> str:
    """Where the host's live page is."""
    return address(watch.key, watch.host)


def address(key: str, host: str) -> str:
    """Where a host's live page is, for who has a key to it."""
    return f"/live/{quote(host, safe=':')}?{urlencode({'apikey': key})}"
