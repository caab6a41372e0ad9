"""What the log took in goes on to the views, a little later and in steps as large as is due."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from time import perf_counter

from background.common.uncancellable import run_to_completion

LOG = logging.getLogger("marquee.folding")
# Seconds between looks; what came meanwhile makes one step, as a step has a cost of its own.
UPDATE_INTERVAL_SECONDS = 0.5
# After a step, acknowledging has the machine to itself for this part of the time that it took.
REST_RATIO = 0.5
# A step that is full while more waits for the disk than one commit takes is one in a burst: the
# machine is the senders' then, but for a tenth, and the views have all of it a little afterwards.
# What goes on for longer (seconds) is no burst, and the views are to follow.
BURST_REST_RATIO, MAX_BURST_SECONDS = 9.0, 15.0
# More than comes in a period, unless it is such a burst.
MAX_EVENTS_PER_STEP = 40_000


class ProjectionWorker:
    """Has the views follow the log."""

    def __init__(
        self,
        step: Callable[[int], Awaitable[int]],
        most: int = MAX_EVENTS_PER_STEP,
        crowded: Callable[[], bool] = lambda: False,
        mend: Callable[[float], Awaitable[object]] | None = None,
    ) -> None:
        """`step` folds up to so many events and says how many there were.

        `crowded` says whether more events wait to be acknowledged than one commit takes. `mend`
        makes the views anew if they are harmed, with a rest after each step of that.
        """
        self._step = step
        self._mend = mend
        self._crowded = crowded
        self._most = most
        self._since: float | None = None  # when steps began to be full
        self.failing = ""  # why the last step failed, if it did

    async def once(self) -> float:
        """Fold what came, up to the most of a step; seconds until the next one is due."""
        began = perf_counter()
        try:
            count = await self._step(self._most)
            self.failing = ""
        except Exception as error:
            # Events are taken all the same; once it can be written, all of them are folded.
            if not self.failing:
                LOG.error("projection update failed: %s", error)
            self.failing = str(error) or type(error).__name__
            return UPDATE_INTERVAL_SECONDS
        now = perf_counter()
        took = now - began
        if count < self._most:
            self._since = None
            return max(REST_RATIO * took, UPDATE_INTERVAL_SECONDS - took)
        if self._since is None:
            self._since = began
        burst = self._crowded() and now - self._since < MAX_BURST_SECONDS
        return (BURST_REST_RATIO if burst else REST_RATIO) * took

    async def run(self) -> None:
        """Fold for ever; a step that has begun is finished also when this is cancelled."""
        while True:
            if self._mend is not None:
                await self._mend(REST_RATIO)
            await asyncio.sleep(await run_to_completion(self.once()))
