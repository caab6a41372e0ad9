"""The audience: which hosts are watched, who is there, and which pages rise."""

from typing import NamedTuple
from urllib.parse import quote, urlencode

from background.audience.host_poller import HostPoller, PolledHost
from domain.audience.visitor_history import DEFAULT_WINDOW_SECONDS
from domain.common import formatting
from handlers.admin.admin_page import AdminPage
from handlers.common.route import Route
from store.sqlite.admin.apps import ListApps
from store.sqlite.core.database import Database

# Pages that are shown of a host, and hosts on one page.
PAGES_PER_HOST, HOSTS_PER_PAGE = 8, 50


class RisingPageRow(NamedTuple):
    """A page as it is shown."""

    host: str
    path: str
    title: str
    visitors: int
    change: int
    state: str
    live: str
    stale: str  # how old the reading is, if it is older than it should be


def routes(database: Database, sampler: HostPoller, threshold: float) -> list[Route]:
    """Where this is; `threshold` is how surprising a gain is that is called rising."""
    return [
        Route(
            r"/admin/audience",
            AdminAudiencePage,
            {"database": database, "sampler": sampler, "threshold": threshold},
            "admin audience",
        )
    ]


class AdminAudiencePage(AdminPage):
    """`/admin/audience?start=`."""

    def initialize(self, database: Database, sampler: HostPoller, threshold: float) -> None:
        """See `routes`."""
        self.database = database
        self.sampler = sampler
        self.threshold = threshold

    async def get(self) -> None:
        """Who is where now; hosts with most visitors first."""
        start = self.int_argument("start") or 0
        watches = sorted(self.sampler.watches, key=lambda it: (-visitor_count(it), it.host))
        rows = [
            (
                it,
                visitor_count(it),
                stale_reading_age(self.sampler, it),
                host_pages(it, self.threshold),
                host_live_url(it),
            )
            for it in watches[start : start + HOSTS_PER_PAGE]
        ]
        watched = {it.host for it in watches}
        others = [
            (host, app.name, live_url(app.public_token, host))
            for app in await ListApps().run(self.database)
            for host in app.hosts
            if host not in watched
        ]
        further = (
            self.query(start=start + HOSTS_PER_PAGE)
            if len(watches) > start + HOSTS_PER_PAGE
            else None
        )
        self.show(
            "audience.html", "Audience", rows=rows, others=others[:HOSTS_PER_PAGE], further=further
        )


def rising_pages(sampler: HostPoller, threshold: float) -> list[RisingPageRow]:
    """The pages of all hosts that gain now, the most visited first."""
    found = [
        page
        for watch in sampler.watches
        for page in host_pages(watch, threshold, stale_reading_age(sampler, watch))
        if page.state in ("rising", "new")
    ]
    return sorted(found, key=lambda page: (-page.visitors, page.path))[:PAGES_PER_HOST]


def stale_reading_age(sampler: HostPoller, watch: PolledHost) -> str:
    """Return how old the reading of a host is, if that is older than it should be."""
    return (
        formatting.format_duration(sampler.age(watch))
        if watch.reading and sampler.stale(watch)
        else ""
    )


def visitors_unit(sampler: HostPoller) -> str:
    """Return the unit of the number of visitors: "now", or how many are stale."""
    found = [it for it in sampler.watches if stale_reading_age(sampler, it) and visitor_count(it)]
    if not found:
        return "now"
    count, age = sum(map(visitor_count, found)), max(map(sampler.age, found))
    verb = "is" if count == 1 else "are"
    return f"of which {count:,} {verb} stale: read {formatting.format_duration(age)} ago"


def visitor_count(watch: PolledHost) -> int:
    """Return the number of visitors at the last reading."""
    return 0 if watch.reading is None else sum(watch.reading.visitors.values())


def host_pages(watch: PolledHost, threshold: float, stale: str = "") -> list[RisingPageRow]:
    """Some pages of a host: what gains, then what loses, then the largest."""
    titles = {} if watch.reading is None else watch.reading.titles
    return [
        RisingPageRow(
            watch.host,
            page.path,
            titles.get(page.path, page.path),
            page.visitors,
            page.change,
            page.judged.state,
            host_live_url(watch),
            stale,
        )
        for page in watch.rising(DEFAULT_WINDOW_SECONDS, PAGES_PER_HOST, threshold)
    ]


def host_live_url(watch: PolledHost) -> str:
    """Where the host's live page is."""
    return live_url(watch.key, watch.host)


def live_url(key: str, host: str) -> str:
    """Where a host's live page is, for who has a key to it."""
    return f"/live/{quote(host, safe=':')}?{urlencode({'apikey': key})}"
