"""What is on now and what comes on next: made ahead, switched at the quarter's first moment."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Generic, TypeVar
from zoneinfo import ZoneInfo

from rules.slots import Period, period_at

LOG = logging.getLogger("marquee.rotation")
# How often the clock is looked at: it may be set while we sleep.
LOOK = 1.0

Book = TypeVar("Book")
Programme = TypeVar("Programme")


class Rotation(Generic[Book, Programme]):
    """Holds the programmes of the present and the next slot period over the newest book."""

    def __init__(
        self,
        read: Callable[[], Awaitable[Book]],
        prepare: Callable[[Book, Period], Programme],
        show: Callable[[Programme], None],
        *,
        zone: ZoneInfo,
        clock: Callable[[], datetime],
    ) -> None:
        """`read` gives the newest figures; `prepare`, run off the loop, makes a programme."""
        self._read = read
        self._prepare = prepare
        self._show = show
        self._zone = zone
        self._clock = clock
        self._lock = asyncio.Lock()
        self._book: Book | None = None
        self._on: tuple[Period, Programme] | None = None
        self._next: tuple[Period, Programme] | None = None

    @property
    def ready(self) -> bool:
        """Whether a programme is on."""
        return self._on is not None

    @property
    def book(self) -> Book:
        """The figures that what is on was made of; `LookupError` before the first reload."""
        if self._book is None:
            raise LookupError("no figures have been read yet")
        return self._book

    async def reload(self) -> None:
        """Read the figures anew and show what follows from them; returns when it is on."""
        async with self._lock:
            book = await self._read()
            now = period_at(self._clock(), self._zone)
            programme = await asyncio.to_thread(self._prepare, book, now)
            self._book = book
            self._put_on(now, programme)
            await self._make_next()

    async def once(self) -> float:
        """Switch if the period is over; seconds until it is worth looking again."""
        async with self._lock:
            moment = self._clock()
            if self._on is None or not self._on[0].start <= moment < self._on[0].end:
                await self._switch(moment)
                moment = self._clock()
            assert self._on is not None
            left = (self._on[0].end - moment).total_seconds()
            return max(0.0, min(LOOK, left))

    async def run(self) -> None:
        """Look for ever."""
        while True:
            await asyncio.sleep(await self.once())

    async def _switch(self, moment: datetime) -> None:
        now = period_at(moment, self._zone)
        if self._next is not None and self._next[0] == now:
            self._put_on(*self._next)
        else:  # the clock was set, or the machine slept
            self._put_on(now, await asyncio.to_thread(self._prepare, self.book, now))
        await self._make_next()

    def _put_on(self, period: Period, programme: Programme) -> None:
        self._on = (period, programme)
        self._show(programme)
        LOG.info("slot %d is on until %s", period.slot, period.end.strftime("%H:%M:%SZ"))

    async def _make_next(self) -> None:
        assert self._on is not None
        following = period_at(self._on[0].end, self._zone)
        programme = await asyncio.to_thread(self._prepare, self.book, following)
        self._next = (following, programme)
