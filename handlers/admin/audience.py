"""Audience: polled hosts, their visitors and their rising pages."""

from typing import NamedTuple
from urllib.parse import quote, urlencode

from background.audience.host_poller import HostPoller, PolledHost
from domain.audience.visitor_history import DEFAULT_WINDOW_SECONDS
from domain.common import formatting
from handlers.admin.admin_page import AdminPage
from handlers.common.route import Route
from store.sqlite.admin.apps import ListApps
from store.sqlite.core.database import Database

# Top pages shown for each host.
PAGES_PER_HOST = 8
HOSTS_PER_PAGE = 50


class RisingPageRow(NamedTuple):
    """A page of a polled host, as the templates show it."""

    host: str
    path: str
    title: str
    visitors: int
    change: int
    state: str
    live_url: str
    stale_age: str  # age of a stale reading; empty for a current one


def routes(database: Database, host_poller: HostPoller, threshold: float) -> list[Route]:
    """Return the route; `threshold` is the minimum trend score of a rising page."""
    return [
        Route(
            r"/admin/audience",
            AdminAudiencePage,
            {"database": database, "host_poller": host_poller, "threshold": threshold},
            "admin audience",
        )
    ]


class AdminAudiencePage(AdminPage):
    """`/admin/audience?start=`."""

    def initialize(self, database: Database, host_poller: HostPoller, threshold: float) -> None:
        """Keep the parameters of `routes`."""
        self.database = database
        self.host_poller = host_poller
        self.threshold = threshold

    async def get(self) -> None:
        """Send the polled hosts, the most visited first, and the hosts that are not polled."""
        start = self.int_argument("start") or 0
        polled_hosts = sorted(
            self.host_poller.watches, key=lambda it: (-visitor_count(it), it.host)
        )
        rows = [
            (
                it,
                visitor_count(it),
                stale_reading_age(self.host_poller, it),
                host_pages(it, self.threshold),
                host_live_url(it),
            )
            for it in polled_hosts[start : start + HOSTS_PER_PAGE]
        ]
        polled_names = {it.host for it in polled_hosts}
        others = [
            (host, app.name, live_url(app.public_token, host))
            for app in await ListApps().run(self.database)
            for host in app.hosts
            if host not in polled_names
        ]
        next_page_url = (
            self.page_url(start=start + HOSTS_PER_PAGE)
            if len(polled_hosts) > start + HOSTS_PER_PAGE
            else None
        )
        self.send_page(
            "audience.html",
            "Audience",
            rows=rows,
            others=others[:HOSTS_PER_PAGE],
            next_page_url=next_page_url,
        )


def rising_pages(host_poller: HostPoller, threshold: float) -> list[RisingPageRow]:
    """Return the rising pages of all polled hosts, the most visited first."""
    found = [
        page
        for polled_host in host_poller.watches
        for page in host_pages(polled_host, threshold, stale_reading_age(host_poller, polled_host))
        if page.state in ("rising", "new")
    ]
    return sorted(found, key=lambda page: (-page.visitors, page.path))[:PAGES_PER_HOST]


def stale_reading_age(host_poller: HostPoller, polled_host: PolledHost) -> str:
    """Return the age of a host's reading if it is stale, else an empty string."""
    if polled_host.reading and host_poller.stale(polled_host):
        return formatting.format_duration(host_poller.age(polled_host))
    return ""


def visitors_unit(host_poller: HostPoller) -> str:
    """Return the unit of the visitor count: "now", or how many of them are stale."""
    stale_hosts = [
        it for it in host_poller.watches if stale_reading_age(host_poller, it) and visitor_count(it)
    ]
    if not stale_hosts:
        return "now"
    count, age = sum(map(visitor_count, stale_hosts)), max(map(host_poller.age, stale_hosts))
    verb = "is" if count == 1 else "are"
    return f"of which {count:,} {verb} stale: read {formatting.format_duration(age)} ago"


def visitor_count(polled_host: PolledHost) -> int:
    """Return the number of visitors at the last reading; 0 without a reading."""
    reading = polled_host.reading
    return 0 if reading is None else sum(reading.visitors.values())


def host_pages(
    polled_host: PolledHost, threshold: float, stale_age: str = ""
) -> list[RisingPageRow]:
    """Return some pages of a host: rising ones, then falling ones, then the most visited."""
    titles = {} if polled_host.reading is None else polled_host.reading.titles
    return [
        RisingPageRow(
            polled_host.host,
            page.path,
            titles.get(page.path, page.path),
            page.visitors,
            page.change,
            page.judged.state,
            host_live_url(polled_host),
            stale_age,
        )
        for page in polled_host.rising(DEFAULT_WINDOW_SECONDS, PAGES_PER_HOST, threshold)
    ]


def host_live_url(polled_host: PolledHost) -> str:
    """Return the path of a polled host's live page."""
    return live_url(polled_host.key, polled_host.host)


def live_url(public_token: str, host: str) -> str:
    """Return the path of a host's live page."""
    return f"/live/{quote(host, safe=':')}?{urlencode({'apikey': public_token})}"
