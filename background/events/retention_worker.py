"""Deletes expired and erased data in small steps; a doubtful clock pauses what depends on age."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from time import monotonic, time

from background.common.uncancellable import run_to_completion
from domain.common.clock_state import (
    CLOCK_PROBATION_SECONDS,
    MAX_TRUSTED_GAP_SECONDS,
    UNKNOWN_CLOCK,
    ClockState,
    next_clock_state,
)

LOG = logging.getLogger("marquee.upkeep")
# Seconds between checks, and between steps while more data is due.
CHECK_INTERVAL_SECONDS, STEP_PAUSE_SECONDS = 60.0, 0.02
# The stored clock state may be this many seconds behind the current one.
CLOCK_RECORD_SECONDS = 600.0
CLOCK_WARNING = (
    f"the clock says that more than {MAX_TRUSTED_GAP_SECONDS / 3_600:.0f} hours have passed in "
    "which this did not run: nothing goes for its age until it has run for "
    f"{CLOCK_PROBATION_SECONDS / 3_600:.0f} hours; set the "
    "clock if that is wrong"
)

RetentionTask = Callable[[int], Awaitable[bool]]
ClockStateWriter = Callable[[ClockState], Awaitable[None]]


async def _discard_clock_state(_: ClockState) -> None:
    pass


class RetentionWorker:
    """Runs the retention tasks; `doubt` says why tasks by age are paused, `failing` what failed."""

    def __init__(
        self,
        aged: Sequence[RetentionTask],
        others: Sequence[RetentionTask] = (),
        *,
        trust: ClockState = UNKNOWN_CLOCK,
        note: ClockStateWriter = _discard_clock_state,
        wall: Callable[[], float] = time,
        steady: Callable[[], float] = monotonic,
    ) -> None:
        """Each task deletes a batch that is due at a time (µs) and returns whether more is due.

        The tasks in `aged` delete by age, so they need a trusted clock. `trust` is the clock state
        stored by the previous run; `note` stores it for the next one.
        """
        self._aged, self._others = aged, others
        self._trust = self._stored_trust = trust
        self._note = note
        self._wall, self._steady = wall, steady
        self._checked_at = steady()
        self.doubt = ""
        self.failing = ""
        self._logged = ""

    async def once(self) -> float:
        """Run a step of each task; return the seconds until the next one."""
        now, steady = self._wall(), self._steady()
        self._trust = next_clock_state(self._trust, now, steady - self._checked_at)
        self._checked_at = steady
        self.doubt = "" if self._trust.believed == now else CLOCK_WARNING
        errors, more = [], False
        for task in (*self._others, *(() if self.doubt else self._aged)):
            try:
                more |= await task(int(now * 1_000_000))
            except Exception as error:
                errors.append(f"retention failed: {error}")
        errors.append(await self._store_clock_state())
        self.failing = "; ".join(filter(None, errors))
        self._log_once("; ".join(filter(None, (self.doubt, self.failing))))
        return STEP_PAUSE_SECONDS if more else CHECK_INTERVAL_SECONDS

    async def run(self) -> None:
        """Run steps until cancelled; a step in progress still completes."""
        while True:
            await asyncio.sleep(await run_to_completion(self.once()))

    async def _store_clock_state(self) -> str:
        """Store the clock state if it has changed enough; return the error, or an empty string."""
        changes = zip(self._trust, self._stored_trust, strict=True)
        if all(abs(new - old) < CLOCK_RECORD_SECONDS for new, old in changes):
            return ""
        try:
            await self._note(self._trust)
        except Exception as error:
            return f"what is known of the clock cannot be noted: {error}"
        self._stored_trust = self._trust
        return ""

    def _log_once(self, message: str) -> None:
        if message and message != self._logged:
            LOG.error("%s", message)
        self._logged = message
