"""Plays an audience, a second at a time."""

import asyncio
from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

BeaconT = TypeVar("BeaconT")


class TrafficPlayer(Generic[BeaconT]):
    """Has what an audience sends taken as if it had been sent."""

    def __init__(
        self, step: Callable[[], Iterable[BeaconT]], take: Callable[[BeaconT], object]
    ) -> None:
        """`step` gives what is sent in the next second."""
        self._step = step
        self._take = take

    def once(self) -> None:
        """The next second."""
        for sign in self._step():
            self._take(sign)

    async def run(self) -> None:
        """Play for ever."""
        while True:
            self.once()
            await asyncio.sleep(1)
