"""Fair scheduling of connections by client address, within short turns of the event loop.

Turns must stay short, because fast routes and commit acknowledgements wait until a turn ends.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from time import monotonic
from typing import Generic, TypeVar

from httpserver.memory_budget import client_network

T = TypeVar("T")

# Time per turn for input beyond the first request or body slice of a connection.
_READ_SECONDS_PER_TURN = 0.004
# Application requests started per turn: a handler may block the loop for milliseconds.
_STARTS_PER_TURN = 4


class FairQueue(Generic[T]):
    """A queue that serves client addresses in rotation, however many items each has."""

    __slots__ = ("_items",)

    def __init__(self) -> None:
        self._items: dict[str, deque[T]] = {}

    def __bool__(self) -> bool:
        return bool(self._items)

    def add(self, address: str, item: T) -> None:
        """Append an item of the client at `address`."""
        self._items.setdefault(client_network(address), deque()).append(item)

    def pop(self) -> T:
        """Remove the oldest item of the client whose turn it is."""
        address = next(iter(self._items))
        items = self._items.pop(address)
        item = items.popleft()
        if items:
            self._items[address] = items
        return item


class FairScheduler:
    """Limits the work of each turn, and queues the rest for later turns."""

    __slots__ = (
        "_is_scheduled",
        "_loop",
        "_read_deadline",
        "_read_queue",
        "_start_queue",
        "_starts_left",
    )

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._is_scheduled = False
        self._starts_left = _STARTS_PER_TURN
        self._read_deadline = 0.0  # 0 until the first `is_read_time_spent` of a turn
        self._start_queue: FairQueue[asyncio.Future[None]] = FairQueue()
        self._read_queue: FairQueue[Callable[[], None]] = FairQueue()

    def wait_to_start(self, address: str) -> "asyncio.Future[None] | None":
        """Return None if an application request of the client at `address` may start now.

        Otherwise return a future that is done when it may.
        """
        if self._starts_left and not self._start_queue:
            self._starts_left -= 1
            self._schedule()
            return None
        future = self._loop.create_future()
        self._start_queue.add(address, future)
        return future

    def is_read_time_spent(self) -> bool:
        """Return whether further input must wait for a later turn."""
        if not self._read_deadline:
            self._read_deadline = monotonic() + _READ_SECONDS_PER_TURN
            self._schedule()
        return monotonic() > self._read_deadline

    def schedule_read(self, address: str, read: Callable[[], None]) -> None:
        """Call `read` for the client at `address` in a later turn."""
        self._read_queue.add(address, read)
        self._schedule()

    def _schedule(self) -> None:
        if not self._is_scheduled:
            self._is_scheduled = True
            self._loop.call_soon(self._run_turn)

    def _run_turn(self) -> None:
        self._is_scheduled = False
        self._starts_left = _STARTS_PER_TURN
        self._read_deadline = 0.0
        if self._start_queue or self._read_queue:
            self._schedule()
        while self._start_queue and self._starts_left:
            self._start_queue.pop().set_result(None)
            self._starts_left -= 1
        while self._read_queue and not self.is_read_time_spent():
            self._read_queue.pop()()
