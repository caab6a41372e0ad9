"""What a connection holds of the room that all of them share."""

from functools import partial
from typing import TYPE_CHECKING

from httpserver.connection.flow import FlowControlledConnection
from httpserver.fast_routes import RouteMatch
from httpserver.memory_budget import MemoryReservation, client_network, reservation_owners
from httpserver.messages import Request
from httpserver.protocol.body_admission import BodyRejection, check_body_admission
from httpserver.protocol.request_framing import RequestFraming

if TYPE_CHECKING:
    from httpserver.server import Server

# A request of this size that has arrived in one piece is served at once, and is not counted.
SMALL_REQUEST_BYTES = 16_384
# Bytes of a body that is still arriving which are not counted: each connection may hold a head of
# several times the size. So events, logins and conversions in two pieces always find room.
UNCOUNTED_BODY_BYTES = 4_096


class AccountedConnection(FlowControlledConnection):
    """A connection that takes room for a request's body, and for what comes behind it."""

    __slots__ = ("_ahead", "_body_share", "_cut", "_unsent_share")

    def __init__(self, server: "Server") -> None:
        super().__init__(server)
        # Of the request that is being read or answered, and of what has come after it.
        self._body_share: MemoryReservation | None = None
        self._ahead: MemoryReservation | None = None
        # Of responses that the peer is slow to read.
        self._unsent_share: MemoryReservation | None = None
        # Whether some of what came after it was dropped: it is the last then.
        self._cut = False

    def own_body(self, head: bytes) -> MemoryReservation:
        """Have the body of the request with this head count for its client and its token."""
        share = self._body_share
        if share is None:
            share = self._body_share = MemoryReservation(self.server.room)
        request = Request("", b"", "", (), "", head, b"", self._peer)
        share.assign(reservation_owners(request.remote, request.header("Authorization")))
        return share

    def hold_body(self, size: int) -> bool:
        """Take room for what has arrived of the body; false if there is none.

        It is held until the request is answered. `own_body` must have been called before.
        """
        assert self._body_share is not None
        return self._body_share.hold(size if size > UNCOUNTED_BODY_BYTES else 0)

    def hold_ahead(self, size: int) -> bool:
        """Take room for so many bytes that cannot be looked at yet; false if there is none."""
        if self._ahead is None:
            self._ahead = MemoryReservation(
                self.server.room, reservation_owners(self._peer.address, None)
            )
        return self._ahead.hold(size)

    def hold_unsent(self, address: str) -> bool:
        """Take room for what waits for a slow reader at `address`; false if there is none.

        Connections that have been slow for a while make room for it: those of the same address if
        it has any, as it holds its share then.
        """
        if self._unsent_share is None:
            self._unsent_share = MemoryReservation(
                self.server.unsent, reservation_owners(address, None)
            )
        size = self._transport.get_write_buffer_size()
        while not self._unsent_share.hold(size):
            if not self.server.close_slowest(self, client_network(address)):
                return False
        self.server.slow.setdefault(self, (client_network(address), self.server.now))
        return True

    def resume_writing(self) -> None:
        """Give back what waited for the peer, which has read enough."""
        self.forget_unsent()
        super().resume_writing()

    def forget_unsent(self) -> None:
        """Give back what was taken for a slow reader."""
        if self._unsent_share is not None:
            self._unsent_share.hold(0)
            self.server.slow.pop(self, None)

    def turn_away(
        self, way: RouteMatch, framing: RequestFraming, head: bytes, fits: bool
    ) -> BodyRejection:
        """Return the response to a request whose body is not taken; None to take it."""
        host, lane, server = way.authority or framing.host, way.lane, self.server
        assert lane is not None
        answer = check_body_admission(
            lane,
            Request(way.method, way.target, way.path, way.params, host, head, b"", self._peer),
            max(framing.length, 0),
            fits,
            failed=partial(server.failed, lane),
            error=server.erroneous,
        )
        server.stats.turned_away += answer is not None
        return answer

    def settle(self, stays: bool) -> None:
        """An answer is complete: what was held for its request is not any more."""
        if self._body_share is not None:
            self._body_share.hold(0)
        super().settle(stays and not self._cut)

    def let_go(self) -> None:
        """Hold nothing any more."""
        for share in (self._body_share, self._ahead):
            if share is not None:
                share.hold(0)
