"""A bound for the memory that request bodies hold, shared fairly among clients."""

from collections.abc import Hashable, Sequence
from functools import lru_cache
from ipaddress import ip_address, ip_network

# Event batches waiting for their commit use a further budget of their own.
BODY_BUDGET_BYTES = 16_777_216
# Unsent response bytes of the application, over all connections.
UNSENT_BUDGET_BYTES = 67_108_864


class MemoryBudget:
    """A budget of `capacity` bytes, of which `reserved` are in use.

    An owner (a client address, a token) may reserve at most as much as remains free: one owner
    gets half of the budget, two a third each, n get 1/(n+1) each. So an owner without reservations
    always finds some free bytes. The policy is the dynamic threshold of Choudhury and Hahne
    (IEEE/ACM Transactions on Networking 6(2), 1998).
    """

    __slots__ = ("_reserved_by_owner", "capacity", "reserved")

    def __init__(self, capacity: int = BODY_BUDGET_BYTES) -> None:
        self.capacity = capacity
        self.reserved = 0
        self._reserved_by_owner: dict[Hashable, int] = {}

    def fits(self, count: int, owners: Sequence[Hashable] = ()) -> bool:
        """Return whether every owner may reserve `count` more bytes now."""
        free = self.capacity - self.reserved - count
        if free < 0:
            return False
        by_owner = self._reserved_by_owner
        return all(by_owner.get(owner, 0) + count <= free for owner in owners)

    def reserve(self, count: int, owners: Sequence[Hashable] = ()) -> bool:
        """Reserve `count` bytes; return False, and reserve none, if they do not fit."""
        if not self.fits(count, owners):
            return False
        self.reserved += count
        for owner in owners:
            self._reserved_by_owner[owner] = self._reserved_by_owner.get(owner, 0) + count
        return True

    def release(self, count: int, owners: Sequence[Hashable] = ()) -> None:
        """Release `count` bytes that were reserved for the same owners."""
        self.reserved -= count
        for owner in owners:
            remaining = self._reserved_by_owner[owner] - count
            if remaining:
                self._reserved_by_owner[owner] = remaining
            else:
                del self._reserved_by_owner[owner]


class MemoryReservation:
    """The `size` bytes of a budget that one request or connection holds for its owners."""

    __slots__ = ("_budget", "_owners", "size")

    def __init__(self, budget: MemoryBudget, owners: Sequence[Hashable] = ()) -> None:
        self._budget = budget
        self._owners = owners
        self.size = 0

    def change_owners(self, owners: Sequence[Hashable]) -> None:
        """Release all bytes; later ones count for `owners`."""
        self.resize(0)
        self._owners = owners

    def fits(self, count: int) -> bool:
        """Return whether `count` more bytes fit into the budget now."""
        return self._budget.fits(count, self._owners)

    def resize(self, size: int) -> bool:
        """Change the reservation to `size` bytes; return False, and change nothing, if too large.

        Reducing it always succeeds.
        """
        more = size - self.size
        if more > 0 and not self._budget.reserve(more, self._owners):
            return False
        if more < 0:
            self._budget.release(-more, self._owners)
        self.size = size
        return True


def reservation_owners(address: str, authorization: str | None) -> tuple[Hashable, ...]:
    """Return the owners of a request's body: the client's network and a hash of its credentials.

    Invented credentials gain nothing, because the network counts as well.
    """
    network = client_network(address)
    return (network,) if authorization is None else (network, hash(authorization))


@lru_cache(4_096)
def client_network(address: str) -> str:
    """Return the key for limits by client: an IPv6 /64 network, else `address` itself.

    A single IPv6 client usually controls a whole /64.
    """
    try:
        parsed = ip_address(address.partition("%")[0])
    except ValueError:
        return address
    return address if parsed.version == 4 else str(ip_network((parsed, 64), strict=False))
