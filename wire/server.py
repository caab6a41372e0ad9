"""The server: listens, keeps count of its connections, sweeps them, and drains them."""

import asyncio
import logging
import socket
import ssl
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from tornado.httputil import HTTPServerConnectionDelegate

from wire.connection import Connection
from wire.dates import date_line
from wire.framing import Framing, framing, host_name, origin, request_line
from wire.lanes import Lane, Lanes, Way
from wire.limits import Limits
from wire.messages import Request, Response
from wire.peers import Peer, Proxies
from wire.problems import problem
from wire.refusal import Refusal

log = logging.getLogger("wire")

# So many request lines and so many kinds of framing are remembered, the short ones.
_REMEMBERED = 8_192
_LONGEST = 512
# So many of the connections too many are told so; any more are just closed.
_REFUSED = 512
_ALLOW = ("Allow", "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS")


@dataclass(slots=True)
class Stats:
    """What a server has counted since it was made.

    `refused` are the connections too many; `errors` the errors that the wire itself answered;
    `timeouts` counts by kind: header, body, idle, write.
    """

    accepted: int = 0
    refused: int = 0
    requests: int = 0
    errors: int = 0
    timeouts: Counter[str] = field(default_factory=Counter)


class Server:
    """An HTTP/1.1 server for a Tornado application, with lanes past it.

    `application` takes whatever no lane answers. `proxies` (addresses, networks, or "unix") are
    those that are believed when they name their client. `error` makes the answers to what the
    wire refuses, from a status and a sentence.
    """

    def __init__(
        self,
        application: HTTPServerConnectionDelegate,
        lanes: Sequence[Lane] = (),
        *,
        limits: Limits | None = None,
        proxies: Sequence[str] = (),
        error: Callable[[int, str], Response] = problem,
    ) -> None:
        self.application = application
        self.limits = limits or Limits()
        self.stats = Stats()
        self.draining = False
        # Whether requests must be looked at more closely: some are the last of their connection.
        self.counting = self.limits.requests_per_connection > 0
        self.ways: dict[bytes, Way] = {}
        self.framings: tuple[dict[tuple[bytes, ...], Framing], ...] = ({}, {})
        # A head of no more than this is within every limit.
        self.small = min(self.limits.line, self.limits.headers)
        self.loop: asyncio.AbstractEventLoop
        self.now = 0.0
        self.idle_until = 0.0
        self.date = b""
        self.done: asyncio.Future[None]
        self._lanes = Lanes([*lanes, Lane("OPTIONS", r"\*", _anything)])
        self._proxies = Proxies(proxies)
        self.peer: Callable[[str, bool], Peer] = self._proxies.peer
        self._error = error
        self._connections: set[Connection] = set()
        self._refused: set[Connection] = set()
        self._servers: list[asyncio.Server] = []
        self._sweeping: asyncio.TimerHandle | None = None
        self._empty = asyncio.Event()

    @property
    def connections(self) -> int:
        """The connections that are open."""
        return len(self._connections)

    async def listen(
        self, sockets: Sequence[socket.socket], *, tls: ssl.SSLContext | None = None
    ) -> None:
        """Accept connections on `sockets`, which are bound; over TLS if there is a context."""
        if self._sweeping is None:
            self.loop = asyncio.get_running_loop()
            self.done = self.loop.create_future()
            self.done.set_result(None)
            self._sweep()
        for each in sockets:
            make = (
                self.loop.create_unix_server
                if each.family == socket.AF_UNIX
                else self.loop.create_server
            )
            timeout = self.limits.header_seconds if tls else None
            self._servers.append(
                await make(
                    lambda: Connection(self),
                    sock=each,
                    ssl=tls,
                    ssl_handshake_timeout=timeout,
                )
            )

    async def drain(self, seconds: float) -> None:
        """Stop accepting, answer what is in flight, then, after `seconds`, cut what is left."""
        self._stop()
        for connection in list(self._connections):
            connection.retire()
        if self._connections or self._refused:
            self._empty.clear()
            try:
                await asyncio.wait_for(self._empty.wait(), seconds)
            except TimeoutError:
                log.warning("%d connections were cut", len(self._connections))
        self.close()

    def close(self) -> None:
        """Stop at once, and cut every connection."""
        self._stop()
        for connection in [*self._connections, *self._refused]:
            connection.abort()
        if self._sweeping is not None:
            self._sweeping.cancel()
            self._sweeping = None

    def _stop(self) -> None:
        self.draining = self.counting = True
        for server in self._servers:
            server.close()
        self._servers.clear()

    def _sweep(self) -> None:
        """Look at every connection's deadlines; a timer for each would cost more."""
        loop, limits = self.loop, self.limits
        shortest = min(
            limits.header_seconds,
            limits.body_seconds,
            limits.idle_seconds,
            limits.write_seconds,
            limits.linger_seconds,
        )
        self.now = now = loop.time()
        self.idle_until = now + limits.idle_seconds
        self.date = date_line()
        due = [c for c in self._connections if c.deadline <= now or c.stall <= now]
        due += [c for c in self._refused if c.deadline <= now]
        for connection in due:
            connection.expire(now)
        self._sweeping = loop.call_later(max(0.05, min(1.0, shortest / 4)), self._sweep)

    # What the connections call.

    def admit(self, connection: Connection) -> bool:
        """Count the connection in; false if it is one too many."""
        if len(self._connections) < self.limits.connections:
            self._connections.add(connection)
            self.stats.accepted += 1
            return True
        self.stats.refused += 1
        self._refused.add(connection)
        return False

    def forget(self, connection: Connection) -> None:
        """The connection is over."""
        self._connections.discard(connection)
        self._refused.discard(connection)
        if not self._connections and not self._refused:
            self._empty.set()

    def way(self, head: bytes) -> Way:
        """Where this head's request line leads; raises `Refusal`."""
        line = head[: head.find(b"\r\n")]
        method, raw, minor = request_line(line)
        target, authority = origin(method, raw)
        path = target.partition(b"?")[0].decode("ascii")
        lane, params = self._lanes.find(method, path)
        host = None if authority is None else host_name(authority)
        way = Way(method, target, minor, path, lane, params, host)
        if b"?" not in target and len(line) <= _LONGEST:
            if len(self.ways) >= _REMEMBERED:
                self.ways.clear()
            self.ways[line] = way
        return way

    def framing(self, lines: tuple[bytes, ...], minor: int) -> Framing:
        """What these special lines say; raises `Refusal`."""
        found = framing(lines, minor)
        if found.length == 0 and sum(map(len, lines)) <= _LONGEST:
            known = self.framings[minor]
            if len(known) >= _REMEMBERED:
                known.clear()
            known[lines] = found
        return found

    def erroneous(self, status: int, detail: str) -> Response:
        """The answer to what the wire refuses."""
        self.stats.errors += 1
        response = self._error(status, detail)
        return response.extended(("Retry-After", "1")) if status == 503 else response

    def failed(self, lane: Lane, error: BaseException) -> Response:
        """The answer of a lane that raised."""
        if isinstance(error, Refusal):
            return self._error(error.status, error.detail)
        log.error("%s raised", lane, exc_info=error)
        return self._error(500, "The server could not answer this request.")


def _anything(request: Request) -> Response:
    """OPTIONS of the server itself (RFC 9110, 9.3.7)."""
    return Response(204, [_ALLOW])
