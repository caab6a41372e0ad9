"""Polls the top pages of hosts every few seconds while clients request them.

Polling of a (key, host) begins with its first request. At most one reading of each is in progress;
concurrent requests wait for it or use the last one. A host without requests is read once an hour,
so that its history continues.
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
# Random share of the interval by which readings vary, so that hosts are not read all at once.
READ_INTERVAL_JITTER = 0.1
# Minimum seconds between a failed reading and the next one.
REUSE_READING_SECONDS = 3.0
# Seconds without a request until a host is idle, and seconds between readings of an idle host.
IDLE_AFTER_SECONDS, IDLE_INTERVAL_SECONDS = 600.0, 3_600.0
# Maximum number of polled pairs of key and host.
MAX_POLLED_HOSTS = 200
# A reading is stale after this many intervals; the next one then has no gains.
STALE_AFTER_INTERVALS = 3.0
CHECK_INTERVAL_SECONDS = 1.0
# Seconds over which a minute's requests are spread, a margin below the source's limit.
UPSTREAM_MINUTE_SECONDS = 65.0
# The oldest keys of a host, whose share of the limit new keys cannot reduce.
PROTECTED_KEYS_PER_HOST = 4
# Maximum characters of a key, which is sent to the upstream in a header field.
MAX_KEY_LENGTH = 1_000
# Maximum number of cached refusals (pairs of key and host).
MAX_CACHED_REFUSALS = 4_096
# Maximum number of results computed from a reading that are cached.
MAX_CACHED_RESULTS = 256

HostKey = tuple[str, str]


class ReadingSource(Protocol):
    """A source of readings, limited per minute: `a_minute` for a host, `in_all` for all hosts.

    A refusal of a key or host is cached for `refusals_kept` seconds.
    """

    name: str
    a_minute: int | None
    in_all: int | None
    refusals_kept: float

    async def read(self, key: str, host: str) -> TopPagesReading:
        """Return a reading; raise `StoreRefused` for an unknown key or host."""


class PolledHost:
    """A host for one key. Times are seconds of the poller's monotonic clock, except `as_of`."""

    def __init__(self, key: str, host: str, now: float) -> None:
        self.key = key
        self.host = host
        self.history = VisitorHistory()
        self.reading: TopPagesReading | None = None
        self.gains: list[tuple[int, str]] = []  # since the previous reading
        self.number = 0  # rises with each reading, and when it becomes stale
        self.readings = 0
        self.as_of = 0.0  # time of the last reading, in seconds since 1970
        self.read_at = 0.0
        self.asked = now
        self.due = now
        self.began = -inf  # start of the last reading
        self.resumed = False  # was polled before a restart
        self.lived = False  # has had a visitor
        self.stale = False
        self.error: StoreError | None = None
        self.other_days: SeasonalBaseline = NO_SEASONAL_BASELINE
        self.flight: asyncio.Task[None] | None = None
        self.next = asyncio.Event()  # set and replaced with each event
        self.gone = False
        # Results of the last reading; `ready` is an encoded response, valid until `ready_until`.
        self.made: dict[Any, Any] = {}
        self.windows: set[int] = set()  # windows (minutes) requested since the last reading
        self.ready: Any = None
        self.ready_until = 0.0

    def rising(self, window: int, limit: int, threshold: float) -> list[PageTrend]:
        """Return `VisitorHistory.rising` for a window in minutes; computed once per reading."""
        name = ("rising", window, limit, threshold)
        trends: list[PageTrend] | None = self.made.get(name)
        if trends is None:
            trends = self.history.rising(
                window, limit=limit, other_days=self.other_days, threshold=threshold
            )
            self.keep(name, trends)
        return trends

    def keep(self, name: Any, result: Any) -> None:
        """Cache a result under `name` until the next reading."""
        if len(self.made) >= MAX_CACHED_RESULTS:
            self.made.clear()
        self.made[name] = result


class HostPoller:
    """Polls hosts on one event loop."""

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
        """`keep` stores a completed minute; `remember` returns the seasonal baseline of a host."""
        self.period = period
        self.readings = 0
        self.failures = 0
        self._source = source
        self._keep = keep
        self._remember = remember
        self._most = most
        self._clock, self._wall, self._random_float = clock, wall, chance
        self._hosts: dict[HostKey, PolledHost] = {}
        self._refused: TTLCache[HostKey, str] = TTLCache(
            MAX_CACHED_REFUSALS, source.refusals_kept, clock
        )
        self._retry_seconds = min(REUSE_READING_SECONDS, period * 0.6)
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def watches(self) -> Collection[PolledHost]:
        """All polled hosts."""
        return self._hosts.values()

    def stale(self, polled: PolledHost) -> bool:
        """Return whether the last reading is older than `STALE_AFTER_INTERVALS` intervals."""
        return self._clock() - polled.read_at > STALE_AFTER_INTERVALS * self.period

    def age(self, polled: PolledHost) -> float:
        """Return the seconds since the last reading."""
        return self._clock() - polled.read_at

    def resume(self, keys: Iterable[HostKey]) -> None:
        """Poll the hosts of the previous run, as idle hosts until they are requested."""
        now = self._clock()
        for key, host in keys:
            if len(self._hosts) < self._most:
                polled = self._hosts[key, host] = PolledHost(key, host, now - IDLE_AFTER_SECONDS)
                polled.due = now + self._random_float() * IDLE_INTERVAL_SECONDS
                polled.resumed = polled.lived = True

    def look(self, key: str, host: str) -> PolledHost | None:
        """Return a polled host with a usable reading, else None; counts as a request."""
        polled = self._hosts.get((key, host))
        if polled is None or polled.reading is None:
            return None
        self._mark_requested(polled)
        # A stale reading is used only while newer ones fail.
        return polled if polled.error is not None or not self.stale(polled) else None

    async def ask(self, key: str, host: str) -> PolledHost:
        """Return a polled host with a reading; the first request waits for it.

        Raises `StoreRefused` for an unknown key or host, `UpstreamUnavailable` without any
        reading, `StoreBusy` if too many hosts are polled.
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
        polled = self._hosts.get((key, host)) or self._add_host(key, host)
        self._mark_requested(polled)
        # After a failure the next reading starts when it is due, whatever the number of requests.
        first = polled.reading is None and polled.error is None
        if polled.flight is None and (first or polled.due <= polled.asked):
            self._start_reading(polled)
        if polled.flight is not None:
            await asyncio.shield(polled.flight)
        if polled.reading is None:
            raise polled.error or UpstreamUnavailable("there is no reading yet", self.period)
        return polled

    def once(self) -> float:
        """Start all readings that are due; return the seconds until the next check."""
        now = self._clock()
        next_check = now + CHECK_INTERVAL_SECONDS
        for polled in list(self._hosts.values()):
            if not polled.stale and polled.reading is not None and self.stale(polled):
                polled.stale = True
                self._notify(polled)
            # A host without any reading may be invalid: it is read only on request.
            if polled.flight is None and (polled.reading is not None or polled.resumed):
                if polled.due <= now:
                    # The host may have more keys now than when `due` was computed.
                    interval = self._interval(polled, now)
                    polled.due = polled.began + (1 - READ_INTERVAL_JITTER) * interval
                if polled.due <= now:
                    self._start_reading(polled)
                else:
                    next_check = min(next_check, polled.due)
        return max(0.01, next_check - now)

    async def run(self) -> None:
        """Poll until cancelled."""
        while True:
            await asyncio.sleep(self.once())

    async def close(self) -> None:
        """Cancel the readings in progress and store the incomplete minutes."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for polled in self._hosts.values():
            if (
                polled.reading is not None
                and polled.lived
                and (totals := polled.history.finish()) is not None
            ):
                await self._keep_minute(polled, totals, polled.reading.titles)

    def _mark_requested(self, polled: PolledHost) -> None:
        now = self._clock()
        if now - polled.asked > IDLE_AFTER_SECONDS and polled.error is None:
            polled.due = min(polled.due, polled.read_at + self.period)
        polled.asked = now

    def _add_host(self, key: str, host: str) -> PolledHost:
        now = self._clock()
        if len(self._hosts) >= self._most:
            # An invalid host has no reading, or one without pages; it never displaces a valid
            # host that is being requested.
            victim = min(
                (each for each in self._hosts.values() if each.flight is None),
                key=lambda each: (each.lived, each.reading is not None, each.asked),
                default=None,
            )
            if victim is None or (victim.lived and now - victim.asked < IDLE_AFTER_SECONDS):
                raise StoreBusy("so many hosts are watched that there is no room for another")
            self._remove(victim)
        polled = self._hosts[key, host] = PolledHost(key, host, now)
        return polled

    def _remove(self, polled: PolledHost) -> None:
        self._hosts.pop((polled.key, polled.host), None)
        polled.gone = True
        # Requests in progress may still refer to the host; its history takes megabytes.
        polled.history, polled.other_days = VisitorHistory(), NO_SEASONAL_BASELINE
        self._notify(polled)

    def _start_reading(self, polled: PolledHost) -> None:
        polled.flight = self._spawn(self._read(polled))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _read(self, polled: PolledHost) -> None:
        began = polled.began = self._clock()
        polled.due = began + self._jittered(self._interval(polled, began))
        try:
            reading = await self._source.read(polled.key, polled.host)
            self.readings += 1
            self._take(polled, reading)
        except StoreRefused as error:
            polled.error = error
            polled.reading = None
            self._refused[polled.key, polled.host] = str(error)
            self._remove(polled)
        except StoreError as error:
            self.failures += 1
            polled.error = error
            if isinstance(error, UpstreamUnavailable) and error.wait:
                polled.due = max(began + self._retry_seconds, self._clock() + error.wait)
        except Exception as error:
            self.failures += 1
            LOG.exception("a reading failed")
            polled.error = StoreError(f"the reading failed: {error}")
        finally:
            polled.flight = None

    def _take(self, polled: PolledHost, reading: TopPagesReading) -> None:
        now = self._clock()
        before = polled.reading
        if before is None or now - polled.read_at > STALE_AFTER_INTERVALS * self.period:
            polled.gains = []
        else:
            polled.gains = visitor_gains(before.visitors, reading.visitors)
        polled.reading = reading
        polled.error = None
        polled.stale = False
        polled.lived = polled.lived or bool(reading.visitors)
        polled.readings += 1
        polled.as_of, polled.read_at = self._wall(), now
        totals = polled.history.add(reading.visitors, polled.as_of)
        # Hosts that never had a visitor are not stored.
        if totals is not None and polled.lived:
            self._spawn(self._keep_minute(polled, totals, reading.titles))
        self._notify(polled)

    def _notify(self, polled: PolledHost) -> None:
        """Drop the cached results and wake the listeners."""
        polled.number += 1
        polled.ready_until = 0.0
        polled.made.clear()
        polled.windows.clear()
        event, polled.next = polled.next, asyncio.Event()
        event.set()

    async def _keep_minute(
        self, polled: PolledHost, totals: MinuteTotals, titles: Mapping[str, str]
    ) -> None:
        named = {path: titles[path] for path in totals.sums if path in titles}
        try:
            await self._keep((polled.key, polled.host), totals, named)
            if totals.minute % 5 == 0 or polled.other_days is NO_SEASONAL_BASELINE:
                polled.other_days = await self._remember((polled.key, polled.host))
        except StoreError as error:
            LOG.warning("minute averages of %s were not kept: %s", polled.host, error)

    def _interval(self, polled: PolledHost, now: float) -> float:
        """Return the seconds between readings of a host."""
        if now - polled.asked > IDLE_AFTER_SECONDS:
            return IDLE_INTERVAL_SECONDS
        interval = self.period
        if self._source.a_minute is not None and self._source.in_all is not None:
            # Hosts without any reading may be invalid, and are read only on request.
            active = [
                each
                for each in self._hosts.values()
                if each.reading is not None and now - each.asked <= IDLE_AFTER_SECONDS
            ]
            same_host = [each for each in active if each.host == polled.host]
            if polled not in same_host:  # its first reading is in progress
                same_host.append(polled)
            interval = max(
                self._key_interval(same_host.index(polled), len(same_host)),
                interval,
                UPSTREAM_MINUTE_SECONDS / self._source.in_all * len(active),
            )
        return interval

    def _jittered(self, seconds: float) -> float:
        return seconds * (1 + READ_INTERVAL_JITTER * (2 * self._random_float() - 1))

    def _key_interval(self, rank: int, keys: int) -> float:
        """Return the seconds between readings for one of a host's `keys`; rank 0 is the oldest.

        The oldest keys keep their interval; all newer keys share the rest of the limit.
        """
        assert self._source.a_minute is not None
        oldest = min(keys, PROTECTED_KEYS_PER_HOST)
        share = self._source.a_minute / (1 if keys <= PROTECTED_KEYS_PER_HOST else 2)
        interval = max(self.period, UPSTREAM_MINUTE_SECONDS / share * oldest)
        if rank < PROTECTED_KEYS_PER_HOST:
            return interval
        return (
            UPSTREAM_MINUTE_SECONDS
            / (self._source.a_minute - UPSTREAM_MINUTE_SECONDS / interval * oldest)
            * (keys - oldest)
        )
