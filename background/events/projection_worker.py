"""Updates the projections from the event log, in steps of bounded size."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from time import perf_counter

from background.common.uncancellable import run_to_completion

LOG = logging.getLogger("marquee.folding")
# Seconds between steps; a step has a fixed cost, so it processes all events that came meanwhile.
UPDATE_INTERVAL_SECONDS = 0.5
# Pause after a step, as a multiple of its duration: commits of new events take precedence.
REST_RATIO = 0.5
# During a burst (full steps while more events wait than one commit takes) the projections use a
# tenth of the time and catch up afterwards. Load for more than MAX_BURST_SECONDS is not a burst:
# the projections then keep up.
BURST_REST_RATIO, MAX_BURST_SECONDS = 9.0, 15.0
# More events than arrive between two steps, except during a burst.
MAX_EVENTS_PER_STEP = 40_000


class ProjectionWorker:
    """Runs the steps of the projections; `failing` is the error of the last step, or empty."""

    def __init__(
        self,
        step: Callable[[int], Awaitable[int]],
        most: int = MAX_EVENTS_PER_STEP,
        crowded: Callable[[], bool] = lambda: False,
        mend: Callable[[float], Awaitable[object]] | None = None,
    ) -> None:
        """`step` processes at most the given number of events and returns how many there were.

        `most` is the maximum per step. `crowded` returns whether more events wait for the disk
        than one commit takes. `mend` rebuilds damaged projections, with pauses at the given ratio.
        """
        self._step = step
        self._rebuild = mend
        self._is_crowded = crowded
        self._max_events = most
        self._full_since: float | None = None  # start of the first of consecutive full steps
        self.failing = ""

    async def once(self) -> float:
        """Run a step; return the seconds until the next one."""
        started = perf_counter()
        try:
            count = await self._step(self._max_events)
            self.failing = ""
        except Exception as error:
            # The log still accepts events; the next successful steps process all of them.
            if not self.failing:
                LOG.error("projection update failed: %s", error)
            self.failing = str(error) or type(error).__name__
            return UPDATE_INTERVAL_SECONDS
        now = perf_counter()
        duration = now - started
        if count < self._max_events:
            self._full_since = None
            return max(REST_RATIO * duration, UPDATE_INTERVAL_SECONDS - duration)
        if self._full_since is None:
            self._full_since = started
        burst = self._is_crowded() and now - self._full_since < MAX_BURST_SECONDS
        return (BURST_REST_RATIO if burst else REST_RATIO) * duration

    async def run(self) -> None:
        """Run steps until cancelled; a step in progress still completes."""
        while True:
            if self._rebuild is not None:
                await self._rebuild(REST_RATIO)
            await asyncio.sleep(await run_to_completion(self.once()))
