"""The memory that one connection reserves from the budgets of its server."""

from httpserver.context.server_context import ServerContext
from httpserver.context.slow_readers import SlowReader
from httpserver.memory_budget import MemoryReservation, reservation_owners
from httpserver.messages import Request
from httpserver.protocol.peers import Peer

# Requests up to this size that arrive in one piece are served at once, without a reservation.
SMALL_REQUEST_BYTES = 16_384
# Bytes of an incomplete body without a reservation; a connection's head may be several times
# larger. So events, logins and conversions in two pieces are never rejected for lack of memory.
UNCOUNTED_BODY_BYTES = 4_096


class ConnectionMemory:
    """Reservations for the current body, for pipelined requests, and for unsent responses."""

    __slots__ = ("_context", "_unsent", "body", "pipelined")

    def __init__(self, context: ServerContext) -> None:
        self._context = context
        self.body: MemoryReservation | None = None
        self.pipelined: MemoryReservation | None = None
        self._unsent: MemoryReservation | None = None

    def assign_body_owners(self, peer: Peer, head: bytes) -> MemoryReservation:
        """Return the body's reservation, owned by the client and the credentials in `head`."""
        body = self.body
        if body is None:
            body = self.body = MemoryReservation(self._context.memory_budget)
        request = Request("", b"", "", (), "", head, b"", peer)
        body.change_owners(
            reservation_owners(request.client_address, request.header("Authorization"))
        )
        return body

    def reserve_body(self, size: int) -> bool:
        """Reserve the `size` bytes received of the body until its request has been answered.

        Requires `assign_body_owners`. Return False if they do not fit.
        """
        assert self.body is not None
        return self.body.resize(size if size > UNCOUNTED_BODY_BYTES else 0)

    def reserve_pipelined(self, peer: Peer, size: int) -> bool:
        """Reserve `size` bytes of input behind the current request; return False if too many."""
        if self.pipelined is None:
            self.pipelined = MemoryReservation(
                self._context.memory_budget, reservation_owners(peer.address, None)
            )
        return self.pipelined.resize(size)

    def reserve_unsent(self, reader: SlowReader, address: str, size: int) -> bool:
        """Reserve the `size` bytes that wait for the slow `reader` at `address`.

        Return False if they do not fit: the caller must close `reader`.
        """
        context = self._context
        if self._unsent is None:
            self._unsent = MemoryReservation(
                context.slow_readers.budget, reservation_owners(address, None)
            )
        return context.slow_readers.reserve(reader, self._unsent, size, address, context.now)

    def release_unsent(self, reader: SlowReader) -> None:
        """Release what was reserved for the slow `reader`."""
        if self._unsent is not None:
            self._unsent.resize(0)
            self._context.slow_readers.remove(reader)

    def release_body(self) -> None:
        """Release the reservation for the current body."""
        if self.body is not None:
            self.body.resize(0)

    def release_input(self) -> None:
        """Release the reservations for the current body and pipelined requests."""
        self.release_body()
        if self.pipelined is not None:
            self.pipelined.resize(0)
