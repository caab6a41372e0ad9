"""Keeps active visitors current: adds pageviews of the event log, removes inactive visitors."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

LOG = logging.getLogger("marquee.visits")
UPDATE_INTERVAL_SECONDS = 1.0


class VisitorTracker:
    """Updates the active visitors once a second."""

    def __init__(
        self,
        refresh: Callable[[], Awaitable[None]],
        follow: Callable[[], Awaitable[bool]],
        sweep: Callable[[], bool],
    ) -> None:
        """`refresh` rereads the apps; `follow` and `sweep` return whether more steps are due."""
        self._refresh = refresh
        self._follow = follow
        self._sweep = sweep
        self._failing = False

    async def once(self) -> None:
        """Do all steps that are due; other tasks run between them."""
        try:
            await self._refresh()
            while await self._follow():
                await asyncio.sleep(0)
            self._failing = False
        except Exception as error:
            if not self._failing:
                LOG.error("pageviews cannot be read: %s", error)
            self._failing = True
        while self._sweep():
            await asyncio.sleep(0)

    async def run(self) -> None:
        """Update until cancelled."""
        while True:
            await asyncio.sleep(UPDATE_INTERVAL_SECONDS)
            await self.once()
