"""What is old, or was deleted, goes: a little at a time."""

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


class Upkeep:
    """Has the store let go of things."""

    def __init__(
        self,
        deeds: Sequence[Callable[[int], Awaitable[bool]]],
        wall: Callable[[], float] = time,
        steady: Callable[[], float] = monotonic,
    ) -> None:
        """Each of the `deeds` does a step of what is due at a time (µs): is there more of it?"""
        self._deeds = deeds
        self._wall, self._steady = wall, steady
        self._started = wall() - steady()
        self._told = ""

    async def once(self) -> float:
        """Do a step of each; seconds until the next one is due."""
        now = self._wall()
        if now - self._steady() - self._started > LEAP:
            self._tell("the clock has leapt ahead: nothing goes for its age until a restart")
            return PERIOD
        more, words = False, ""
        for deed in self._deeds:
            try:
                more |= await deed(int(now * 1_000_000))
            except Exception as error:
                words = f"what should go is still there: {error}"
        self._tell(words)
        return REST if more else PERIOD

    async def run(self) -> None:
        """Go on for ever; a step that has begun is finished also when this is cancelled."""
        while True:
            await asyncio.sleep(await whole(self.once()))

    def _tell(self, words: str) -> None:
        if words and words != self._told:
            LOG.error("%s", words)
        self._told = words
