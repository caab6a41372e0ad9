"""Accepting connections from one listening socket.

asyncio's own server lacks three things: it logs a traceback for each failure when file descriptors
run out, does not count connections in the TLS handshake, and resets queued connections when it
stops. Accepting here costs a few microseconds more per connection.
"""

import asyncio
import logging
import socket
import ssl
from collections.abc import Callable

from httpserver.sockets import drop_new_connections

log = logging.getLogger("httpserver")

_ACCEPTS_PER_TURN = 64
# Pause after a failure to accept, and minimum interval between log lines about it.
_ACCEPT_RETRY_SECONDS = 0.5
_LOG_INTERVAL_SECONDS = 60.0


class SocketListener:
    """Accepts connections from a bound socket, and creates their protocols.

    A connection is closed if `has_capacity` returns False. `stop` closes the socket.
    """

    def __init__(
        self,
        listening: socket.socket,
        tls: ssl.SSLContext | None,
        protocol_factory: Callable[[], asyncio.Protocol],
        has_capacity: Callable[[], bool],
        handshake_seconds: float,
    ) -> None:
        self._socket = listening
        self._tls = tls
        self._protocol_factory = protocol_factory
        self._has_capacity = has_capacity
        self._handshake_seconds = handshake_seconds if tls else None
        self._loop = asyncio.get_running_loop()
        self._resume_timer: asyncio.TimerHandle | None = None
        self._next_log_time = 0.0
        self._pending: set[asyncio.Task[None]] = set()

    @property
    def pending_count(self) -> int:
        """The number of accepted sockets without a protocol yet, e.g. in the TLS handshake."""
        return len(self._pending)

    def start(self) -> None:
        """Start or resume accepting."""
        self._resume_timer = None
        self._socket.setblocking(False)
        self._loop.add_reader(self._socket, self._accept, _ACCEPTS_PER_TURN)

    def stop(self) -> None:
        """Accept the connections in the queue, then close the socket."""
        if self._resume_timer is not None:
            self._resume_timer.cancel()
        else:
            self._loop.remove_reader(self._socket)
        drop_new_connections(self._socket)
        self._accept(4_096)
        self._socket.close()

    async def wait_pending(self) -> None:
        """Wait until every accepted socket has a protocol or has failed."""
        while self._pending:
            await asyncio.wait(self._pending)

    def cancel_pending(self) -> None:
        """Close the accepted sockets without a protocol."""
        for task in self._pending:
            task.cancel()

    def _accept(self, max_count: int) -> None:
        for _ in range(max_count):
            try:
                accepted, _ = self._socket.accept()
            except (BlockingIOError, InterruptedError):
                return
            except ConnectionError:
                continue
            except OSError as error:
                self._pause_accepting(error)
                return
            if not self._has_capacity():
                accepted.close()
                continue
            accepted.setblocking(False)
            task = self._loop.create_task(self._connect(accepted))
            self._pending.add(task)
            task.add_done_callback(self._pending.discard)

    async def _connect(self, accepted: socket.socket) -> None:
        try:
            await self._loop.connect_accepted_socket(
                self._protocol_factory,
                accepted,
                ssl=self._tls,
                ssl_handshake_timeout=self._handshake_seconds,
            )
        except OSError:
            # The client disconnected or failed the TLS handshake: not worth a log line.
            accepted.close()
        except asyncio.CancelledError:
            accepted.close()

    def _pause_accepting(self, error: OSError) -> None:
        """Leave connections in the kernel's queue while descriptors or memory are exhausted."""
        now = self._loop.time()
        if now >= self._next_log_time:
            self._next_log_time = now + _LOG_INTERVAL_SECONDS
            log.error(
                "cannot accept connections; retrying every %s s error=%s",
                _ACCEPT_RETRY_SECONDS,
                error.strerror,
            )
        if self._resume_timer is None and self._socket.fileno() >= 0:
            self._loop.remove_reader(self._socket)
            self._resume_timer = self._loop.call_later(_ACCEPT_RETRY_SECONDS, self.start)
