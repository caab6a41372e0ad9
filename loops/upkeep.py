"""What is old, or was deleted, goes: a little at a time, and nothing by a clock that is wrong."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence

from loops.whole import whole
from rules.trust import AWAY, PROBATION, UNKNOWN, Trust, judge

LOG = logging.getLogger("marquee.upkeep")
# Seconds between looks, and between steps while there is more to do.
PERIOD, REST = 60.0, 0.02
# How far what is noted may be behind the clock.
NOTED = 3_600.0
# Time that passes, also while the machine sleeps, and that nobody sets.
PASSING = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)

Deed = Callable[[int], Awaitable[bool]]
Note = Callable[[Trust], Awaitable[None]]


async def _no_note(_: Trust) -> None:
    pass


class Upkeep:
    """Has the store let go of things."""

    def __init__(
        self,
        aged: Sequence[Deed],
        others: Sequence[Deed] = (),
        *,
        trust: Trust = UNKNOWN,
        note: Note = _no_note,
        wall: Callable[[], float] = time.time,
        passing: Callable[[], float] = lambda: time.clock_gettime(PASSING),
    ) -> None:
        """Each deed does a step of what is due at a time (µs): is there more of it?

        `aged` are those that go by how old something is. `trust` is what was known of the clock
        before this start; `note` keeps it for the next one.
        """
        self._aged, self._others = aged, others
        self._trust = self._noted = trust
        self._note = note
        self._wall, self._passing = wall, passing
        # By how much the clock may be ahead of the time that passes.
        self._ahead = wall() - passing()
        self._told = ""

    @property
    def doubt(self) -> str:
        """Why nothing goes for its age now; nothing if it does."""
        since = self._trust.doubted
        if not since:
            return ""
        end = time.strftime("%Y-%m-%d %H:%M", time.gmtime(since + PROBATION))
        return (
            f"the clock has leapt ahead, or this had not run for more than {AWAY / 86_400:.0f} "
            f"days: until {end} UTC by that clock nothing goes for its age; set it if it is wrong"
        )

    async def once(self) -> float:
        """Do a step of each; seconds until the next one is due."""
        now = self._wall()
        leapt = now - self._passing() - self._ahead
        self._trust = judge(self._trust, now, leapt)
        doubt = self.doubt
        if doubt or leapt < 0:
            # From here on: another leap is one, and being set back is none.
            self._ahead += leapt
        words, more = doubt, False
        for deed in (*self._others, *(() if doubt else self._aged)):
            try:
                more |= await deed(int(now * 1_000_000))
            except Exception as error:
                words = f"what should go is still there: {error}"
        self._tell(await self._keep() or words)
        return REST if more else PERIOD

    async def run(self) -> None:
        """Go on for ever; a step that has begun is finished also when this is cancelled."""
        while True:
            await asyncio.sleep(await whole(self.once()))

    async def _keep(self) -> str:
        """Note what is known of the clock; what went wrong with that, if anything did."""
        trust, noted = self._trust, self._noted
        if trust.doubted == noted.doubted and abs(trust.believed - noted.believed) < NOTED:
            return ""
        try:
            await self._note(trust)
        except Exception as error:
            return f"what is known of the clock cannot be noted: {error}"
        self._noted = trust
        return ""

    def _tell(self, words: str) -> None:
        if words and words != self._told:
            LOG.error("%s", words)
        self._told = words
