"""The transport of a connection: writing, flow control, lingering close, write timeouts."""

import asyncio
import contextlib
from math import inf
from typing import Any

from httpserver.context.server_context import ServerContext
from httpserver.protocol.peers import Peer
from httpserver.sockets import unacknowledged_bytes

# Phases of a connection. LINGERING discards input so that the last response reaches a client that
# is still sending: closing at once would reset the connection (RFC 9112, section 9.6).
IDLE, READING_HEAD, READING_BODY, RESPONDING, LINGERING, CLOSED = range(6)
# Time for the peer of an idle connection to complete the close.
_IDLE_CLOSE_SECONDS = 1.0
# Larger responses to pipelined requests are not gathered into one write.
_MAX_COALESCED_BYTES = 4_096


class ClientStream:
    """The transport of one client, with its phase and deadlines.

    `deadline` (of the current phase) and `write_deadline` (of a client that does not read) are
    event loop times that the server checks periodically: timers would cost more.
    """

    __slots__ = (
        "_discarded_bytes",
        "_last_unacknowledged",
        "_reading",
        "_write_buffer",
        "context",
        "deadline",
        "eof_seen",
        "peer",
        "phase",
        "transport",
        "write_deadline",
        "write_paused",
    )

    def __init__(self, context: ServerContext) -> None:
        self.context = context
        self.phase = IDLE
        self.deadline = inf
        self.write_deadline = inf
        self.write_paused = False
        self.eof_seen = False
        self.transport: asyncio.Transport
        self.peer: Peer
        # The parts of a gathered write; None to write at once.
        self._write_buffer: list[bytes] | None = None
        self._reading = True
        self._last_unacknowledged = 0
        self._discarded_bytes = 0

    @property
    def is_closing(self) -> bool:
        """Whether nothing more can be sent."""
        return self.phase >= LINGERING

    @property
    def is_lost(self) -> bool:
        """Whether the transport has closed."""
        return self.phase == CLOSED

    def ssl_object(self) -> Any:
        """Return the TLS object; None without TLS."""
        return self.transport.get_extra_info("ssl_object")

    # Writing.

    def pause_writing(self) -> None:
        """Start the write timeout: the transport's buffer is full."""
        self.write_paused = True
        self._last_unacknowledged = self._unacknowledged()
        self.write_deadline = self.context.now + self.context.limits.write_seconds

    def resume_writing(self) -> None:
        """Stop the write timeout: the transport's buffer has drained."""
        self.write_paused = False
        self.write_deadline = inf
        if self.phase == IDLE:
            self.deadline = self.context.idle_until

    def write(self, data: bytes) -> None:
        """Send `data`, or gather it until `flush`."""
        buffer = self._write_buffer
        if buffer is None:
            self.transport.write(data)
            return
        buffer.append(data)
        if len(data) > _MAX_COALESCED_BYTES:
            # Write now, so that the transport can call `pause_writing`.
            self.transport.write(b"".join(buffer))
            buffer.clear()

    def gather_writes(self) -> None:
        """Gather small writes until `flush`."""
        self._write_buffer = []

    def flush(self) -> None:
        """Send the gathered writes, and stop gathering."""
        buffer, self._write_buffer = self._write_buffer, None
        if buffer:
            self.transport.write(b"".join(buffer))

    # Reading.

    def set_reading(self, wanted: bool) -> None:
        """Resume or pause reading from the socket."""
        if wanted != self._reading and self.phase < CLOSED:
            self._reading = wanted
            if wanted:
                self.transport.resume_reading()
            else:
                self.transport.pause_reading()

    # Closing.

    def set_idle(self) -> None:
        """Wait for the next request."""
        self.phase = IDLE
        self.deadline = self.context.idle_until

    def close_stream(self, idle: bool) -> None:
        """Close after sending all data; unless `idle`, linger until the peer has closed.

        `idle` requires that no input is unread: closing with unread input resets the connection,
        which can discard a response that the peer has not read yet.
        """
        self.flush()
        self.phase = LINGERING
        self._discarded_bytes = 0
        context, transport = self.context, self.transport
        if idle or self.eof_seen:
            # Over TLS, an idle peer also needs time to answer the close_notify.
            self.deadline = context.now + (
                _IDLE_CLOSE_SECONDS if idle else context.limits.write_seconds
            )
            transport.close()
        else:
            self.deadline = context.now + context.limits.linger_seconds
            if transport.can_write_eof():
                # The peer may have disconnected, which is unnoticed while reading is paused.
                with contextlib.suppress(OSError):
                    transport.write_eof()
            self.set_reading(True)
        self._last_unacknowledged = self._unacknowledged()

    def discard_while_lingering(self, data: bytes) -> None:
        """Discard input; stop reading, or close, above `linger_bytes`."""
        self._discarded_bytes += len(data)
        if self._discarded_bytes > self.context.limits.linger_bytes:
            if self._unacknowledged():
                self.set_reading(False)
            else:
                self.abort()

    def abort(self) -> None:
        """Close at once and discard unsent data."""
        self._write_buffer = None
        if self.phase < LINGERING:
            self.phase = LINGERING
        self.transport.abort()

    # Timeouts.

    def handle_linger_timeout(self, now: float) -> None:
        """Close, unless the peer still reads the last response."""
        limits = self.context.limits
        self.write_deadline = inf
        if self._peer_made_progress():
            self.deadline = now + limits.write_seconds
        elif self.peer.secure and not self.transport.is_closing():
            # TLS requires a close_notify (RFC 8446, section 6.1), so do not abort yet.
            self.deadline = now + limits.linger_seconds
            self.transport.close()
        else:
            self.abort()

    def handle_write_timeout(self, now: float) -> None:
        """Close, unless the peer has read enough since the last check."""
        if self._peer_made_progress():
            self.write_deadline = now + self.context.limits.write_seconds
        else:
            self.context.stats.timeouts["write"] += 1
            self.abort()

    def _peer_made_progress(self) -> bool:
        """Return whether the peer acknowledged enough bytes since the last check."""
        before, self._last_unacknowledged = self._last_unacknowledged, self._unacknowledged()
        limits = self.context.limits
        # A minimum rate, because a peer could read one byte at a time forever.
        enough = min(before, max(1, limits.write_bytes_per_second * limits.write_seconds))
        return 0 < self._last_unacknowledged <= before - enough

    def _unacknowledged(self) -> int:
        """Return the bytes in the transport's and the kernel's send buffers."""
        transport = self.transport
        return transport.get_write_buffer_size() + unacknowledged_bytes(
            transport.get_extra_info("socket")
        )
