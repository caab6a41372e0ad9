"""`/api/v1/audience/{host}/`: rising pages, their stream, and the history of a page."""

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
# Default and maximum span of a page history.
DEFAULT_HISTORY_SECONDS, MAX_HISTORY_SECONDS = 3 * 3600, 32 * 86_400
# Windows other than the default that are computed for each reading of a host.
MAX_EXTRA_WINDOWS = 8
# History responses cached until the next reading, and the maximum bytes of one of them.
MAX_CACHED_HISTORIES, MAX_CACHED_HISTORY_BYTES = 256, 65_536
# Waiting history requests; a client address may hold at most as many as stay free.
MAX_WAITING_HISTORIES = 32


# (number of the reading, response) by (host, path, first minute, last minute).
HistoryCache = LRUCache[tuple[PolledHost, str, int, int], tuple[int, bytes]]


def routes(audience: AudienceContext, history_store: AudienceHistory) -> list[Route]:
    """Return the Tornado routes."""
    history_cache: HistoryCache = LRUCache(MAX_CACHED_HISTORIES)
    base = r"/api/v1/audience/" + HOST_PATTERN
    arguments = {"audience": audience}
    return [
        Route(base + "/rising", RisingPagesHandler, arguments, "rising pages"),
        Route(
            base + "/history",
            PageHistoryHandler,
            {
                "history_store": history_store,
                "history_cache": history_cache,
                "waiting_budget": MemoryBudget(MAX_WAITING_HISTORIES),
                **arguments,
            },
            "page history",
        ),
        Route(base + "/stream", RisingStreamHandler, arguments, "rising pages stream"),
    ]


def ceil_minutes(window: int) -> int:
    """Convert a window from seconds to minutes, rounded up."""
    return -(-window // MINUTE_SECONDS)


class RisingPageResult(msgspec.Struct):
    """A page of the response; `rate` and `score` are its trend."""

    path: str
    title: str
    visitors: int
    change: int
    rate: float
    expected: float | None
    score: float
    state: str


class RawRisingResponse(msgspec.Struct):
    """The response, with its pages already encoded."""

    host: str
    window: int
    as_of: str
    age: float
    stale: bool
    pages: msgspec.Raw


class RisingPagesHandler(PolledHostHandler):
    """`GET /api/v1/audience/{host}/rising`."""

    async def get(self, host: str) -> None:
        """Send the pages: gaining by trend score, then losing, then by visitors."""
        window, limit = self.window_argument(), self.limit_argument()
        polled = await self.polled_host(host)
        self.limit_windows(polled, window)
        self.set_header("Content-Type", "application/json")
        self.finish(self.encode_response(polled, window, limit))

    def limit_windows(self, polled: PolledHost, window: int) -> None:
        """Raise 429 if too many windows were requested since the last reading.

        Each window costs a few milliseconds, and requests are public. The default window always
        works.
        """
        minutes = ceil_minutes(window)
        if minutes == ceil_minutes(DEFAULT_WINDOW_SECONDS) or minutes in polled.windows:
            return
        if len(polled.windows) >= MAX_EXTRA_WINDOWS:
            period = max(1, round(self.audience.poller.period))
            raise ApiError(
                429,
                f"Too many different windows of this host. Use the default, "
                f"{DEFAULT_WINDOW_SECONDS}, or try again later.",
                headers=[("Retry-After", str(period))],
            )
        polled.windows.add(minutes)

    def encode_response(self, polled: PolledHost, window: int, limit: int) -> bytes:
        """Return the response of the latest reading as JSON."""
        poller = self.audience.poller
        age = max(0.0, round(poller.age(polled), 1))
        pages = self._encoded_pages(polled, window, limit)
        return msgspec.json.encode(
            RawRisingResponse(
                polled.host, window, reading_timestamp(polled), age, poller.stale(polled), pages
            )
        )

    def _encoded_pages(self, polled: PolledHost, window: int, limit: int) -> msgspec.Raw:
        # Cached by reading, window in minutes (the resolution of the history) and one of two
        # lengths, so that different limits share the work.
        length = DEFAULT_RISING_LIMIT if limit <= DEFAULT_RISING_LIMIT else MAX_RISING_LIMIT
        key = ("pages", ceil_minutes(window), length)
        pages: list[bytes] | None = polled.made.get(key)
        if pages is None:
            pages = [msgspec.json.encode(row) for row in self._rows(polled, window, length)]
            polled.keep(key, pages)
        return msgspec.Raw(b"[%b]" % b",".join(pages[:limit]))

    def _rows(self, polled: PolledHost, window: int, length: int) -> Iterator[RisingPageResult]:
        titles = {} if polled.reading is None else polled.reading.titles
        seconds = ceil_minutes(window) * MINUTE_SECONDS
        for page in polled.rising(seconds, length, self.audience.threshold):
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
        """Send the response of `rising` after each reading as server-sent events."""
        window, limit = self.window_argument(), self.limit_argument()
        polled = await self.polled_host(host)
        self.limit_windows(polled, window)
        await self.send_stream(
            (window, limit),
            polled,
            lambda: self.encode_response(polled, window, limit),
            reserved=(window, limit) == (DEFAULT_WINDOW_SECONDS, DEFAULT_RISING_LIMIT),
        )


class PageHistoryHandler(PolledHostHandler):
    """`GET /api/v1/audience/{host}/history?path=&from=&to=`."""

    def initialize(  # type: ignore[override]
        self,
        audience: AudienceContext,
        history_store: AudienceHistory,
        history_cache: HistoryCache,
        waiting_budget: MemoryBudget,
    ) -> None:
        """Set the dependencies; `waiting_budget` limits the requests that wait for the store."""
        super().initialize(audience)
        self._history_store = history_store
        self._history_cache = history_cache
        self._waiting_budget = waiting_budget

    async def get(self, host: str) -> None:
        """Send the average visitors of a page by minute; minutes without a reading are left out."""
        path = self.text_argument("path")
        if not path:
            raise self.argument_error("path", "is missing")
        end = self.time_argument("to")
        end = round(time() * MICROS_PER_SECOND) if end is None else end
        begin = self.time_argument("from")
        begin = end - DEFAULT_HISTORY_SECONDS * MICROS_PER_SECOND if begin is None else begin
        if end - begin > MAX_HISTORY_SECONDS * MICROS_PER_SECOND:
            raise self.argument_error(
                "from", f"must be at most {MAX_HISTORY_SECONDS // 86_400} days before `to`"
            )
        polled = await self.polled_host(host)
        minute = MINUTE_SECONDS * MICROS_PER_SECOND
        first, last = -(-begin // minute), -(-end // minute)
        key, number = (polled, path, first, last), polled.number
        cached = self._history_cache.get(key)
        if cached is None or cached[0] != number:
            minutes = await self._read_minutes(polled, path, first, last)
            members = {"host": polled.host, "path": path, "minutes": msgspec.Raw(minutes)}
            cached = number, msgspec.json.encode(members)
            if len(cached[1]) <= MAX_CACHED_HISTORY_BYTES:
                self._history_cache[key] = cached
        self.set_header("Content-Type", "application/json")
        self.finish(cached[1])

    async def _read_minutes(self, polled: PolledHost, path: str, first: int, last: int) -> bytes:
        """Return the minutes as JSON; raise 503 if too many requests wait."""
        with self.reserve(self._waiting_budget, "Too many requests wait for page histories"):
            return await self._history_store.history((polled.key, polled.host), path, first, last)
