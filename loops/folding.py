"""What the log took in goes on to the views, a little later and in steps as large as is due."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from time import perf_counter

LOG = logging.getLogger("marquee.folding")
# Seconds between looks; what came meanwhile makes one step, as a step has a cost of its own.
PERIOD = 0.5
# After a step, acknowledging has the machine to itself for this part of the time that it took.
REST = 0.5
MOST = 20_000


class Folding:
    """Has the views follow the log."""

    def __init__(self, step: Callable[[int], Awaitable[int]], most: int = MOST) -> None:
        """`step` folds up to so many events and says how many there were."""
        self._step = step
        self._most = most
        self._told = False

    async def once(self) -> float:
        """Fold what came, up to the most of a step; seconds until the next one is due."""
        began = perf_counter()
        try:
            count = await self._step(self._most)
            self._told = False
        except Exception as error:
            # Events are taken all the same; once it can be written, all of them are folded.
            if not self._told:
                LOG.error("the views do not follow the log: %s", error)
            self._told = True
            return PERIOD
        took = perf_counter() - began
        rest = REST * took
        return rest if count >= self._most else max(rest, PERIOD - took)

    async def run(self) -> None:
        """Fold for ever; a step that has begun is finished also when this is cancelled."""
        while True:
            await asyncio.sleep(await asyncio.shield(self.once()))
