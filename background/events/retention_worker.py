"""What is old, or was deleted, goes: a little at a time, and nothing by a clock that is wrong."""

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
# Seconds between looks, and between steps while there is more to do.
CHECK_INTERVAL_SECONDS, STEP_PAUSE_SECONDS = 60.0, 0.02
# How far what is noted of the clock may be behind it.
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
    """Has the store let go of things."""

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
        """Each deed does a step of what is due at a time (µs): is there more of it?

        `aged` are those that go by how old something is. `trust` is what was known of the clock
        before this start; `note` keeps it for the next one.
        """
        self._aged, self._others = aged, others
        self._trust = self._noted = trust
        self._note = note
        self._wall, self._steady = wall, steady
        self._looked = steady()
        self.doubt = ""  # why nothing goes for its age now, if it does not
        self.failing = ""  # what went wrong in the last step, if anything did
        self._told = ""

    async def once(self) -> float:
        """Do a step of each; seconds until the next one is due."""
        now, steady = self._wall(), self._steady()
        self._trust = next_clock_state(self._trust, now, steady - self._looked)
        self._looked = steady
        self.doubt = "" if self._trust.believed == now else CLOCK_WARNING
        words, more = [], False
        for deed in (*self._others, *(() if self.doubt else self._aged)):
            try:
                more |= await deed(int(now * 1_000_000))
            except Exception as error:
                words.append(f"retention failed: {error}")
        words.append(await self._keep())
        self.failing = "; ".join(filter(None, words))
        self._tell("; ".join(filter(None, (self.doubt, self.failing))))
        return STEP_PAUSE_SECONDS if more else CHECK_INTERVAL_SECONDS

    async def run(self) -> None:
        """Go on for ever; a step that has begun is finished also when this is cancelled."""
        while True:
            await asyncio.sleep(await run_to_completion(self.once()))

    async def _keep(self) -> str:
        """Note what is known of the clock; what went wrong with that, if anything did."""
        changes = zip(self._trust, self._noted, strict=True)
        if all(abs(new - old) < CLOCK_RECORD_SECONDS for new, old in changes):
            return ""
        try:
            await self._note(self._trust)
        except Exception as error:
            return f"what is known of the clock cannot be noted: {error}"
        self._noted = self._trust
        return ""

    def _tell(self, words: str) -> None:
        if words and words != self._told:
            LOG.error("%s", words)
        self._told = words
