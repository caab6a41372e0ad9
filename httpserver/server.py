"""The server: listens, keeps count of its connections, sweeps them, and drains them."""

import asyncio
import contextlib
import logging
import socket
import ssl
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import inf

from tornado.httputil import HTTPServerConnectionDelegate

from httpserver.connection.body_accounting import AccountedConnection
from httpserver.connection.connection import Connection
from httpserver.connection.fair_queue import FairScheduler
from httpserver.connection.listener import SocketListener
from httpserver.fast_routes import FastRoute, FastRouteTable, RouteMatch
from httpserver.limits import ServerLimits
from httpserver.memory_budget import UNSENT_BUDGET_BYTES, MemoryBudget
from httpserver.messages import Request, Response
from httpserver.protocol.date_header import format_date_header
from httpserver.protocol.error_responses import problem_response, with_retry_header
from httpserver.protocol.peers import Peer, TrustedProxies
from httpserver.protocol.request_framing import (
    HTTP_METHODS,
    RequestFraming,
    parse_framing,
    parse_host,
    parse_request_line,
    parse_target,
)
from httpserver.refusal import RequestRefusal
from httpserver.sockets import raise_open_file_limit

log = logging.getLogger("wire")

# So many request lines and so many kinds of framing are remembered, the short ones.
_MAX_CACHED_HEADS = 8_192
_MAX_CACHED_HEAD_BYTES = 512
# How long a drain waits for the next request of a connection that was busy, in seconds.
_DRAIN_GRACE_SECONDS = 0.4
# Seconds after which a slow reader may be closed to free memory for others.
_SLOW_READER_SECONDS = 5.0
# Open files besides the connections: databases, logs, a second server, what is read and asked.
_RESERVED_OPEN_FILES = 384
_ALLOW_HEADER = ("Allow", ", ".join(HTTP_METHODS))


@dataclass(slots=True)
class ServerStats:
    """What a server has counted since it was made.

    `refused` are the connections too many; `turned_away` the requests whose bodies were not
    taken; `slow_readers` the connections that were cut because too much waited for them; `errors`
    the errors that the wire itself answered; `timeouts` counts by kind: header, body, idle, write.
    """

    accepted: int = 0
    refused: int = 0
    turned_away: int = 0
    slow_readers: int = 0
    requests: int = 0
    errors: int = 0
    timeouts: Counter[str] = field(default_factory=Counter)


class Server:
    """An HTTP/1.1 server for a Tornado application, with lanes past it.

    `application` takes whatever no lane answers. `proxies` (addresses, networks, or "unix") are
    those that are believed when they name their client. `error` makes the answers to what the
    wire refuses, from a status and a sentence. `room` is what bodies may hold, here and wherever
    else some of it is taken. `headers` are on every answer.
    """

    def __init__(
        self,
        application: HTTPServerConnectionDelegate,
        lanes: Sequence[FastRoute] = (),
        *,
        limits: ServerLimits | None = None,
        proxies: Sequence[str] = (),
        error: Callable[[int, str], Response] = problem_response,
        room: MemoryBudget | None = None,
        headers: Sequence[tuple[str, str]] = (),
    ) -> None:
        self.application = application
        self.room = room or MemoryBudget()
        self.unsent = MemoryBudget(UNSENT_BUDGET_BYTES)
        # Connections with unsent data: their address, and since when; the slowest first.
        self.slow: dict[AccountedConnection, tuple[str, float]] = {}
        self.limits = limits or ServerLimits()
        self.stats = ServerStats()
        self.draining = False
        self.held_back = 0  # answers that are ready and still to be sent
        # Whether requests must be looked at more closely: some are the last of their connection.
        self.counting = self.limits.requests_per_connection > 0
        self.ways: dict[bytes, RouteMatch] = {}
        self.framings: tuple[dict[tuple[bytes, ...], RequestFraming], ...] = ({}, {})
        # Heads of whole requests with a body that were right, and where those lead.
        self.heads: dict[bytes, tuple[RouteMatch, RequestFraming]] = {}
        # A head of no more than this is within every limit.
        self.small = min(self.limits.line, self.limits.headers)
        self.loop: asyncio.AbstractEventLoop
        self.now = 0.0
        self.idle_until = 0.0
        # What ends a head: headers that every answer has, and when it is sent.
        self.always = "".join(f"{name}: {value}\r\n" for name, value in headers).encode("latin-1")
        self.date = b""
        self.done: asyncio.Future[None]
        self.turns: FairScheduler
        self._lanes = FastRouteTable([*lanes, FastRoute("OPTIONS", r"\*", _server_options)])
        self._proxies = TrustedProxies(proxies)
        self.peer: Callable[[str, bool], Peer] = self._proxies.peer
        self._error = error
        self._connections: set[Connection] = set()
        self._refused: set[Connection] = set()
        self._listeners: list[SocketListener] = []
        self._sweeping: asyncio.TimerHandle | None = None
        self._empty = asyncio.Event()

    @property
    def connections(self) -> int:
        """The connections that are open."""
        return len(self._connections)

    @property
    def patient(self) -> bool:
        """Whether answers may be held back: not when it stops, or connections run short."""
        return not self.draining and 4 * self.connections < 3 * self.limits.connections

    async def listen(
        self, sockets: Sequence[socket.socket], *, tls: ssl.SSLContext | None = None
    ) -> None:
        """Accept connections on `sockets`, which are bound; over TLS if there is a context.

        The sockets are the server's from now on.
        """
        if self._sweeping is None:
            self.loop = asyncio.get_running_loop()
            self.done = self.loop.create_future()
            self.done.set_result(None)
            self.turns = FairScheduler(self.loop)
            self._sweep()
            self._make_room()
        if tls is not None:
            tls.set_alpn_protocols(["http/1.1"])
        for each in sockets:
            listener = SocketListener(
                each, tls, lambda: Connection(self), self._room, self.limits.header_seconds
            )
            listener.start()
            self._listeners.append(listener)

    async def drain(self, seconds: float) -> None:
        """Accept no more, answer what is in flight, then, after `seconds`, cut what is left.

        Connections that have been idle are closed at once; one that was busy a moment ago has a
        moment to ask once more, for its next request may be on its way. Every answer from now on
        is the last of its connection.
        """
        if self._sweeping is None:
            return
        begun = time.monotonic()
        self._stop()
        for listener in self._listeners:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(listener.arrived(), min(seconds, _DRAIN_GRACE_SECONDS))
        self._sweep()
        for connection in list(self._connections):
            connection.retire(self.now - 2 * _DRAIN_GRACE_SECONDS)
        await self._emptied(seconds - (time.monotonic() - begun))
        if self._connections:
            log.warning("%d connections were cut in the middle", len(self._connections))
        self.close()
        await self._emptied(_DRAIN_GRACE_SECONDS)

    def close(self) -> None:
        """Stop at once, and cut every connection."""
        self._stop()
        for listener in self._listeners:
            listener.abandon()
        self._listeners.clear()
        for connection in [*self._connections, *self._refused]:
            connection.abort()
        if self._sweeping is not None:
            self._sweeping.cancel()
            self._sweeping = None

    def _stop(self) -> None:
        if not self.draining:
            self.draining = self.counting = True
            for listener in self._listeners:
                listener.stop()

    async def _emptied(self, seconds: float) -> None:
        """Wait until there is no connection left, but not longer."""
        if self._connections or self._refused:
            self._empty.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._empty.wait(), max(seconds, 0))

    def _make_room(self) -> None:
        limits = self.limits
        wanted = limits.connections + limits.refused + _RESERVED_OPEN_FILES
        if (allowed := raise_open_file_limit(wanted)) < wanted:
            self.limits = limits.fitting(allowed - _RESERVED_OPEN_FILES)
            log.warning(
                "%d connections need %d open files, and this process may have %d: it takes %d",
                limits.connections,
                wanted,
                allowed,
                self.limits.connections,
            )

    def _room(self) -> bool:
        """Whether one more can be accepted, be it to tell it that it is one too many."""
        coming = sum(listener.coming for listener in self._listeners)
        there = len(self._connections) + len(self._refused) + coming
        if there < self.limits.connections + self.limits.refused:
            return True
        self.stats.refused += 1
        return False

    def _sweep(self) -> None:
        """Look at every connection's deadlines; a timer for each would cost more."""
        limits = self.limits
        self.now = now = self.loop.time()
        self.idle_until = now + (_DRAIN_GRACE_SECONDS if self.draining else limits.idle_seconds)
        self.date = self.always + format_date_header()
        due = [c for c in self._connections if c.deadline <= now or c.stall <= now]
        due += [c for c in self._refused if c.deadline <= now]
        for connection in due:
            connection.expire(now)
        shortest = min(
            limits.header_seconds,
            limits.body_seconds,
            limits.idle_seconds,
            limits.write_seconds,
            limits.linger_seconds,
            _DRAIN_GRACE_SECONDS if self.draining else inf,
        )
        if self._sweeping is not None:
            self._sweeping.cancel()
        pause = max(0.05, min(1.0, shortest / 4))
        self._sweeping = self.loop.call_later(pause, self._sweep)

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

    def close_slowest(self, other: AccountedConnection, network: str) -> bool:
        """Close the slowest other connection at the address of `other`, or anywhere without one.

        Return False if none has been slow for long.
        """
        slow = [each for each in self.slow.items() if each[0] is not other]
        own = [each for each in slow if each[1][0] == network]
        for connection, (_, since) in own or slow:
            if self.now - since < _SLOW_READER_SECONDS:
                return False
            self.stats.slow_readers += 1
            connection.forget_unsent()
            connection.abort()
            return True
        return False

    def way(self, head: bytes) -> RouteMatch:
        """Where this head's request line leads; raises `Refusal`."""
        line = head[: head.find(b"\r\n")]
        method, raw, minor = parse_request_line(line)
        target, authority = parse_target(method, raw)
        path = target.partition(b"?")[0].decode("ascii")
        lane, params = self._lanes.find(method, path)
        host = None if authority is None else parse_host(authority)
        way = RouteMatch(method, target, minor, path, lane, params, host)
        if b"?" not in target and len(line) <= _MAX_CACHED_HEAD_BYTES:
            if len(self.ways) >= _MAX_CACHED_HEADS:
                self.ways.clear()
            self.ways[line] = way
        return way

    def likely_way(self, head: bytes) -> RouteMatch | None:
        """Where this head's request line leads if it is right, which llhttp has yet to judge."""
        try:
            return self.way(head)
        except RequestRefusal:
            return None

    def framing(self, lines: tuple[bytes, ...], minor: int) -> RequestFraming:
        """What these special lines say; raises `Refusal`."""
        found = parse_framing(lines, minor)
        if sum(map(len, lines)) <= _MAX_CACHED_HEAD_BYTES:
            known = self.framings[minor]
            if len(known) >= _MAX_CACHED_HEADS:
                known.clear()
            known[lines] = found
        return found

    def remember(self, head: bytes, way: RouteMatch, framing: RequestFraming) -> None:
        """Know this head again, which is right in every way."""
        if len(head) <= _MAX_CACHED_HEAD_BYTES:
            if len(self.heads) >= _MAX_CACHED_HEADS:
                self.heads.clear()
            self.heads[head] = way, framing

    def erroneous(self, status: int, detail: str) -> Response:
        """The answer to what the wire refuses."""
        self.stats.errors += 1
        return with_retry_header(self._explain(status, detail))

    def failed(self, lane: FastRoute, error: BaseException) -> Response:
        """The answer of a lane that raised."""
        if refusal := lane.refusal(error):
            return with_retry_header(self._explain(refusal.status, refusal.detail))
        log.error("%s raised", lane, exc_info=error)
        return self._explain(500, "The server could not answer this request.")

    def _explain(self, status: int, detail: str) -> Response:
        try:
            return self._error(status, detail)
        except Exception:
            log.exception("the error page for %d raised", status)
            return problem_response(status, detail)


def _server_options(request: Request) -> Response:
    """OPTIONS of the server itself (RFC 9110, 9.3.7)."""
    return Response(204, [_ALLOW_HEADER])
