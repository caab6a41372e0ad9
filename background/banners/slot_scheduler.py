"""Prepares the plan of the next slot ahead and activates it when the slot begins."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Generic, TypeVar
from zoneinfo import ZoneInfo

from domain.banners.slots import SlotPeriod, period_at

LOG = logging.getLogger("marquee.rotation")
# Seconds between checks of the clock, which may be set meanwhile.
CHECK_INTERVAL_SECONDS = 1.0
# Time between refreshes of stats that change without an import.
STATS_REFRESH_INTERVAL = timedelta(seconds=30)

StatsT = TypeVar("StatsT")
PlanT = TypeVar("PlanT")


class SlotScheduler(Generic[StatsT, PlanT]):
    """Holds the plans of the current and the next slot, based on the latest stats."""

    def __init__(
        self,
        read: Callable[[], Awaitable[StatsT]],
        prepare: Callable[[StatsT, SlotPeriod, PlanT | None], PlanT],
        show: Callable[[PlanT], None],
        *,
        zone: ZoneInfo,
        clock: Callable[[], datetime],
        renew: Callable[[StatsT], Awaitable[StatsT]] | None = None,
    ) -> None:
        """`read` returns the latest stats; `prepare` builds a plan, in a thread.

        `prepare` may reuse unchanged parts of the previous plan. `show` activates a plan. `renew`
        returns refreshed stats, or the same object if nothing has changed.
        """
        self._read = read
        self._prepare = prepare
        self._show = show
        self._zone = zone
        self._clock = clock
        self._renew = renew
        self._renewed: datetime | None = None  # None: refresh at the next check
        self._failing = False
        self._lock = asyncio.Lock()
        self._stats: StatsT | None = None
        self._current: tuple[SlotPeriod, PlanT] | None = None
        self._next: tuple[SlotPeriod, PlanT] | None = None

    @property
    def ready(self) -> bool:
        """Whether a plan is active."""
        return self._current is not None

    @property
    def book(self) -> StatsT:
        """The stats of the active plan; `LookupError` before the first reload."""
        if self._stats is None:
            raise LookupError("no figures have been read yet")
        return self._stats

    async def reload(self) -> None:
        """Read the stats again; return when a plan based on them is active."""
        async with self._lock:
            self._renewed = self._clock()
            stats = await self._read()
            await self._apply(stats)

    async def once(self) -> float:
        """Switch slots and refresh stats if due; return the seconds until the next check."""
        async with self._lock:
            now = self._clock()
            if self._current is None or not self._current[0].start <= now < self._current[0].end:
                await self._switch(now)
            elif self._renew is not None and self._is_refresh_due(now):
                await self._refresh(self._renew, now)
            assert self._current is not None
            left = (self._current[0].end - self._clock()).total_seconds()
            return max(0.0, min(CHECK_INTERVAL_SECONDS, left))

    async def run(self) -> None:
        """Check the clock until cancelled."""
        while True:
            await asyncio.sleep(await self.once())

    async def _switch(self, now: datetime) -> None:
        period = period_at(now, self._zone)
        if self._next is not None and self._next[0] == period:
            self._activate(*self._next)
        else:  # the clock was set, or the machine was suspended
            self._activate(period, await self._build_plan(self.book, period, None))
        self._renewed = None
        await self._prepare_next()

    def _is_refresh_due(self, now: datetime) -> bool:
        since = self._renewed
        return since is None or not since <= now < since + STATS_REFRESH_INTERVAL

    async def _refresh(self, renew: Callable[[StatsT], Awaitable[StatsT]], now: datetime) -> None:
        self._renewed = now
        try:
            stats = await renew(self.book)
            self._failing = False
        except Exception as error:
            # The active plan stays correct for the previous stats.
            if not self._failing:
                LOG.error("figures are not renewed: %s", error)
            self._failing = True
            return
        if stats is not self._stats:
            await self._apply(stats)

    async def _apply(self, stats: StatsT) -> None:
        """Activate a plan based on these stats, and prepare the next one."""
        period = period_at(self._clock(), self._zone)
        previous = None if self._current is None else self._current[1]
        plan = await self._build_plan(stats, period, previous)
        self._stats = stats
        self._activate(period, plan)
        await self._prepare_next()

    async def _build_plan(self, stats: StatsT, period: SlotPeriod, previous: PlanT | None) -> PlanT:
        return await asyncio.to_thread(self._prepare, stats, period, previous)

    def _activate(self, period: SlotPeriod, plan: PlanT) -> None:
        if self._current is None or self._current[0] != period:
            LOG.info("slot %d is on until %s", period.slot, period.end.strftime("%H:%M:%SZ"))
        self._current = (period, plan)
        self._show(plan)

    async def _prepare_next(self) -> None:
        assert self._current is not None
        next_period = period_at(self._current[0].end, self._zone)
        previous = None if self._next is None else self._next[1]
        plan = await self._build_plan(self.book, next_period, previous)
        self._next = (next_period, plan)
