"""How the pages of a host do: which gain and lose, since when, and as it happens."""

from collections.abc import Iterator
from time import time

import msgspec
from cachetools import LRUCache

from background.audience.host_poller import PolledHost
from domain.audience.visitor_history import DEFAULT_WINDOW_SECONDS, MINUTE_SECONDS
from domain.common.timestamp import MICROS_PER_SECOND
from handlers.common.audience_base import (
    DEFAULT_RISING_LIMIT,
    MAX_RISING_LIMIT,
    AudienceContext,
    PolledHostHandler,
    reading_timestamp,
)
from handlers.common.base_handler import ApiError
from handlers.common.route import Route
from httpserver import MemoryBudget
from store.sqlite.audience.audience_history import AudienceHistory

HOST_PATTERN = r"([^/]{1,260})"
# Seconds of history that are told if nothing else is asked for, and at most.
DEFAULT_HISTORY_SECONDS, MAX_HISTORY_SECONDS = 3 * 3600, 32 * 86_400
# Windows other than the default that are computed for each reading of a host.
MAX_EXTRA_WINDOWS = 8
# History responses cached until the next reading, and the maximum bytes of one of them.
MAX_CACHED_HISTORIES, MAX_CACHED_HISTORY_BYTES = 256, 65_536
# Requests for histories that may wait; a client address may hold as many as stay free.
MAX_WAITING_HISTORIES = 32


# (number of the reading, response) by (watch, path, first minute, last minute).
HistoryCache = LRUCache[tuple[PolledHost, str, int, int], tuple[int, bytes]]


def routes(audience: AudienceContext, kept: AudienceHistory) -> list[Route]:
    """Where these are."""
    made: HistoryCache = LRUCache(MAX_CACHED_HISTORIES)
    base = r"/api/v1/audience/" + HOST_PATTERN
    parts = {"audience": audience}
    return [
        Route(base + "/rising", RisingPagesHandler, parts, "rising pages"),
        Route(
            base + "/history",
            PageHistoryHandler,
            {"kept": kept, "made": made, "places": MemoryBudget(MAX_WAITING_HISTORIES), **parts},
            "page history",
        ),
        Route(base + "/stream", RisingStreamHandler, parts, "rising pages stream"),
    ]


def ceil_minutes(window: int) -> int:
    """Return a window of seconds in minutes, rounded up."""
    return -(-window // MINUTE_SECONDS)


class RisingPageResult(msgspec.Struct):
    """A page as it is answered."""

    path: str
    title: str
    visitors: int
    change: int
    rate: float
    expected: float | None
    score: float
    state: str


class RawRisingResponse(msgspec.Struct):
    """All that is answered."""

    host: str
    window: int
    as_of: str
    age: float
    stale: bool
    pages: msgspec.Raw


class RisingPagesHandler(PolledHostHandler):
    """`GET /api/v1/audience/{host}/rising`."""

    async def get(self, host: str) -> None:
        """The pages: what gains, most surprising first; what loses; then the largest."""
        window, limit = self.window_argument(), self.limit_argument()
        watch = await self.polled_host(host)
        self.admit(watch, window)
        self.set_header("Content-Type", "application/json")
        self.finish(self.told(watch, window, limit))

    def admit(self, watch: PolledHost, window: int) -> None:
        """Raise 429 if too many windows were requested since the last reading.

        Each costs some milliseconds, and anyone may ask; the default window is always answered.
        """
        minutes = ceil_minutes(window)
        if minutes == ceil_minutes(DEFAULT_WINDOW_SECONDS) or minutes in watch.windows:
            return
        if len(watch.windows) >= MAX_EXTRA_WINDOWS:
            period = max(1, round(self.audience.poller.period))
            raise ApiError(
                429,
                f"Too many different windows of this host. Use {DEFAULT_WINDOW_SECONDS}, the "
                "default, or try again.",
                headers=[("Retry-After", str(period))],
            )
        watch.windows.add(minutes)

    def told(self, watch: PolledHost, window: int, limit: int) -> bytes:
        """The list as JSON."""
        sampler = self.audience.poller
        age = max(0.0, round(sampler.age(watch), 1))
        pages = self._pages(watch, window, limit)
        return msgspec.json.encode(
            RawRisingResponse(
                watch.host, window, reading_timestamp(watch), age, sampler.stale(watch), pages
            )
        )

    def _pages(self, watch: PolledHost, window: int, limit: int) -> msgspec.Raw:
        # Computed once for each reading, window in minutes (the resolution of the history) and
        # one of two lengths, whatever the limit is.
        most = DEFAULT_RISING_LIMIT if limit <= DEFAULT_RISING_LIMIT else MAX_RISING_LIMIT
        name = ("pages", ceil_minutes(window), most)
        made: list[bytes] | None = watch.made.get(name)
        if made is None:
            made = [msgspec.json.encode(row) for row in self._rows(watch, window, most)]
            watch.keep(name, made)
        return msgspec.Raw(b"[%b]" % b",".join(made[:limit]))

    def _rows(self, watch: PolledHost, window: int, most: int) -> Iterator[RisingPageResult]:
        titles = {} if watch.reading is None else watch.reading.titles
        seconds = ceil_minutes(window) * MINUTE_SECONDS
        for page in watch.rising(seconds, most, self.audience.threshold):
            expected, score, state = page.judged
            yield RisingPageResult(
                page.path,
                titles.get(page.path, page.path),
                page.visitors,
                page.change,
                page.rate,
                None if expected is None else round(expected, 1),
                round(score, 2),
                state,
            )


class RisingStreamHandler(RisingPagesHandler):
    """`GET /api/v1/audience/{host}/stream`."""

    async def get(self, host: str) -> None:
        """The same list with each reading, as server-sent events."""
        window, limit = self.window_argument(), self.limit_argument()
        watch = await self.polled_host(host)
        self.admit(watch, window)
        await self.send_stream(
            (window, limit),
            watch,
            lambda: self.told(watch, window, limit),
            reserved=(window, limit) == (DEFAULT_WINDOW_SECONDS, DEFAULT_RISING_LIMIT),
        )


class PageHistoryHandler(PolledHostHandler):
    """`GET /api/v1/audience/{host}/history?path=&from=&to=`."""

    def initialize(  # type: ignore[override]
        self,
        audience: AudienceContext,
        kept: AudienceHistory,
        made: HistoryCache,
        places: MemoryBudget,
    ) -> None:
        """`kept` has the stored minutes, `made` the cached responses of the latest reading.

        Requests for others wait in the `places`.
        """
        super().initialize(audience)
        self._places = places
        self._kept = kept
        self._made = made

    async def get(self, host: str) -> None:
        """A page's average visitors in each minute that was read."""
        path = self.text_argument("path")
        if not path:
            raise self.argument_error("path", "is missing")
        end = self.time_argument("to")
        end = round(time() * MICROS_PER_SECOND) if end is None else end
        begin = self.time_argument("from")
        begin = end - DEFAULT_HISTORY_SECONDS * MICROS_PER_SECOND if begin is None else begin
        if end - begin > MAX_HISTORY_SECONDS * MICROS_PER_SECOND:
            raise self.argument_error(
                "from", f"is more than {MAX_HISTORY_SECONDS // 86_400} days before `to`"
            )
        watch = await self.polled_host(host)
        minute = MINUTE_SECONDS * MICROS_PER_SECOND
        first, last = -(-begin // minute), -(-end // minute)
        asked, number = (watch, path, first, last), watch.number
        made = self._made.get(asked)
        if made is None or made[0] != number:
            found = await self._found(watch, path, first, last)
            answer = {"host": watch.host, "path": path, "minutes": msgspec.Raw(found)}
            made = number, msgspec.json.encode(answer)
            if len(made[1]) <= MAX_CACHED_HISTORY_BYTES:
                self._made[asked] = made
        self.set_header("Content-Type", "application/json")
        self.finish(made[1])

    async def _found(self, watch: PolledHost, path: str, first: int, last: int) -> bytes:
        """Return the minutes as JSON; 503 if there is no place among those that wait for theirs."""
        with self.reserve(self._places, "Too many histories are being read now"):
            return await self._kept.history((watch.key, watch.host), path, first, last)
