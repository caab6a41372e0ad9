"""What a connection sends, how it ends, and by when each thing has to happen."""

import asyncio
import contextlib
from math import inf
from typing import TYPE_CHECKING, Any

from httpserver.protocol.peers import Peer
from httpserver.sockets import unacknowledged_bytes

if TYPE_CHECKING:
    from httpserver.server import Server

# What a connection is doing. In LINGER what comes in is dropped: the last answer shall reach a
# peer that is still sending, which closing at once would prevent (RFC 9112, 9.6).
IDLE, READING_HEAD, READING_BODY, RESPONDING, LINGERING, CLOSED = range(6)
# Seconds for which a peer from which nothing is awaited may keep its connection from closing.
_IDLE_CLOSE_SECONDS = 1.0
# Answers up to this size, to requests that came together, are sent together.
_MAX_COALESCED_BYTES = 4_096


class FlowControlledConnection(asyncio.Protocol):
    """The outgoing half of a connection, and its end.

    There are no timers: `deadline` (for what the connection is doing) and `stall` (for a peer
    that does not read) are moments that the server's sweep compares with the clock.
    """

    __slots__ = (
        "_dropped",
        "_eof",
        "_gathered",
        "_mark",
        "_peer",
        "_reading",
        "_transport",
        "_unread",
        "deadline",
        "paused",
        "phase",
        "server",
        "stall",
    )

    def __init__(self, server: "Server") -> None:
        self.server = server
        self.phase = IDLE
        self.paused = False
        self.deadline = inf
        self.stall = inf
        self._transport: asyncio.Transport
        self._peer: Peer
        self._gathered: list[bytes] | None = None
        # The field with the request's identifier, if the client sent one, for the response.
        self._mark = b""
        self._reading = True
        self._eof = False
        self._unread = 0
        self._dropped = 0

    # What the other half does.

    def discard(self) -> bool:
        """Forget what has come in; whether there was anything, or more of a request is to come."""
        raise NotImplementedError

    def abandon(self) -> bool:
        """Give up the request that is being served; whether its answer has begun."""
        raise NotImplementedError

    def mute(self) -> bool:
        """Whether the answer must have no body."""
        raise NotImplementedError

    # What the transport calls.

    def pause_writing(self) -> None:
        """The peer is slow to read: nothing new is begun until it has caught up."""
        self.paused = True
        self._unread = self._unsent()
        self.stall = self.server.now + self.server.limits.write_seconds

    def resume_writing(self) -> None:
        """The peer has caught up."""
        self.paused = False
        self.stall = inf
        if self.phase == IDLE:
            self.deadline = self.server.idle_until

    # Sending.

    def write(self, data: bytes) -> None:
        """Send; small pieces at the end of the turn, if many are being gathered."""
        gathered = self._gathered
        if gathered is None:
            self._transport.write(data)
            return
        gathered.append(data)
        if len(data) > _MAX_COALESCED_BYTES:
            # Now, so that the transport can say that it has enough.
            self._transport.write(b"".join(gathered))
            gathered.clear()

    def flush(self) -> None:
        """Send what was gathered, and gather no more."""
        gathered, self._gathered = self._gathered, None
        if gathered:
            self._transport.write(b"".join(gathered))

    def ssl_object(self) -> Any:
        """The TLS object; None without TLS."""
        return self._transport.get_extra_info("ssl_object")

    # Ending.

    @property
    def ended(self) -> bool:
        """Whether the peer sends no more."""
        return self._eof

    @property
    def closed(self) -> bool:
        """Whether nothing can be sent any more."""
        return self.phase >= LINGERING

    def settle(self, stays: bool) -> None:
        """An answer is complete: be ready for the next request, or close."""
        self._mark = b""
        if stays:
            self.phase = IDLE
            self.deadline = self.server.idle_until
        else:
            self.end()

    def refuse(self, status: int, detail: str) -> None:
        """Answer an error of the wire's own, unless the answer has begun, and close."""
        if self.phase >= LINGERING:
            return
        if self.abandon():
            self.abort()
            return
        response = self.server.erroneous(status, detail)
        lines = (response.head, self._mark, b"Connection: close\r\n", self.server.date)
        self.write(b"".join(lines))
        if not self.mute():
            self.write(response.body)
        self.end()

    def end(self, idle: bool = False) -> None:
        """Close when all has been sent and the peer, unless it is idle, has closed or had time.

        Closing on bytes that nobody has read resets the connection, and that would take away from
        the peer what it has not read yet.
        """
        self.flush()
        idle = not self.discard() and idle
        self.phase = LINGERING
        self._dropped = 0
        server, transport = self.server, self._transport
        if idle or self._eof:
            # Over TLS an idle peer may take its time to say goodbye, too.
            self.deadline = server.now + (
                _IDLE_CLOSE_SECONDS if idle else server.limits.write_seconds
            )
            transport.close()
        else:
            self.deadline = server.now + server.limits.linger_seconds
            if transport.can_write_eof():
                # The peer may have left, unnoticed where its bytes are not read.
                with contextlib.suppress(OSError):
                    transport.write_eof()
            self.read_on(True)
        self._unread = self._unsent()

    def drop(self, data: bytes) -> None:
        """Take what comes in after the end; stop when that is too much."""
        self._dropped += len(data)
        if self._dropped > self.server.limits.linger_bytes:
            if self._unsent():
                self.read_on(False)
            else:
                self.abort()

    def abort(self) -> None:
        """Cut the connection; what has not been sent is lost."""
        self._gathered = None
        if self.phase < LINGERING:
            self.phase = LINGERING
        self._transport.abort()

    def read_on(self, wanted: bool) -> None:
        """Read from the socket, or stop."""
        if wanted != self._reading and self.phase < CLOSED:
            self._reading = wanted
            if wanted:
                self._transport.resume_reading()
            else:
                self._transport.pause_reading()

    # What the server calls.

    def expire(self, now: float) -> None:
        """A time limit is over."""
        timeouts, limits = self.server.stats.timeouts, self.server.limits
        if self.phase == LINGERING:
            self.stall = inf
            if self._reads_on():
                self.deadline = now + limits.write_seconds
            elif self._peer.secure and not self._transport.is_closing():
                # So that it is told of the end as TLS tells it.
                self.deadline = now + limits.linger_seconds
                self._transport.close()
            else:
                self.abort()
        elif self.stall <= now:
            if self._reads_on():
                self.stall = now + limits.write_seconds
            else:
                timeouts["write"] += 1
                self.abort()
        elif self.phase in (READING_HEAD, READING_BODY):
            kind = "header" if self.phase == READING_HEAD else "body"
            timeouts[kind] += 1
            self.refuse(408, f"The request's {kind} took too long to come.")
        elif self.paused:
            # Not idle: it has an answer to read, and `stall` watches that.
            self.deadline = inf
        elif self._transport.get_write_buffer_size():
            timeouts["write"] += 1
            self.abort()
        else:
            timeouts["idle"] += 1
            self.end(idle=True)

    def _reads_on(self) -> bool:
        """Whether the peer has read enough of what waits for it since last asked."""
        before, self._unread = self._unread, self._unsent()
        limits = self.server.limits
        # A peer that reads a byte at a time could otherwise hold a response for ever.
        enough = min(before, max(1, limits.write_rate * limits.write_seconds))
        return 0 < self._unread <= before - enough

    def _unsent(self) -> int:
        """The bytes that the peer has not acknowledged, those in the kernel's buffer too."""
        transport = self._transport
        return transport.get_write_buffer_size() + unacknowledged_bytes(
            transport.get_extra_info("socket")
        )
