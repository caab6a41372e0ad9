"""Reads each watched host every few seconds, as long as someone asks for it.

A host is watched by (key, host) from the first time that someone asks. One reading of each is on
its way at a time, and whoever asks meanwhile waits for it, or is given the last one. A host that
nobody has asked for in a while is read once an hour, so that its history goes on.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Coroutine, Iterable, Mapping
from math import inf
from random import random
from time import monotonic, time
from typing import Any, Protocol

from cachetools import TTLCache

from domain.audience.seasonal_baseline import NO_SEASONAL_BASELINE, SeasonalBaseline
from domain.audience.toppages_format import TopPagesReading
from domain.audience.trend_score import visitor_gains
from domain.audience.visitor_history import MinuteTotals, PageTrend, VisitorHistory
from domain.common.hosts import canonical_host
from store.api.errors import StoreBusy, StoreError, StoreRefused, UpstreamUnavailable

LOG = logging.getLogger("marquee.sampler")

READ_INTERVAL_SECONDS = 5.0
# Readings are spread by so much of a period, so that hosts do not keep step.
READ_INTERVAL_JITTER = 0.1
# A reading is as good as a new one for so many seconds.
REUSE_READING_SECONDS = 3.0
# After so many seconds without a question, a host is read once in so many.
IDLE_AFTER_SECONDS, IDLE_INTERVAL_SECONDS = 600.0, 3_600.0
# Hosts that are watched at a time.
MAX_POLLED_HOSTS = 200
# A reading that is this many periods old is stale, and none to take a difference to.
STALE_AFTER_INTERVALS = 3.0
CHECK_INTERVAL_SECONDS = 1.0
# Seconds in which a source's requests of a minute are sent: a margin below its limit.
UPSTREAM_MINUTE_SECONDS = 65.0
# Keys of a host that keep their share when new keys come.
PROTECTED_KEYS_PER_HOST = 4
# Maximum characters of a key, which is sent to the upstream in a header field.
MAX_KEY_LENGTH = 1_000
# Maximum number of cached refusals (pairs of key and host).
MAX_CACHED_REFUSALS = 4_096
# Things made of a reading that are kept.
MAX_CACHED_RESULTS = 256

HostKey = tuple[str, str]


class ReadingSource(Protocol):
    """A source of readings; `a_minute` limits them for each host, `in_all` for all hosts.

    A refusal of a key or host is cached for `refusals_kept` seconds.
    """

    name: str
    a_minute: int | None
    in_all: int | None
    refusals_kept: float

    async def read(self, key: str, host: str) -> TopPagesReading:
        """A reading; raises `StoreRefused` for an unknown key or host, `StoreAway` for none."""


class PolledHost:
    """A host that is watched. Moments are of the sampler's clock, in seconds."""

    def __init__(self, key: str, host: str, now: float) -> None:
        self.key = key
        self.host = host
        self.history = VisitorHistory()
        self.reading: TopPagesReading | None = None
        self.gains: list[tuple[int, str]] = []  # since the reading before
        self.number = 0  # rises with each reading, and when the last one becomes stale
        self.readings = 0
        self.as_of = 0.0  # when the last was made, in seconds since 1970
        self.read_at = 0.0
        self.asked = now
        self.due = now
        self.began = -inf  # the last question
        self.resumed = False  # from before a restart
        self.lived = False  # someone was on one of its pages
        self.stale = False
        self.error: StoreError | None = None
        self.other_days: SeasonalBaseline = NO_SEASONAL_BASELINE
        self.flight: asyncio.Task[None] | None = None
        self.next = asyncio.Event()  # set, and replaced, when there is a new reading
        self.gone = False
        # What has been made of this reading; what is ready to be sent as it is, and until when.
        self.made: dict[Any, Any] = {}
        self.windows: set[int] = set()  # windows in minutes that were requested since
        self.ready: Any = None
        self.ready_until = 0.0

    def rising(self, window: int, limit: int, threshold: float) -> list[PageTrend]:
        """The pages, as `History.rising` has them; made once for each reading."""
        asked = ("rising", window, limit, threshold)
        found: list[PageTrend] | None = self.made.get(asked)
        if found is None:
            found = self.history.rising(
                window, limit=limit, other_days=self.other_days, threshold=threshold
            )
            self.keep(asked, found)
        return found

    def keep(self, name: Any, made: Any) -> None:
        """Keep what was made of this reading, as long as there is no newer one."""
        if len(self.made) >= MAX_CACHED_RESULTS:
            self.made.clear()
        self.made[name] = made


class HostPoller:
    """Watches hosts; to be used on one event loop."""

    def __init__(
        self,
        source: ReadingSource,
        keep: Callable[[HostKey, MinuteTotals, dict[str, str]], Awaitable[None]],
        remember: Callable[[HostKey], Awaitable[SeasonalBaseline]],
        *,
        period: float = READ_INTERVAL_SECONDS,
        most: int = MAX_POLLED_HOSTS,
        clock: Callable[[], float] = monotonic,
        wall: Callable[[], float] = time,
        chance: Callable[[], float] = random,
    ) -> None:
        """`keep` writes a minute that is over, `remember` reads what other days say."""
        self.period = period
        self.readings = 0
        self.failures = 0
        self._source = source
        self._keep = keep
        self._remember = remember
        self._most = most
        self._clock, self._wall, self._chance = clock, wall, chance
        self._watches: dict[HostKey, PolledHost] = {}
        self._refused: TTLCache[HostKey, str] = TTLCache(
            MAX_CACHED_REFUSALS, source.refusals_kept, clock
        )
        self._shared = min(REUSE_READING_SECONDS, period * 0.6)
        self._work: set[asyncio.Task[None]] = set()

    @property
    def watches(self) -> Collection[PolledHost]:
        """All that is watched."""
        return self._watches.values()

    def stale(self, watch: PolledHost) -> bool:
        """Whether the last reading is older than it should be."""
        return self._clock() - watch.read_at > STALE_AFTER_INTERVALS * self.period

    def age(self, watch: PolledHost) -> float:
        """Seconds since the last reading."""
        return self._clock() - watch.read_at

    def resume(self, keys: Iterable[HostKey]) -> None:
        """Watch what was watched before a restart; rarely, until someone asks."""
        now = self._clock()
        for key, host in keys:
            if len(self._watches) < self._most:
                watch = self._watches[key, host] = PolledHost(key, host, now - IDLE_AFTER_SECONDS)
                watch.due = now + self._chance() * IDLE_INTERVAL_SECONDS
                watch.resumed = watch.lived = True

    def look(self, key: str, host: str) -> PolledHost | None:
        """The watch of a host, if it has a reading to be shown; this is a question."""
        watch = self._watches.get((key, host))
        if watch is None or watch.reading is None:
            return None
        self._asked(watch)
        # One that is stale is shown only if there is no newer one to be had.
        return watch if watch.error is not None or not self.stale(watch) else None

    async def ask(self, key: str, host: str) -> PolledHost:
        """The watch of a host, with a reading; the first question waits for one.

        Raises `StoreRefused` for a key or host that is not known, `StoreAway` if there never was
        a reading and there is none now, `StoreBusy` if too many hosts are watched.
        """
        found = self.look(key, host)
        if found is not None:
            return found
        # Refused before anything is cached: the key may be of any length.
        if not 0 < len(key) <= MAX_KEY_LENGTH or not (key.isascii() and key.isprintable()):
            raise StoreRefused("the key is invalid")
        if canonical_host(host) != host:
            raise StoreRefused("the host is invalid")
        refused = self._refused.get((key, host))
        if refused is not None:
            raise StoreRefused(refused)
        watch = self._watches.get((key, host)) or self._watch(key, host)
        self._asked(watch)
        # After a failure it is tried again when it is due, however many ask.
        first = watch.reading is None and watch.error is None
        if watch.flight is None and (first or watch.due <= watch.asked):
            self._depart(watch)
        if watch.flight is not None:
            await asyncio.shield(watch.flight)
        if watch.reading is None:
            raise watch.error or UpstreamUnavailable("there is no reading yet", self.period)
        return watch

    def once(self) -> float:
        """Begin all readings that are due; seconds until the next is."""
        now = self._clock()
        following = now + CHECK_INTERVAL_SECONDS
        for watch in list(self._watches.values()):
            if not watch.stale and watch.reading is not None and self.stale(watch):
                watch.stale = True
                self._tell(watch)
            # A host without any reading may be invalid: it is read only on request.
            if watch.flight is None and (watch.reading is not None or watch.resumed):
                if watch.due <= now:
                    # The host may have more keys now than when it became due.
                    watch.due = watch.began + (1 - READ_INTERVAL_JITTER) * self._pace(watch, now)
                if watch.due <= now:
                    self._depart(watch)
                else:
                    following = min(following, watch.due)
        return max(0.01, following - now)

    async def run(self) -> None:
        """Read for ever."""
        while True:
            await asyncio.sleep(self.once())

    async def close(self) -> None:
        """Let go of what is on its way, and keep the minutes that are not over."""
        for task in self._work:
            task.cancel()
        await asyncio.gather(*self._work, return_exceptions=True)
        for watch in self._watches.values():
            if (
                watch.reading is not None
                and watch.lived
                and (closed := watch.history.finish()) is not None
            ):
                await self._keep_minute(watch, closed, watch.reading.titles)

    def _asked(self, watch: PolledHost) -> None:
        now = self._clock()
        if now - watch.asked > IDLE_AFTER_SECONDS and watch.error is None:
            watch.due = min(watch.due, watch.read_at + self.period)
        watch.asked = now

    def _watch(self, key: str, host: str) -> PolledHost:
        now = self._clock()
        if len(self._watches) >= self._most:
            # An invalid host has no reading, or one without pages; it never displaces a valid
            # host that is being requested.
            least = min(
                (each for each in self._watches.values() if each.flight is None),
                key=lambda each: (each.lived, each.reading is not None, each.asked),
                default=None,
            )
            if least is None or (least.lived and now - least.asked < IDLE_AFTER_SECONDS):
                raise StoreBusy("so many hosts are watched that there is no room for another")
            self._drop(least)
        watch = self._watches[key, host] = PolledHost(key, host, now)
        return watch

    def _drop(self, watch: PolledHost) -> None:
        self._watches.pop((watch.key, watch.host), None)
        watch.gone = True
        # Others may hold the watch for a while; its columns take megabytes.
        watch.history, watch.other_days = VisitorHistory(), NO_SEASONAL_BASELINE
        self._tell(watch)

    def _depart(self, watch: PolledHost) -> None:
        watch.flight = self._spawn(self._fly(watch))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        task = asyncio.create_task(work)
        self._work.add(task)
        task.add_done_callback(self._work.discard)
        return task

    async def _fly(self, watch: PolledHost) -> None:
        began = watch.began = self._clock()
        watch.due = began + self._jittered(self._pace(watch, began))
        try:
            reading = await self._source.read(watch.key, watch.host)
            self.readings += 1
            self._take(watch, reading)
        except StoreRefused as error:
            watch.error = error
            watch.reading = None
            self._refused[watch.key, watch.host] = str(error)
            self._drop(watch)
        except StoreError as error:
            self.failures += 1
            watch.error = error
            if isinstance(error, UpstreamUnavailable) and error.wait:
                watch.due = max(began + self._shared, self._clock() + error.wait)
        except Exception as error:
            self.failures += 1
            LOG.exception("a reading failed")
            watch.error = StoreError(f"the reading failed: {error}")
        finally:
            watch.flight = None

    def _take(self, watch: PolledHost, reading: TopPagesReading) -> None:
        now = self._clock()
        before = watch.reading
        if before is None or now - watch.read_at > STALE_AFTER_INTERVALS * self.period:
            watch.gains = []
        else:
            watch.gains = visitor_gains(before.visitors, reading.visitors)
        watch.reading = reading
        watch.error = None
        watch.stale = False
        watch.lived = watch.lived or bool(reading.visitors)
        watch.readings += 1
        watch.as_of, watch.read_at = self._wall(), now
        closed = watch.history.add(reading.visitors, watch.as_of)
        # Hosts that never had a visitor are not stored.
        if closed is not None and watch.lived:
            self._spawn(self._keep_minute(watch, closed, reading.titles))
        self._tell(watch)

    def _tell(self, watch: PolledHost) -> None:
        """Drop the cached answers and wake the listeners."""
        watch.number += 1
        watch.ready_until = 0.0
        watch.made.clear()
        watch.windows.clear()
        told, watch.next = watch.next, asyncio.Event()
        told.set()

    async def _keep_minute(
        self, watch: PolledHost, closed: MinuteTotals, titles: Mapping[str, str]
    ) -> None:
        named = {path: titles[path] for path in closed.sums if path in titles}
        try:
            await self._keep((watch.key, watch.host), closed, named)
            if closed.minute % 5 == 0 or watch.other_days is NO_SEASONAL_BASELINE:
                watch.other_days = await self._remember((watch.key, watch.host))
        except StoreError as error:
            LOG.warning("minute averages of %s were not kept: %s", watch.host, error)

    def _pace(self, watch: PolledHost, now: float) -> float:
        """Seconds until the next reading."""
        if now - watch.asked > IDLE_AFTER_SECONDS:
            return IDLE_INTERVAL_SECONDS
        pace = self.period
        if self._source.a_minute is not None and self._source.in_all is not None:
            # Hosts without any reading may be invalid, and are read only on request.
            active = [
                each
                for each in self._watches.values()
                if each.reading is not None and now - each.asked <= IDLE_AFTER_SECONDS
            ]
            here = [each for each in active if each.host == watch.host]
            if watch not in here:  # it has no reading yet
                here.append(watch)
            pace = max(
                self._share(here.index(watch), len(here)),
                pace,
                UPSTREAM_MINUTE_SECONDS / self._source.in_all * len(active),
            )
        return pace

    def _jittered(self, seconds: float) -> float:
        return seconds * (1 + READ_INTERVAL_JITTER * (2 * self._chance() - 1))

    def _share(self, place: int, keys: int) -> float:
        """Return the seconds between readings of one of a host's `keys`, in order of their age.

        The oldest keep their pace however many come after them, who share the rest.
        """
        assert self._source.a_minute is not None
        oldest = min(keys, PROTECTED_KEYS_PER_HOST)
        share = self._source.a_minute / (1 if keys <= PROTECTED_KEYS_PER_HOST else 2)
        pace = max(self.period, UPSTREAM_MINUTE_SECONDS / share * oldest)
        if place < PROTECTED_KEYS_PER_HOST:
            return pace
        return (
            UPSTREAM_MINUTE_SECONDS
            / (self._source.a_minute - UPSTREAM_MINUTE_SECONDS / pace * oldest)
            * (keys - oldest)
        )
