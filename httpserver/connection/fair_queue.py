"""Shares each turn of the event loop among connections, fairly by client address.

A turn must stay short: what fast routes answer, and what a commit acknowledges, waits for its end.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from time import monotonic
from typing import Generic, TypeVar

from httpserver.memory_budget import client_network

T = TypeVar("T")

# Seconds in one turn for reading on in what has come from connections that have had one request
# or slice of a body read.
_READ_SECONDS_PER_TURN = 0.004
# Requests to the application that start in one turn: a handler may hold the loop for milliseconds.
_STARTS_PER_TURN = 4


class FairQueue(Generic[T]):
    """A queue in which client addresses take turns, whatever number of items each has."""

    __slots__ = ("_items",)

    def __init__(self) -> None:
        self._items: dict[str, deque[T]] = {}

    def __bool__(self) -> bool:
        return bool(self._items)

    def add(self, address: str, item: T) -> None:
        """Append an item of the client at `address`."""
        self._items.setdefault(client_network(address), deque()).append(item)

    def pop(self) -> T:
        """Take the oldest item of the address that has waited for longest."""
        address = next(iter(self._items))
        items = self._items.pop(address)
        item = items.popleft()
        if items:
            self._items[address] = items
        return item


class FairScheduler:
    """What connections may do in this turn of the loop, and what waits for the next ones."""

    __slots__ = ("_loop", "_reading", "_scheduled", "_starting", "_starts", "_until")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._scheduled = False
        self._starts = _STARTS_PER_TURN
        self._until = 0.0  # 0 before anything has been read on in this turn
        self._starting: FairQueue[asyncio.Future[None]] = FairQueue()
        self._reading: FairQueue[Callable[[], None]] = FairQueue()

    def start(self, address: str) -> "asyncio.Future[None] | None":
        """Return None if a request to the application may start now, or a future done when it may.

        `address` is the client's.
        """
        if self._starts and not self._starting:
            self._starts -= 1
            self._schedule()
            return None
        future = self._loop.create_future()
        self._starting.add(address, future)
        return future

    def over(self) -> bool:
        """Whether a connection that could read on must wait for another turn."""
        if not self._until:
            self._until = monotonic() + _READ_SECONDS_PER_TURN
            self._schedule()
        return monotonic() > self._until

    def read_on(self, address: str, call: Callable[[], None]) -> None:
        """Have `call` read on in another turn, for the client at `address`."""
        self._reading.add(address, call)
        self._schedule()

    def _schedule(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._next)

    def _next(self) -> None:
        self._scheduled = False
        self._starts = _STARTS_PER_TURN
        self._until = 0.0
        if self._starting or self._reading:
            self._schedule()
        while self._starting and self._starts:
            self._starting.pop().set_result(None)
            self._starts -= 1
        while self._reading and not self.over():
            self._reading.pop()()
