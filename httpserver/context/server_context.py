"""What every connection of a server needs: limits, counters, budgets, caches, error responses."""

import asyncio
import logging
from collections.abc import Callable, Sequence

from tornado.httputil import HTTPServerConnectionDelegate

from httpserver.bounded_memo import BoundedMemo
from httpserver.context.connection_registry import ConnectionRegistry
from httpserver.context.fair_queue import FairScheduler
from httpserver.context.server_stats import ServerStats
from httpserver.context.slow_readers import SlowReaders
from httpserver.error_responses import problem_response, with_retry_header
from httpserver.fast_routes import FastRoute, FastRouteTable, RouteMatch
from httpserver.limits import ServerLimits
from httpserver.memory_budget import MemoryBudget
from httpserver.messages import Response
from httpserver.protocol.date_header import format_date_header
from httpserver.protocol.peers import TrustedProxies
from httpserver.protocol.request_framing import (
    RequestFraming,
    parse_framing,
    parse_host,
    parse_request_line,
    parse_target,
)
from httpserver.refusal import RequestRefusal

log = logging.getLogger("httpserver")


class ServerContext:
    """The shared state of a server's connections.

    `head_tail` ends the head of every response: the common headers, Date and the empty line.
    `now` and `idle_until`, the next idle deadline, are event loop times updated by the server.
    `counts_requests` disables the fast path, because a response may be its connection's last one.
    `whole_heads` caches valid heads of POST requests that arrived with their body in one piece.
    """

    __slots__ = (
        "_error_response",
        "_fast_routes",
        "application",
        "common_headers",
        "completed_future",
        "counts_requests",
        "delayed_responses",
        "draining",
        "framings",
        "head_tail",
        "idle_until",
        "limits",
        "loop",
        "make_peer",
        "max_fast_path_bytes",
        "memory_budget",
        "now",
        "registry",
        "route_matches",
        "scheduler",
        "slow_readers",
        "stats",
        "whole_heads",
    )

    def __init__(
        self,
        application: HTTPServerConnectionDelegate,
        fast_routes: Sequence[FastRoute],
        limits: ServerLimits,
        proxies: Sequence[str],
        error_response: Callable[[int, str], Response],
        memory_budget: MemoryBudget,
        headers: Sequence[tuple[str, str]],
    ) -> None:
        self.application = application
        self.limits = limits
        self.stats = ServerStats()
        self.memory_budget = memory_budget
        self.slow_readers = SlowReaders(self.stats)
        self.registry = ConnectionRegistry(limits, self.stats)
        self.draining = False
        self.delayed_responses = 0
        self.counts_requests = limits.requests_per_connection > 0
        self.route_matches: BoundedMemo[bytes, RouteMatch] = BoundedMemo()
        # By minor HTTP version, then by framing lines.
        self.framings: tuple[BoundedMemo[tuple[bytes, ...], RequestFraming], ...] = (
            BoundedMemo(),
            BoundedMemo(),
        )
        self.whole_heads: BoundedMemo[bytes, tuple[RouteMatch, RequestFraming]] = BoundedMemo()
        # A head of this size cannot exceed any limit.
        self.max_fast_path_bytes = min(limits.request_line_bytes, limits.header_bytes)
        self.now = 0.0
        self.idle_until = 0.0
        self.common_headers = "".join(f"{name}: {value}\r\n" for name, value in headers).encode(
            "latin-1"
        )
        self.head_tail = b""
        self.make_peer = TrustedProxies(proxies).make_peer
        self._fast_routes = FastRouteTable(fast_routes)
        self._error_response = error_response
        self.loop: asyncio.AbstractEventLoop
        self.completed_future: asyncio.Future[None]
        self.scheduler: FairScheduler

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Create what needs a running event loop."""
        self.loop = loop
        self.completed_future = loop.create_future()
        self.completed_future.set_result(None)
        self.scheduler = FairScheduler(loop)

    def reduce_connections(self, limits: ServerLimits) -> None:
        """Apply limits that differ only in `max_connections`."""
        self.limits = self.registry.limits = limits

    def start_draining(self) -> None:
        """Make every response from now on the last one of its connection."""
        self.draining = self.counts_requests = True

    def update_time(self, idle_seconds: float) -> None:
        """Set `now`, the idle deadline `idle_seconds` later, and the Date header."""
        self.now = self.loop.time()
        self.idle_until = self.now + idle_seconds
        self.head_tail = self.common_headers + format_date_header()

    @property
    def may_delay_responses(self) -> bool:
        """False while draining, and when over three quarters of the connections are in use."""
        return not self.draining and 4 * len(self.registry) < 3 * self.limits.max_connections

    def body_limit(self, route: FastRoute) -> int:
        """Return the maximum body size of a route in bytes."""
        return self.limits.body_bytes if route.body_limit is None else route.body_limit

    def match_route(self, head: bytes) -> RouteMatch:
        """Parse and cache the request line of `head`; raise `RequestRefusal` if it is invalid."""
        line = head[: head.find(b"\r\n")]
        method, raw_target, http_minor = parse_request_line(line)
        target, authority = parse_target(method, raw_target)
        path = target.partition(b"?")[0].decode("ascii")
        route, params = self._fast_routes.find(method, path)
        host = None if authority is None else parse_host(authority)
        match = RouteMatch(method, target, http_minor, path, route, params, host)
        if b"?" not in target:  # queries rarely repeat
            self.route_matches.store(line, match, len(line))
        return match

    def match_route_or_none(self, head: bytes) -> RouteMatch | None:
        """Parse the request line of a head that llhttp has not validated; None if invalid."""
        try:
            return self.match_route(head)
        except RequestRefusal:
            return None

    def parse_framing(self, lines: tuple[bytes, ...], http_minor: int) -> RequestFraming:
        """Parse and cache framing lines; raise `RequestRefusal` if they are ambiguous."""
        framing = parse_framing(lines, http_minor)
        self.framings[http_minor].store(lines, framing, sum(map(len, lines)))
        return framing

    def error_response(self, status: int, detail: str) -> Response:
        """Return and count an error response of the server itself."""
        self.stats.errors += 1
        return with_retry_header(self._make_error_response(status, detail))

    def exception_response(self, route: FastRoute, error: BaseException) -> Response:
        """Return the response for an exception raised by a fast route."""
        if refusal := route.error_to_refusal(error):
            return with_retry_header(self._make_error_response(refusal.status, refusal.detail))
        log.error("fast route raised route=%s", route.name, exc_info=error)
        return self._make_error_response(500, "The server could not process this request.")

    def _make_error_response(self, status: int, detail: str) -> Response:
        try:
            return self._error_response(status, detail)
        except Exception:
            log.exception("error page raised status=%d", status)
            return problem_response(status, detail)
