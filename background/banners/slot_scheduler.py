"""What is on now and what comes on next: made ahead, switched at the quarter's first moment."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Generic, TypeVar
from zoneinfo import ZoneInfo

from domain.banners.slots import SlotPeriod, period_at

LOG = logging.getLogger("marquee.rotation")
# How often the clock is looked at: it may be set while we sleep.
CHECK_INTERVAL_SECONDS = 1.0
# How often figures that change by themselves are taken in.
STATS_REFRESH_INTERVAL = timedelta(seconds=30)

StatsT = TypeVar("StatsT")
PlanT = TypeVar("PlanT")


class SlotScheduler(Generic[StatsT, PlanT]):
    """Holds the programmes of the present and the next slot period over the newest book."""

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
        """`read` gives the newest figures; `prepare`, run off the loop, makes a programme.

        It may take from the programme that was made before what is still right. `renew` gives
        figures with what changed in them by itself; the same object if nothing did.
        """
        self._read = read
        self._prepare = prepare
        self._show = show
        self._zone = zone
        self._clock = clock
        self._renew = renew
        self._renewed: datetime | None = None  # None: do it at the next look
        self._told = False
        self._lock = asyncio.Lock()
        self._book: StatsT | None = None
        self._on: tuple[SlotPeriod, PlanT] | None = None
        self._next: tuple[SlotPeriod, PlanT] | None = None

    @property
    def ready(self) -> bool:
        """Whether a programme is on."""
        return self._on is not None

    @property
    def book(self) -> StatsT:
        """The figures that what is on was made of; `LookupError` before the first reload."""
        if self._book is None:
            raise LookupError("no figures have been read yet")
        return self._book

    async def reload(self) -> None:
        """Read the figures anew and show what follows from them; returns when it is on."""
        async with self._lock:
            self._renewed = self._clock()
            book = await self._read()
            await self._take(book)

    async def once(self) -> float:
        """Switch if the period is over, take in what changed; seconds until the next look."""
        async with self._lock:
            moment = self._clock()
            if self._on is None or not self._on[0].start <= moment < self._on[0].end:
                await self._switch(moment)
            elif self._renew is not None and self._due(moment):
                await self._follow(self._renew, moment)
            assert self._on is not None
            left = (self._on[0].end - self._clock()).total_seconds()
            return max(0.0, min(CHECK_INTERVAL_SECONDS, left))

    async def run(self) -> None:
        """Look for ever."""
        while True:
            await asyncio.sleep(await self.once())

    async def _switch(self, moment: datetime) -> None:
        now = period_at(moment, self._zone)
        if self._next is not None and self._next[0] == now:
            self._put_on(*self._next)
        else:  # the clock was set, or the machine slept
            self._put_on(now, await self._made(self.book, now, None))
        self._renewed = None
        await self._make_next()

    def _due(self, moment: datetime) -> bool:
        since = self._renewed
        return since is None or not since <= moment < since + STATS_REFRESH_INTERVAL

    async def _follow(self, renew: Callable[[StatsT], Awaitable[StatsT]], moment: datetime) -> None:
        self._renewed = moment
        try:
            book = await renew(self.book)
            self._told = False
        except Exception as error:
            # What is on stays right by the figures that there are.
            if not self._told:
                LOG.error("figures are not renewed: %s", error)
            self._told = True
            return
        if book is not self._book:
            await self._take(book)

    async def _take(self, book: StatsT) -> None:
        """Show what follows from these figures, and make ready what comes next."""
        now = period_at(self._clock(), self._zone)
        before = None if self._on is None else self._on[1]
        programme = await self._made(book, now, before)
        self._book = book
        self._put_on(now, programme)
        await self._make_next()

    async def _made(self, book: StatsT, period: SlotPeriod, before: PlanT | None) -> PlanT:
        return await asyncio.to_thread(self._prepare, book, period, before)

    def _put_on(self, period: SlotPeriod, programme: PlanT) -> None:
        if self._on is None or self._on[0] != period:
            LOG.info("slot %d is on until %s", period.slot, period.end.strftime("%H:%M:%SZ"))
        self._on = (period, programme)
        self._show(programme)

    async def _make_next(self) -> None:
        assert self._on is not None
        following = period_at(self._on[0].end, self._zone)
        before = None if self._next is None else self._next[1]
        programme = await self._made(self.book, following, before)
        self._next = (following, programme)
