"""Views served, from memory to disk, at least once a second."""

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping

from background.common.uncancellable import run_to_completion

LOG = logging.getLogger("marquee.impressions")
FLUSH_INTERVAL_SECONDS = 0.9

ImpressionKey = tuple[int, int, int]  # slot, campaign, banner


class ImpressionWriter:
    """Writes what has been counted; what could not be written is kept for the next time."""

    def __init__(
        self,
        take: Callable[[], Iterable[tuple[ImpressionKey, int]]],
        add: Callable[[Mapping[ImpressionKey, int]], Awaitable[None]],
    ) -> None:
        """`take` empties the counts, `add` adds them to those on disk."""
        self._take = take
        self._add = add
        self._kept: Counter[ImpressionKey] = Counter()
        self.failing = ""  # why the last write failed, if it did
        self._lock = asyncio.Lock()

    def collect(self) -> None:
        """Take the counts from what is on, before it goes off."""
        for key, count in self._take():
            self._kept[key] += count

    async def once(self) -> None:
        """Write all that was counted, if anything was."""
        async with self._lock:
            self.collect()
            counts, self._kept = self._kept, Counter()
            if not counts:
                return
            try:
                await self._add(counts)
                self.failing = ""
            except Exception as error:
                self._kept.update(counts)
                if not self.failing:
                    LOG.error("cannot flush impressions; retrying: %s", error)
                self.failing = str(error) or type(error).__name__

    async def run(self) -> None:
        """Write for ever; a write that has begun is finished also when this is cancelled."""
        while True:
            await asyncio.sleep(FLUSH_INTERVAL_SECONDS)
            await run_to_completion(self.once())
