"""The open connections of a server, and their maximum number."""

import asyncio
import contextlib
from typing import Protocol

from httpserver.context.server_stats import ServerStats
from httpserver.limits import ServerLimits


class Deadlines(Protocol):
    """Event loop times at which a connection times out."""

    deadline: float
    write_deadline: float


class ManagedConnection(Protocol):
    """A connection as the server sees it."""

    @property
    def stream(self) -> Deadlines:
        """The transport with its deadlines."""

    def handle_timeout(self, now: float) -> None:
        """Act on a deadline that has passed."""

    def close_if_idle(self, busy_since: float) -> None:
        """Close if there has been no request since `busy_since`."""

    def abort(self) -> None:
        """Close at once and discard unsent data."""


class ConnectionRegistry:
    """Admitted connections, and those above the limit that receive a 503."""

    def __init__(self, limits: ServerLimits, stats: ServerStats) -> None:
        self.limits = limits
        self._stats = stats
        self._admitted: set[ManagedConnection] = set()
        self._refused: set[ManagedConnection] = set()
        self._all_closed = asyncio.Event()

    def __len__(self) -> int:
        """Return the number of admitted connections."""
        return len(self._admitted)

    def register(self, connection: ManagedConnection) -> bool:
        """Add a connection; return False if it must be refused because of `max_connections`."""
        if len(self._admitted) < self.limits.max_connections:
            self._admitted.add(connection)
            self._stats.accepted += 1
            return True
        self._stats.refused_connections += 1
        self._refused.add(connection)
        return False

    def unregister(self, connection: ManagedConnection) -> None:
        """Remove a closed connection."""
        self._admitted.discard(connection)
        self._refused.discard(connection)
        if not self._admitted and not self._refused:
            self._all_closed.set()

    def has_capacity(self, pending: int) -> bool:
        """Return whether one more socket may be accepted while `pending` ones are not registered.

        It may be one that only receives a 503.
        """
        count = len(self._admitted) + len(self._refused) + pending
        if count < self.limits.max_connections + self.limits.max_refused_connections:
            return True
        self._stats.refused_connections += 1
        return False

    def handle_timeouts(self, now: float) -> None:
        """Notify the connections whose deadline has passed."""
        due = [
            each
            for each in self._admitted
            if each.stream.deadline <= now or each.stream.write_deadline <= now
        ]
        due += [each for each in self._refused if each.stream.deadline <= now]
        for connection in due:
            connection.handle_timeout(now)

    def close_idle(self, busy_since: float) -> None:
        """Close the connections without a request since `busy_since`."""
        for connection in list(self._admitted):
            connection.close_if_idle(busy_since)

    def abort_all(self) -> None:
        """Close all connections and discard their unsent data."""
        for connection in [*self._admitted, *self._refused]:
            connection.abort()

    async def wait_closed(self, seconds: float) -> None:
        """Wait until all connections are closed, at most for `seconds`."""
        if self._admitted or self._refused:
            self._all_closed.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._all_closed.wait(), max(seconds, 0))
