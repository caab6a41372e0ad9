"""The live page of a host: which pages rise, as they rise.

The page comes whole from here, so that it reads well without scripts; with them, its list is
replaced by what a stream sends, which is the same list, made once for all who look.
"""

from typing import Any, NamedTuple

from handlers.answers import HTML, Pages
from handlers.watching import Audience, Watching, as_of
from loops.sampler import Watch
from rules.history import WINDOW
from rules.sparkline import points

# Pages that are shown, and minutes of each.
SHOWN, MINUTES = 40, 30
WIDE, HIGH = 120, 28


class Row(NamedTuple):
    """A page as it is shown."""

    path: str
    title: str
    link: str | None
    visitors: int
    change: str
    expected: str
    state: str
    line: str  # the points of its last minutes


def routes(audience: Audience, pages: Pages) -> list[Any]:
    """Where these are."""
    parts = {"audience": audience, "pages": pages}
    return [
        (r"/live/([^/]{1,260})", Live, parts),
        (r"/live/([^/]{1,260})/stream", Fragments, parts),
    ]


class Live(Watching):
    """`GET /live/{host}?apikey=`."""

    def initialize(self, audience: Audience, pages: Pages) -> None:  # type: ignore[override]
        """`pages` makes HTML."""
        super().initialize(audience)
        self._pages = pages

    async def get(self, host: str) -> None:
        """The page."""
        watch = await self.watched(host)
        self.set_header(*HTML)
        self.finish(
            self._pages.html(
                "live.html", host=watch.host, key=watch.key, shown=self.fragment(watch).decode()
            )
        )

    def fragment(self, watch: Watch) -> bytes:
        """The list, as a part of the page."""
        made: bytes | None = watch.made.get("fragment")
        if made is None:
            sampler = self.audience.sampler
            made = self._pages.html(
                "rising.html",
                rows=rows(watch, self.audience.threshold),
                visitors=0 if watch.reading is None else sum(watch.reading.visitors.values()),
                as_of=as_of(watch),
                stale=sampler.stale(watch),
                window=WINDOW // 60,
                wide=WIDE,
                high=HIGH,
            )
            watch.keep("fragment", made)
        return made


class Fragments(Live):
    """`GET /live/{host}/stream?apikey=`: the list with each reading, as server-sent events."""

    async def get(self, host: str) -> None:
        """The stream."""
        watch = await self.watched(host)
        await self.stream("live", watch, lambda: self.fragment(watch), reserved=True)


def rows(watch: Watch, threshold: float) -> list[Row]:
    """The pages that are shown."""
    titles = {} if watch.reading is None else watch.reading.titles
    shown = []
    for page in watch.rising(WINDOW, SHOWN, threshold):
        expected, _, state = page.judged
        line = points(watch.history.series(page.path, MINUTES), WIDE - 4, HIGH - 4)
        shown.append(
            Row(
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
