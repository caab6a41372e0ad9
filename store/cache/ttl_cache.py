"""A cache with a lifetime per entry, in which concurrent requests for a key share one load."""

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
    """Caches the result of `load` per key for `seconds`; for use on a single event loop."""

    def __init__(
        self,
        load: Callable[[K], Awaitable[V]],
        *,
        size: float,
        seconds: float,
        weigh: Callable[[V], float] = lambda _: 1,
        timer: Callable[[], float] = time.monotonic,
    ) -> None:
        """`size` limits the total weight of the values; a heavier value is not cached.

        Keys without a value (None) are cached separately, so that requests for unknown keys
        cannot displace values.
        """
        self.hits = 0
        self.loads = 0
        self._load = load
        self._size = size
        self._weigh = weigh
        self._values: TTLCache[K, V] = TTLCache(size, seconds, timer, weigh)
        self._absent: TTLCache[K, V] = TTLCache(MAX_ABSENT_KEYS, seconds, timer)
        self._loading: dict[K, asyncio.Task[V]] = {}

    async def get(self, key: K) -> V:
        """Return the value of `key`; concurrent calls wait for the same load.

        All of them get an exception of the load, which is not cached. Cancelling one call does not
        affect the others.
        """
        try:
            return self.peek(key)
        except KeyError:
            return await asyncio.shield(self._loading.get(key) or self._start_load(key))

    def peek(self, key: K) -> V:
        """Return the cached value of `key`; raise `KeyError` if it must be loaded."""
        try:
            value = self._values[key]
        except KeyError:
            value = self._absent[key]
        self.hits += 1
        return value

    def forget(self, key: K) -> None:
        """Drop `key`, so that the next request loads it again, even if a load is in progress."""
        self._values.pop(key, None)
        self._absent.pop(key, None)
        self._loading.pop(key, None)

    def clear(self) -> None:
        """Drop all keys, including loads in progress."""
        self._values.clear()
        self._absent.clear()
        self._loading.clear()

    def _start_load(self, key: K) -> asyncio.Task[V]:
        self.loads += 1
        task = asyncio.ensure_future(self._load(key))
        assert isinstance(task, asyncio.Task)
        self._loading[key] = task
        task.add_done_callback(lambda done_task: self._finish_load(key, done_task))
        return task

    def _finish_load(self, key: K, task: asyncio.Task[V]) -> None:
        current = self._loading.get(key) is task
        if current:
            del self._loading[key]
        # Reading the exception also prevents asyncio's warning if no caller waits any more.
        if task.cancelled() or task.exception() is not None or not current:
            return
        value = task.result()
        if value is None:
            self._absent[key] = value
        elif self._weigh(value) <= self._size:
            self._values[key] = value
