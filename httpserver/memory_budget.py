"""The memory that request bodies may hold at once: a bound for all of them, and fair shares."""

from collections.abc import Hashable, Sequence
from functools import lru_cache
from ipaddress import ip_address, ip_network

# With what else holds them until they are on disk, some tens of megabytes.
BODY_BUDGET_BYTES = 16_777_216
# Bytes of the application's responses that wait for slow readers, of all connections together.
UNSENT_BUDGET_BYTES = 67_108_864


class MemoryBudget:
    """A budget of `size` bytes, of which `held` are taken.

    Bytes are counted once they have arrived. An owner (a client address, a token) may hold at most
    as much as stays free: one alone half of the room, two a third each, n of them 1/(n+1) each. So
    whatever the others hold, an owner who holds nothing finds some room (the dynamic thresholds of
    Choudhury and Hahne, IEEE/ACM Transactions on Networking 6(2), 1998).
    """

    __slots__ = ("_held_by", "held", "size")

    def __init__(self, size: int = BODY_BUDGET_BYTES) -> None:
        self.size = size
        self.held = 0
        self._held_by: dict[Hashable, int] = {}

    def fits(self, count: int, owners: Sequence[Hashable] = ()) -> bool:
        """Return whether all of these owners may take `count` more bytes now."""
        left = self.size - self.held - count
        if left < 0:
            return False
        held_by = self._held_by
        return all(held_by.get(owner, 0) + count <= left for owner in owners)

    def take(self, count: int, owners: Sequence[Hashable] = ()) -> bool:
        """Take `count` bytes and return True; if they do not fit, take nothing and return False."""
        if not self.fits(count, owners):
            return False
        self.held += count
        for owner in owners:
            self._held_by[owner] = self._held_by.get(owner, 0) + count
        return True

    def leave(self, count: int, owners: Sequence[Hashable] = ()) -> None:
        """Give so many bytes back."""
        self.held -= count
        for owner in owners:
            left = self._held_by[owner] - count
            if left:
                self._held_by[owner] = left
            else:
                del self._held_by[owner]


class MemoryReservation:
    """Bytes of a room that one request or connection holds for its owners."""

    __slots__ = ("_owners", "_room", "held")

    def __init__(self, room: MemoryBudget, owners: Sequence[Hashable] = ()) -> None:
        self._room = room
        self._owners = owners
        self.held = 0

    def assign(self, owners: Sequence[Hashable]) -> None:
        """Give back what is held, and hold for these owners from now on."""
        self.hold(0)
        self._owners = owners

    def fits(self, count: int) -> bool:
        """Whether `count` more bytes could be held now."""
        return self._room.fits(count, self._owners)

    def hold(self, count: int) -> bool:
        """Hold `count` bytes in all from now on; false, and nothing changes, without room."""
        more = count - self.held
        if more > 0 and not self._room.take(more, self._owners):
            return False
        if more < 0:
            self._room.leave(-more, self._owners)
        self.held = count
        return True


def reservation_owners(address: str, authorization: str | None) -> tuple[Hashable, ...]:
    """The owners of a request's body: its client's address, and the credentials it came with.

    Credentials that were made up are an owner of their own, which gains nothing: the address
    counts as well. They are not kept, only their hash.
    """
    network = client_network(address)
    return (network,) if authorization is None else (network, hash(authorization))


@lru_cache(4_096)
def client_network(address: str) -> str:
    """The address that shares are counted by: of IPv6 the /64 network, as one client has all of it.

    Anything that is not an IPv6 address is returned as it is.
    """
    try:
        found = ip_address(address.partition("%")[0])
    except ValueError:
        return address
    return address if found.version == 4 else str(ip_network((found, 64), strict=False))
