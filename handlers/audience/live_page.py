"""The live page of a host: which pages rise, as they rise.

The page comes whole from here, so that it reads well without scripts; with them, its list is
replaced by what a stream sends, which is the same list, made once for all who look.
"""

from typing import NamedTuple

from background.audience.host_poller import PolledHost
from domain.admin.sparkline import sparkline_points
from domain.audience.visitor_history import DEFAULT_WINDOW_SECONDS
from handlers.common.audience_base import AudienceContext, PolledHostHandler, reading_timestamp
from handlers.common.responses import HTML_CONTENT_TYPE, PageTemplates
from handlers.common.route import Route

# Pages that are shown, and minutes of each.
MAX_LIVE_PAGES, SPARKLINE_MINUTES = 40, 30
SPARKLINE_WIDTH, SPARKLINE_HEIGHT = 120, 28


class LivePageRow(NamedTuple):
    """A page as it is shown."""

    path: str
    title: str
    link: str | None
    visitors: int
    change: str
    expected: str
    state: str
    line: str  # the points of its last minutes


def routes(audience: AudienceContext, pages: PageTemplates) -> list[Route]:
    """Where these are."""
    parts = {"audience": audience, "pages": pages}
    return [
        Route(r"/live/([^/]{1,260})", LivePageHandler, parts, "live page"),
        Route(r"/live/([^/]{1,260})/stream", LivePageStreamHandler, parts, "live page stream"),
    ]


class LivePageHandler(PolledHostHandler):
    """`GET /live/{host}?apikey=`."""

    def initialize(self, audience: AudienceContext, pages: PageTemplates) -> None:  # type: ignore[override]
        """`pages` makes HTML."""
        super().initialize(audience)
        self._pages = pages

    async def get(self, host: str) -> None:
        """The page."""
        watch = await self.polled_host(host)
        self.set_header(*HTML_CONTENT_TYPE)
        self.finish(
            self._pages.render(
                "live.html", host=watch.host, key=watch.key, shown=self.fragment(watch).decode()
            )
        )

    def fragment(self, watch: PolledHost) -> bytes:
        """The list, as a part of the page."""
        made: bytes | None = watch.made.get("fragment")
        if made is None:
            sampler = self.audience.poller
            made = self._pages.render(
                "rising.html",
                rows=live_page_rows(watch, self.audience.threshold),
                visitors=0 if watch.reading is None else sum(watch.reading.visitors.values()),
                as_of=reading_timestamp(watch),
                stale=sampler.stale(watch),
                window=DEFAULT_WINDOW_SECONDS // 60,
                wide=SPARKLINE_WIDTH,
                high=SPARKLINE_HEIGHT,
            )
            watch.keep("fragment", made)
        return made


class LivePageStreamHandler(LivePageHandler):
    """`GET /live/{host}/stream?apikey=`: the list with each reading, as server-sent events."""

    async def get(self, host: str) -> None:
        """The stream."""
        watch = await self.polled_host(host)
        await self.send_stream("live", watch, lambda: self.fragment(watch), reserved=True)


def live_page_rows(watch: PolledHost, threshold: float) -> list[LivePageRow]:
    """The pages that are shown."""
    titles = {} if watch.reading is None else watch.reading.titles
    shown = []
    for page in watch.rising(DEFAULT_WINDOW_SECONDS, MAX_LIVE_PAGES, threshold):
        expected, _, state = page.judged
        line = sparkline_points(
            watch.history.series(page.path, SPARKLINE_MINUTES),
            SPARKLINE_WIDTH - 4,
            SPARKLINE_HEIGHT - 4,
        )
        shown.append(
            LivePageRow(
                page.path,
                titles.get(page.path, page.path),
                f"https://{watch.host}{page.path}" if page.path.startswith("/") else None,
                page.visitors,
                f"{page.change:+d}".replace("-", "−") if page.change else "0",
                "–" if expected is None else f"{expected:.0f}",
                state,
                line,
            )
        )
    return shown
