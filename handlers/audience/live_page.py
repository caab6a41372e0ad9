"""`/live/{host}`: an HTML page of rising pages that a stream keeps current.

The server renders the complete page, which works without scripts. A script replaces the list by
server-sent events. All clients share the rendered list of a reading.
"""

from typing import NamedTuple

from background.audience.host_poller import PolledHost
from domain.admin.sparkline import sparkline_points
from domain.audience.visitor_history import DEFAULT_WINDOW_SECONDS
from handlers.common.audience_base import AudienceContext, PolledHostHandler, reading_timestamp
from handlers.common.responses import HTML_CONTENT_TYPE, PageTemplates
from handlers.common.route import Route

# Rows of the list, and minutes of each sparkline.
MAX_LIVE_PAGES, SPARKLINE_MINUTES = 40, 30
SPARKLINE_WIDTH, SPARKLINE_HEIGHT = 120, 28


class LivePageRow(NamedTuple):
    """A row of the list."""

    path: str
    title: str
    url: str | None
    visitors: int
    change: str
    expected: str
    state: str
    sparkline: str  # SVG points


def routes(audience: AudienceContext, pages: PageTemplates) -> list[Route]:
    """Return the Tornado routes."""
    arguments = {"audience": audience, "pages": pages}
    return [
        Route(r"/live/([^/]{1,260})", LivePageHandler, arguments, "live page"),
        Route(r"/live/([^/]{1,260})/stream", LivePageStreamHandler, arguments, "live page stream"),
    ]


class LivePageHandler(PolledHostHandler):
    """`GET /live/{host}?apikey=`."""

    def initialize(self, audience: AudienceContext, pages: PageTemplates) -> None:  # type: ignore[override]
        """Set the dependencies; called by Tornado for each request."""
        super().initialize(audience)
        self._pages = pages

    async def get(self, host: str) -> None:
        """Send the page."""
        polled = await self.polled_host(host)
        self.set_header(*HTML_CONTENT_TYPE)
        self.finish(
            self._pages.render(
                "live.html",
                host=polled.host,
                key=polled.key,
                list_html=self.list_html(polled).decode(),
            )
        )

    def list_html(self, polled: PolledHost) -> bytes:
        """Return the list of the latest reading as HTML."""
        cached: bytes | None = polled.made.get("list_html")
        if cached is None:
            reading = polled.reading
            cached = self._pages.render(
                "rising.html",
                rows=live_page_rows(polled, self.audience.threshold),
                visitors=0 if reading is None else sum(reading.visitors.values()),
                as_of=reading_timestamp(polled),
                stale=self.audience.poller.stale(polled),
                window=DEFAULT_WINDOW_SECONDS // 60,
                width=SPARKLINE_WIDTH,
                height=SPARKLINE_HEIGHT,
            )
            polled.keep("list_html", cached)
        return cached


class LivePageStreamHandler(LivePageHandler):
    """`GET /live/{host}/stream?apikey=`: the list as server-sent events."""

    async def get(self, host: str) -> None:
        """Send the list after each reading."""
        polled = await self.polled_host(host)
        await self.send_stream("live", polled, lambda: self.list_html(polled), reserved=True)


def live_page_rows(polled: PolledHost, threshold: float) -> list[LivePageRow]:
    """Return the rows of the list: gaining, then losing, then by visitors."""
    titles = {} if polled.reading is None else polled.reading.titles
    rows = []
    for page in polled.rising(DEFAULT_WINDOW_SECONDS, MAX_LIVE_PAGES, threshold):
        expected, _, state = page.judged
        sparkline = sparkline_points(
            polled.history.series(page.path, SPARKLINE_MINUTES),
            SPARKLINE_WIDTH - 4,
            SPARKLINE_HEIGHT - 4,
        )
        rows.append(
            LivePageRow(
                page.path,
                titles.get(page.path, page.path),
                f"https://{polled.host}{page.path}" if page.path.startswith("/") else None,
                page.visitors,
                f"{page.change:+d}".replace("-", "−") if page.change else "0",
                "–" if expected is None else f"{expected:.0f}",
                state,
                sparkline,
            )
        )
    return rows
