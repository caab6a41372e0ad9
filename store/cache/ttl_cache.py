"""A cache with an end of life for each entry, in which many askers cost one load."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

from cachetools import TTLCache

# Maximum number of cached keys without a value.
MAX_ABSENT_KEYS = 10_000

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class LoadingCache(Generic[K, V]):
    """What `load` gives for a key, kept for `seconds`; to be used on one event loop."""

    def __init__(
        self,
        load: Callable[[K], Awaitable[V]],
        *,
        size: float,
        seconds: float,
        weigh: Callable[[V], float] = lambda _: 1,
        timer: Callable[[], float] = time.monotonic,
    ) -> None:
        """Values together weigh at most `size`; one that is heavier is not kept.

        Keys without a value (None) have a place of their own: strangers can ask for as many as
        they like without displacing a value.
        """
        self.hits = 0
        self.loads = 0
        self._load = load
        self._size = size
        self._weigh = weigh
        self._kept: TTLCache[K, V] = TTLCache(size, seconds, timer, weigh)
        self._absent: TTLCache[K, V] = TTLCache(MAX_ABSENT_KEYS, seconds, timer)
        self._flights: dict[K, asyncio.Task[V]] = {}

    async def get(self, key: K) -> V:
        """The value of `key`; whoever asks while it is being loaded waits for that one load.

        What the load raises is raised to all who wait, and not kept. An asker that is cancelled
        takes nothing from the others.
        """
        try:
            return self.peek(key)
        except KeyError:
            return await asyncio.shield(self._flights.get(key) or self._depart(key))

    def peek(self, key: K) -> V:
        """The value of `key`, if it is kept; raises `KeyError` if it is to be loaded."""
        try:
            value = self._kept[key]
        except KeyError:
            value = self._absent[key]
        self.hits += 1
        return value

    def forget(self, key: K) -> None:
        """Load `key` afresh when it is asked for next, also if a load is under way."""
        self._kept.pop(key, None)
        self._absent.pop(key, None)
        self._flights.pop(key, None)

    def clear(self) -> None:
        """Load everything afresh."""
        self._kept.clear()
        self._absent.clear()
        self._flights.clear()

    def _depart(self, key: K) -> asyncio.Task[V]:
        self.loads += 1
        flight = asyncio.ensure_future(self._load(key))
        assert isinstance(flight, asyncio.Task)
        self._flights[key] = flight
        flight.add_done_callback(lambda landed: self._land(key, landed))
        return flight

    def _land(self, key: K, flight: asyncio.Task[V]) -> None:
        current = self._flights.get(key) is flight
        if current:
            del self._flights[key]
        # Asking for the exception also tells asyncio that it was seen if nobody waits any more.
        if flight.cancelled() or flight.exception() is not None or not current:
            return
        value = flight.result()
        if value is None:
            self._absent[key] = value
        elif self._weigh(value) <= self._size:
            self._kept[key] = value
