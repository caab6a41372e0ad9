"""Visitors come and go: pageviews are taken from the log, and who was not seen is let go."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

LOG = logging.getLogger("marquee.visits")
UPDATE_INTERVAL_SECONDS = 1.0


class VisitorTracker:
    """Keeps the presence up to date."""

    def __init__(
        self,
        refresh: Callable[[], Awaitable[None]],
        follow: Callable[[], Awaitable[bool]],
        sweep: Callable[[], bool],
    ) -> None:
        """`refresh` reads the apps anew; `follow` and `sweep` do a step and say if more is due."""
        self._refresh = refresh
        self._follow = follow
        self._sweep = sweep
        self._told = False

    async def once(self) -> None:
        """Do all that is due, a step at a time."""
        try:
            await self._refresh()
            while await self._follow():
                await asyncio.sleep(0)
            self._told = False
        except Exception as error:
            if not self._told:
                LOG.error("pageviews cannot be read: %s", error)
            self._told = True
        while self._sweep():
            await asyncio.sleep(0)

    async def run(self) -> None:
        """Do so for ever."""
        while True:
            await asyncio.sleep(UPDATE_INTERVAL_SECONDS)
            await self.once()
