"""Writes the counted impressions from memory to disk, about once a second."""

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping

from background.common.uncancellable import run_to_completion

LOG = logging.getLogger("marquee.impressions")
FLUSH_INTERVAL_SECONDS = 0.9

ImpressionKey = tuple[int, int, int]  # slot, campaign, banner


class ImpressionWriter:
    """Writes impressions; after a failed write it retries, and `failing` is the error."""

    def __init__(
        self,
        take: Callable[[], Iterable[tuple[ImpressionKey, int]]],
        add: Callable[[Mapping[ImpressionKey, int]], Awaitable[None]],
    ) -> None:
        """`take` returns and resets the counts in memory; `add` adds counts to those on disk."""
        self._take = take
        self._add = add
        self._pending: Counter[ImpressionKey] = Counter()
        self.failing = ""
        self._lock = asyncio.Lock()

    def collect(self) -> None:
        """Collect the counts of the active slot plan; called before another one replaces it."""
        for key, count in self._take():
            self._pending[key] += count

    async def once(self) -> None:
        """Write all collected counts, if there are any."""
        async with self._lock:
            self.collect()
            counts, self._pending = self._pending, Counter()
            if not counts:
                return
            try:
                await self._add(counts)
                self.failing = ""
            except Exception as error:
                self._pending.update(counts)
                if not self.failing:
                    LOG.error("cannot flush impressions; retrying: %s", error)
                self.failing = str(error) or type(error).__name__

    async def run(self) -> None:
        """Write until cancelled; a write in progress still completes."""
        while True:
            await asyncio.sleep(FLUSH_INTERVAL_SECONDS)
            await run_to_completion(self.once())
