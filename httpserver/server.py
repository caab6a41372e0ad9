"""The server: listening sockets, periodic timeouts, and draining."""

import asyncio
import contextlib
import logging
import socket
import ssl
import time
from collections.abc import Callable, Sequence
from math import inf

from tornado.httputil import HTTPServerConnectionDelegate

from httpserver.connection.connection import Connection
from httpserver.connection.listener import SocketListener
from httpserver.context.server_context import ServerContext
from httpserver.context.server_stats import ServerStats
from httpserver.error_responses import problem_response
from httpserver.fast_routes import FastRoute
from httpserver.limits import ServerLimits
from httpserver.memory_budget import MemoryBudget
from httpserver.messages import Request, Response
from httpserver.protocol.request_framing import HTTP_METHODS
from httpserver.sockets import raise_open_file_limit

log = logging.getLogger("httpserver")

# Time that a drain waits for the next request of a connection that was busy.
_DRAIN_GRACE_SECONDS = 0.4
# Open files besides connections: databases, logs, a second server, outgoing requests.
_RESERVED_OPEN_FILES = 384
_ALLOW_HEADER = ("Allow", ", ".join(HTTP_METHODS))


class Server:
    """An HTTP/1.1 server for a Tornado application, with fast routes that bypass it.

    - `application` gets the requests that no fast route matches.
    - `proxies`: addresses, networks or "unix", whose forwarding headers are trusted.
    - `error_response`: makes the server's own error responses from a status and a sentence.
    - `memory_budget`: limits the memory for request bodies; the application may share it.
    - `headers` are added to every response.
    """

    def __init__(
        self,
        application: HTTPServerConnectionDelegate,
        fast_routes: Sequence[FastRoute] = (),
        *,
        limits: ServerLimits | None = None,
        proxies: Sequence[str] = (),
        error_response: Callable[[int, str], Response] = problem_response,
        memory_budget: MemoryBudget | None = None,
        headers: Sequence[tuple[str, str]] = (),
    ) -> None:
        self.context = ServerContext(
            application,
            [*fast_routes, FastRoute("OPTIONS", r"\*", _server_options)],
            limits or ServerLimits(),
            proxies,
            error_response,
            memory_budget or MemoryBudget(),
            headers,
        )
        self._listeners: list[SocketListener] = []
        self._sweep_timer: asyncio.TimerHandle | None = None

    @property
    def open_connections(self) -> int:
        """The number of open connections."""
        return len(self.context.registry)

    @property
    def stats(self) -> ServerStats:
        """The counters of this server."""
        return self.context.stats

    async def listen(
        self, sockets: Sequence[socket.socket], *, tls: ssl.SSLContext | None = None
    ) -> None:
        """Accept connections on bound `sockets`, which the server closes at the end.

        With `tls`, it sets the context's ALPN protocols to HTTP/1.1.
        """
        context = self.context
        if self._sweep_timer is None:
            context.start(asyncio.get_running_loop())
            self._sweep()
            self._raise_open_file_limit()
        if tls is not None:
            tls.set_alpn_protocols(["http/1.1"])
        for each in sockets:
            listener = SocketListener(
                each,
                tls,
                lambda: Connection(context),
                self._has_capacity,
                context.limits.header_seconds,
            )
            listener.start()
            self._listeners.append(listener)

    async def drain(self, seconds: float) -> None:
        """Stop accepting, finish running requests, and abort the rest after `seconds`.

        Idle connections are closed at once. A connection that was busy may send one more request
        within a grace period. Every response closes its connection.
        """
        if self._sweep_timer is None:
            return
        started = time.monotonic()
        self._stop_accepting()
        for listener in self._listeners:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(listener.wait_pending(), min(seconds, _DRAIN_GRACE_SECONDS))
        self._sweep()
        registry = self.context.registry
        registry.close_idle(self.context.now - 2 * _DRAIN_GRACE_SECONDS)
        await registry.wait_closed(seconds - (time.monotonic() - started))
        if registry:
            log.warning("drain timed out; connections aborted count=%d", len(registry))
        self.close()
        await registry.wait_closed(_DRAIN_GRACE_SECONDS)

    def close(self) -> None:
        """Stop at once, and abort every connection."""
        self._stop_accepting()
        for listener in self._listeners:
            listener.cancel_pending()
        self._listeners.clear()
        self.context.registry.abort_all()
        if self._sweep_timer is not None:
            self._sweep_timer.cancel()
            self._sweep_timer = None

    def _stop_accepting(self) -> None:
        if not self.context.draining:
            self.context.start_draining()
            for listener in self._listeners:
                listener.stop()

    def _raise_open_file_limit(self) -> None:
        limits = self.context.limits
        wanted = limits.max_connections + limits.max_refused_connections + _RESERVED_OPEN_FILES
        if (allowed := raise_open_file_limit(wanted)) < wanted:
            self.context.reduce_connections(limits.fit_open_files(allowed - _RESERVED_OPEN_FILES))
            log.warning(
                "open file limit too low; fewer connections allowed"
                " wanted_connections=%d wanted_files=%d file_limit=%d max_connections=%d",
                limits.max_connections,
                wanted,
                allowed,
                self.context.limits.max_connections,
            )

    def _has_capacity(self) -> bool:
        pending = sum(listener.pending_count for listener in self._listeners)
        return self.context.registry.has_capacity(pending)

    def _sweep(self) -> None:
        """Check the deadlines of all connections, which costs less than a timer for each."""
        context = self.context
        limits, draining = context.limits, context.draining
        context.update_time(_DRAIN_GRACE_SECONDS if draining else limits.idle_seconds)
        context.registry.handle_timeouts(context.now)
        shortest = min(
            limits.header_seconds,
            limits.body_seconds,
            limits.idle_seconds,
            limits.write_seconds,
            limits.linger_seconds,
            _DRAIN_GRACE_SECONDS if draining else inf,
        )
        if self._sweep_timer is not None:
            self._sweep_timer.cancel()
        interval = max(0.05, min(1.0, shortest / 4))
        self._sweep_timer = context.loop.call_later(interval, self._sweep)


def _server_options(request: Request) -> Response:
    """Respond to "OPTIONS *" (RFC 9110, section 9.3.7)."""
    return Response(204, [_ALLOW_HEADER])
