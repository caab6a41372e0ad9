"""Memory for application responses whose clients read slowly."""

from typing import Protocol

from httpserver.context.server_stats import ServerStats
from httpserver.memory_budget import (
    UNSENT_BUDGET_BYTES,
    MemoryBudget,
    MemoryReservation,
    client_network,
)

# Time after which a slow reader may be closed to free memory for others.
_SLOW_READER_SECONDS = 5.0


class SlowReader(Protocol):
    """A connection with unsent data."""

    def release_unsent(self) -> None:
        """Release the memory reserved for unsent data."""

    def abort(self) -> None:
        """Close at once and discard unsent data."""


class SlowReaders:
    """The connections with unsent data, longest first, and the budget that they share."""

    __slots__ = ("_since", "_stats", "budget")

    def __init__(self, stats: ServerStats) -> None:
        self.budget = MemoryBudget(UNSENT_BUDGET_BYTES)
        self._stats = stats
        # Client network and start time of each connection.
        self._since: dict[SlowReader, tuple[str, float]] = {}

    def __len__(self) -> int:
        return len(self._since)

    def reserve(
        self,
        reader: SlowReader,
        reservation: MemoryReservation,
        size: int,
        address: str,
        now: float,
    ) -> bool:
        """Reserve `size` bytes for `reader`, closing slower ones if necessary.

        They are those of the same client network, if it has any, because it then uses up its
        share. Return False if none has been slow for long enough: the caller must close `reader`.
        """
        network = client_network(address)
        while not reservation.resize(size):
            if not self._close_slowest(reader, network, now):
                self._stats.closed_slow_readers += 1
                return False
        self._since.setdefault(reader, (network, now))
        return True

    def remove(self, reader: SlowReader) -> None:
        """Remove a connection whose data has been sent or discarded."""
        self._since.pop(reader, None)

    def _close_slowest(self, spared: SlowReader, network: str, now: float) -> bool:
        others = [each for each in self._since.items() if each[0] is not spared]
        same_network = [each for each in others if each[1][0] == network]
        for reader, (_, since) in same_network or others:
            if now - since < _SLOW_READER_SECONDS:
                return False
            self._stats.closed_slow_readers += 1
            reader.release_unsent()
            reader.abort()
            return True
        return False
