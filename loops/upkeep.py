"""What is old, or was deleted, goes: a little at a time, and nothing by a clock that is wrong."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from time import monotonic, time

from loops.whole import whole

LOG = logging.getLogger("marquee.upkeep")
# Seconds between looks, and between steps while there is more to do.
PERIOD, REST = 60.0, 0.02
# A clock that went so much further than time did since the start (seconds) is not believed: what
# it says is old may be of today.
LEAP = 3_600.0
# Nor is one that says at the start that so long has passed since it was believed last, until it
# has gone on for so long: a machine may start with a wrong clock, or have been away.
AWAY, PROBATION = 30 * 86_400.0, 86_400.0
# How far that is written down behind the clock.
NOTED = 3_600.0

Deed = Callable[[int], Awaitable[bool]]
Note = Callable[[float], Awaitable[None]]


async def _no_note(_: float) -> None:
    pass


class Upkeep:
    """Has the store let go of things."""

    def __init__(
        self,
        aged: Sequence[Deed],
        others: Sequence[Deed] = (),
        *,
        believed: float = 0.0,
        note: Note = _no_note,
        wall: Callable[[], float] = time,
        steady: Callable[[], float] = monotonic,
    ) -> None:
        """Each deed does a step of what is due at a time (µs): is there more of it?

        `aged` are those that go by how old something is. `believed` is the latest time (seconds
        since 1970) that was believed before this start, 0 for none; `note` keeps such a time.
        """
        self._aged, self._others = aged, others
        self._believed, self._note = believed, note
        self._wall, self._steady = wall, steady
        self._began = steady()
        self._started = wall() - steady()
        self._told = ""

    @property
    def doubt(self) -> str:
        """Why nothing goes for its age now; nothing if it does."""
        now, steady = self._wall(), self._steady()
        if now - steady - self._started > LEAP:
            return "the clock has leapt ahead: nothing goes for its age until a restart"
        away = now - self._believed
        if self._believed and away > AWAY and steady - self._began < PROBATION:
            return (
                f"the clock says that more than {AWAY / 86_400:.0f} days had passed since this ran "
                f"last: nothing goes for its age in its first {PROBATION / 3_600:.0f} hours; set "
                "the clock if that is wrong"
            )
        return ""

    async def once(self) -> float:
        """Do a step of each; seconds until the next one is due."""
        now, doubt = self._wall(), self.doubt
        words, more = doubt, False
        for deed in (*self._others, *(() if doubt else self._aged)):
            try:
                more |= await deed(int(now * 1_000_000))
            except Exception as error:
                words = f"what should go is still there: {error}"
        if not doubt:
            words = await self._believe(now) or words
        self._tell(words)
        return REST if more else PERIOD

    async def run(self) -> None:
        """Go on for ever; a step that has begun is finished also when this is cancelled."""
        while True:
            await asyncio.sleep(await whole(self.once()))

    async def _believe(self, now: float) -> str:
        """Note the time; what went wrong with that, if anything did."""
        if abs(now - self._believed) < NOTED:
            return ""
        try:
            await self._note(now)
        except Exception as error:
            return f"the time cannot be noted: {error}"
        self._believed = now
        return ""

    def _tell(self, words: str) -> None:
        if words and words != self._told:
            LOG.error("%s", words)
        self._told = words
