"""What a connection holds of the room that all of them share."""

from functools import partial
from typing import TYPE_CHECKING

from wire.admission import Turned, turned_away
from wire.flow import Flow
from wire.framing import Framing
from wire.lanes import Way
from wire.messages import Request
from wire.room import Share

if TYPE_CHECKING:
    from wire.server import Server

# So many bytes are not worth counting: each connection may hold them anyway, as it may a head.
SMALL = 16_384


class Holding(Flow):
    """A connection that takes room for a request's body, and for what comes behind it."""

    __slots__ = ("_ahead", "_body_share", "_cut")

    def __init__(self, server: "Server") -> None:
        super().__init__(server)
        # Of the request that is being read or answered, and of what has come after it.
        self._body_share: Share | None = None
        self._ahead: Share | None = None
        # Whether some of what came after it was dropped: it is the last then.
        self._cut = False

    def hold_body(self, size: int) -> bool:
        """Take room for the request's body, until it is answered; false if there is none."""
        if self._body_share is None:
            self._body_share = Share(self.server.room)
        return self._body_share.hold(size)

    def hold_ahead(self, size: int) -> bool:
        """Take room for so many bytes that cannot be looked at yet; false if there is none."""
        if self._ahead is None:
            self._ahead = Share(self.server.room)
        return self._ahead.hold(size)

    def turn_away(self, way: Way, framing: Framing, head: bytes) -> Turned:
        """The answer to a request whose body shall not come; None to take it."""
        if self._body_share is None:
            self._body_share = Share(self.server.room)
        host, lane, server = way.authority or framing.host, way.lane, self.server
        assert lane is not None
        answer = turned_away(
            lane,
            Request(way.method, way.target, way.path, way.params, host, head, b"", self._peer),
            max(framing.length, 0),
            self._body_share,
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
