"""Accepts connections from one listening socket.

By hand rather than by the loop's own server, for what those don't do: run out of file descriptors
quietly, count the connections that are still shaking hands over TLS, and accept the last ones that
wait when a server stops. It costs a few microseconds a connection.
"""

import asyncio
import logging
import socket
import ssl
from collections.abc import Callable

from httpserver.sockets import drop_new_connections

log = logging.getLogger("wire")

# So many connections are accepted before others have a turn.
_ACCEPTS_PER_TURN = 64
# When there is no room for one more, accepting rests for so many seconds, and the log for so many.
_ACCEPT_RETRY_SECONDS = 0.5
_LOG_INTERVAL_SECONDS = 60.0


class SocketListener:
    """The way in from one socket, bound already, for connections that `make` makes.

    `room` says whether one more may be accepted, from the number that is still on its way; one
    that may not is closed. The socket is closed by `stop`.
    """

    def __init__(
        self,
        listening: socket.socket,
        tls: ssl.SSLContext | None,
        make: Callable[[], asyncio.Protocol],
        room: Callable[[], bool],
        handshake_seconds: float,
    ) -> None:
        self._socket = listening
        self._tls = tls
        self._make = make
        self._room = room
        self._handshake_seconds = handshake_seconds if tls else None
        self._loop = asyncio.get_running_loop()
        self._resting: asyncio.TimerHandle | None = None
        self._silent_until = 0.0
        self._coming: set[asyncio.Task[None]] = set()

    @property
    def coming(self) -> int:
        """Connections accepted that are not made yet; over TLS, they shake hands."""
        return len(self._coming)

    def start(self) -> None:
        """Accept from now on."""
        self._resting = None
        self._socket.setblocking(False)
        self._loop.add_reader(self._socket, self._accept, _ACCEPTS_PER_TURN)

    def stop(self) -> None:
        """Accept those that wait already, then no more."""
        if self._resting is not None:
            self._resting.cancel()
        else:
            self._loop.remove_reader(self._socket)
        drop_new_connections(self._socket)
        self._accept(4_096)
        self._socket.close()

    async def arrived(self) -> None:
        """Wait until every connection that was accepted has been made, or has failed to be."""
        while self._coming:
            await asyncio.wait(self._coming)

    def abandon(self) -> None:
        """Drop the connections that are not made yet."""
        for task in self._coming:
            task.cancel()

    def _accept(self, most: int) -> None:
        for _ in range(most):
            try:
                accepted, _ = self._socket.accept()
            except (BlockingIOError, InterruptedError):
                return
            except ConnectionError:
                continue
            except OSError as error:
                self._rest(error)
                return
            if not self._room():
                accepted.close()
                continue
            accepted.setblocking(False)
            task = self._loop.create_task(self._connect(accepted))
            self._coming.add(task)
            task.add_done_callback(self._coming.discard)

    async def _connect(self, accepted: socket.socket) -> None:
        try:
            await self._loop.connect_accepted_socket(
                self._make,
                accepted,
                ssl=self._tls,
                ssl_handshake_timeout=self._handshake_seconds,
            )
        except OSError:
            # The peer has left, or does not speak TLS as we do; both are its own affair.
            accepted.close()
        except asyncio.CancelledError:
            accepted.close()

    def _rest(self, error: OSError) -> None:
        """Out of descriptors or memory: those who come wait in the kernel until there is some."""
        now = self._loop.time()
        if now >= self._silent_until:
            self._silent_until = now + _LOG_INTERVAL_SECONDS
            log.error("no connection can be accepted for the moment: %s", error.strerror)
        if self._resting is None and self._socket.fileno() >= 0:
            self._loop.remove_reader(self._socket)
            self._resting = self._loop.call_later(_ACCEPT_RETRY_SECONDS, self.start)
