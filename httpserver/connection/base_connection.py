"""The state of a connection, the responses of fast routes, errors, timeouts and closing."""

import asyncio
import socket
from collections.abc import Awaitable
from functools import partial
from math import inf
from typing import Any

from httpserver.client_stream import (
    IDLE,
    LINGERING,
    READING_BODY,
    READING_HEAD,
    RESPONDING,
    ClientStream,
)
from httpserver.connection.connection_memory import ConnectionMemory
from httpserver.context.server_context import ServerContext
from httpserver.deferred_response import DeferredResponse
from httpserver.fast_routes import RouteMatch
from httpserver.messages import DelayedResponse, Request, Response
from httpserver.protocol.message_reader import MessageReader
from httpserver.protocol.request_framing import RequestFraming

# This many delayed responses double the delay of the next, so that the rate of rejections stays
# constant as clients increase. The maximum factor respects client timeouts and shutdown.
_DELAY_DOUBLING_COUNT, _MAX_DELAY_FACTOR = 1_000, 5


class BaseConnection(asyncio.Protocol):
    """A connection without a way to read requests, which `Connection` adds."""

    __slots__ = (
        "_remaining_seconds",
        "_response_count",
        "context",
        "framing",
        "input",
        "input_dropped",
        "memory",
        "reader",
        "reading_blocked",
        "request_id_line",
        "route_match",
        "stream",
    )

    def __init__(self, context: ServerContext) -> None:
        self.context = context
        self.stream = ClientStream(context)
        self.memory = ConnectionMemory(context)
        self.reader: MessageReader | None = None
        self._response_count = 0
        self.input = b""
        # While reading is blocked, `_remaining_seconds` is the time left for the client.
        self.reading_blocked = False
        self._remaining_seconds = inf
        # Pipelined input was discarded, so the connection must close after the response.
        self.input_dropped = False
        # The current request, and its X-Request-Id line for the response.
        self.route_match: RouteMatch | None = None
        self.framing: RequestFraming | None = None
        self.request_id_line = b""

    # Implemented by the subclass.

    def process_input(self) -> None:
        """Continue with the input received."""
        raise NotImplementedError

    def pass_to_application(self, match: RouteMatch, framing: RequestFraming, head: bytes) -> None:
        """Start a request of the Tornado application."""
        raise NotImplementedError

    def discard_input(self) -> bool:
        """Discard all input; return whether there was some, or more of a request is expected."""
        raise NotImplementedError

    def abandon_request(self) -> bool:
        """Cancel the application's request; return whether its response has begun."""
        raise NotImplementedError

    # Called by the transport.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Register the connection, or respond with 503 if there are too many."""
        context, stream = self.context, self.stream
        stream.transport = transport  # type: ignore[assignment]
        secure = transport.get_extra_info("sslcontext") is not None
        is_unix = transport.get_extra_info("socket").family == socket.AF_UNIX
        peername = transport.get_extra_info("peername")
        if not (is_unix or peername):
            # The peer has already disconnected, and its address is unknown.
            stream.abort()
            return
        stream.peer = context.make_peer("unix" if is_unix else peername[0], secure)
        stream.deadline = context.now + context.limits.idle_seconds
        if not context.registry.register(self):
            self.send_error(503, "The server has too many connections: try again later.")

    # Responses of fast routes.

    def call_route(
        self, match: RouteMatch, framing: RequestFraming, head: bytes, body: bytes
    ) -> None:
        """Call the handler of a fast route, and send its response now or later."""
        route = match.route
        assert route is not None
        host = match.authority or framing.host
        request = Request(
            match.method, match.target, match.path, match.params, host, head, body, self.stream.peer
        )
        try:
            result = route.handler(request)
        except Exception as error:
            result = self.context.exception_response(route, error)
        self.handle_result(match, framing, result)

    def handle_result(
        self, match: RouteMatch, framing: RequestFraming, result: Response | Awaitable[Response]
    ) -> None:
        """Send a response, or wait for an awaitable one."""
        if isinstance(result, Response):
            if isinstance(result, DelayedResponse) and self.context.may_delay_responses:
                self._delay_response(match, framing, result)
            else:
                self._send_response(match, framing, result)
            return
        if not isinstance(result, DeferredResponse):
            try:
                future = asyncio.ensure_future(result)
            except TypeError as error:
                assert match.route is not None
                response = self.context.exception_response(match.route, error)
                self._send_response(match, framing, response)
                return
            result = DeferredResponse()
            future.add_done_callback(partial(_resolve_deferred, result))
        self._wait_for_response(match, framing)
        result.add_callback(self._on_deferred_result)

    def _on_deferred_result(self, result: Response | BaseException) -> None:
        if (
            isinstance(result, DelayedResponse)
            and self.stream.phase == RESPONDING
            and self.context.may_delay_responses
        ):
            assert self.route_match is not None and self.framing is not None
            self._delay_response(self.route_match, self.framing, result)
        else:
            self._send_deferred(result)

    def _wait_for_response(self, match: RouteMatch, framing: RequestFraming) -> None:
        self.stream.phase = RESPONDING
        self.stream.deadline = inf
        self.route_match, self.framing = match, framing

    def _delay_response(
        self, match: RouteMatch, framing: RequestFraming, response: DelayedResponse
    ) -> None:
        self.memory.release_body()
        self._wait_for_response(match, framing)
        context = self.context
        factor = min(1 + context.delayed_responses / _DELAY_DOUBLING_COUNT, _MAX_DELAY_FACTOR)
        context.delayed_responses += 1
        context.loop.call_later(response.delay_seconds * factor, self._send_delayed, response)

    def _send_delayed(self, response: DelayedResponse) -> None:
        self.context.delayed_responses -= 1
        self._send_deferred(response)

    def _send_deferred(self, result: Response | BaseException) -> None:
        """Send a response after its request, unless the connection has been closed."""
        match, framing = self.route_match, self.framing
        assert match is not None and match.route is not None and framing is not None
        if not isinstance(result, Response):
            result = self.context.exception_response(match.route, result)
        if self.stream.phase == RESPONDING:
            self._send_response(match, framing, result)
            if self.input or self.stream.eof_seen:
                self.process_input()

    def _send_response(
        self, match: RouteMatch, framing: RequestFraming, response: Response
    ) -> None:
        context, stream, body_memory = self.context, self.stream, self.memory.body
        assert match.route is not None
        match.route.statuses[response.status] += 1
        if (
            framing.keep_alive
            and match.has_plain_response
            and not (
                response.has_large_body
                or context.counts_requests
                or (body_memory is not None and body_memory.size)
                or self.input_dropped
                or self.request_id_line
            )
        ):  # nearly always
            context.stats.requests += 1
            stream.write(b"".join((response.head, context.head_tail, response.body)))
            stream.phase = IDLE
            stream.deadline = context.idle_until
            return
        keep_alive = framing.keep_alive and not self.count_response()
        pieces = [response.head, self.request_id_line]
        if not keep_alive:
            pieces.append(b"Connection: close\r\n")
        elif not match.http_minor:
            pieces.append(b"Connection: keep-alive\r\n")
        pieces.append(context.head_tail)
        body = b"" if match.method == "HEAD" else response.body
        if response.has_large_body:
            stream.write(b"".join(pieces))
            stream.write(body)
        else:
            stream.write(b"".join((*pieces, body)))
        self.finish_response(keep_alive)

    def count_response(self) -> bool:
        """Count a response; return whether the connection must close after it."""
        self.context.stats.requests += 1
        self._response_count += 1
        limit = self.context.limits.requests_per_connection
        return self.input_dropped or self.context.draining or 0 < limit <= self._response_count

    def finish_response(self, keep_alive: bool) -> None:
        """Wait for the next request, or close."""
        self.memory.release_body()
        self.request_id_line = b""
        if keep_alive and not self.input_dropped:
            self.stream.set_idle()
        else:
            self.close_gracefully()

    # Reading is blocked while the application is busy or other clients have their turn.

    def block_reading(self) -> None:
        """Read nothing until `unblock_reading`; the time does not count for the client."""
        stream = self.stream
        self.reading_blocked = True
        self._remaining_seconds, stream.deadline = stream.deadline - self.context.now, inf

    def unblock_reading(self) -> None:
        """Allow reading again."""
        self.reading_blocked = False
        if self.stream.phase < RESPONDING:
            self.stream.deadline = self.context.now + self._remaining_seconds

    def set_body_timeout(self, seconds: float) -> None:
        """Let the body take `seconds` from now."""
        if self.reading_blocked:
            self._remaining_seconds = seconds
        elif self.stream.phase == READING_BODY:
            self.stream.deadline = self.context.now + seconds

    # Errors, timeouts and closing.

    def reset_reader(self) -> None:
        """Discard the parser's state; the next request gets a new parser."""
        if self.reader is not None:
            self.reader.close()
            self.reader = None

    def send_error(self, status: int, detail: str) -> None:
        """Send an error response unless another has begun, and close."""
        stream = self.stream
        if stream.phase >= LINGERING:
            return
        if self.abandon_request():
            stream.abort()
            return
        response = self.context.error_response(status, detail)
        lines = (response.head, self.request_id_line, b"Connection: close\r\n")
        stream.write(b"".join((*lines, self.context.head_tail)))
        if self.route_match is not None:
            is_head_request = self.route_match.method == "HEAD"
        else:
            is_head_request = self.reader is not None and self.reader.is_head_request
        if not is_head_request:
            stream.write(response.body)
        self.close_gracefully()

    def handle_timeout(self, now: float) -> None:
        """Act on a deadline that has passed."""
        stream, timeouts = self.stream, self.context.stats.timeouts
        if stream.phase == LINGERING:
            stream.handle_linger_timeout(now)
        elif stream.write_deadline <= now:
            stream.handle_write_timeout(now)
        elif stream.phase in (READING_HEAD, READING_BODY):
            kind = "header" if stream.phase == READING_HEAD else "body"
            timeouts[kind] += 1
            self.send_error(408, f"The request {kind} was not received in time.")
        elif stream.write_paused:
            # Not idle: the client still reads a response, with its own deadline.
            stream.deadline = inf
        elif stream.transport.get_write_buffer_size():
            timeouts["write"] += 1
            stream.abort()
        else:
            timeouts["idle"] += 1
            self.close_gracefully(idle=True)

    def close_if_idle(self, busy_since: float) -> None:
        """Close if there has been no request since `busy_since`; otherwise close soon."""
        stream = self.stream
        if stream.phase == IDLE and not self.input:
            idle_since = stream.deadline - self.context.limits.idle_seconds
            if idle_since < busy_since:
                self.close_gracefully(idle=True)
            else:
                stream.deadline = self.context.idle_until

    def reserve_unsent(self, address: str) -> bool:
        """Reserve memory for unsent data of a client; return False if the caller must close."""
        size = self.stream.transport.get_write_buffer_size()
        return self.memory.reserve_unsent(self, address, size)

    def release_unsent(self) -> None:
        """Release the memory reserved for unsent data."""
        self.memory.release_unsent(self)

    def abort(self) -> None:
        """Close at once and discard unsent data."""
        self.stream.abort()

    def close_gracefully(self, *, idle: bool = False) -> None:
        """Close after everything has been sent; `idle` connections do not linger."""
        input_pending = self.discard_input()
        self.stream.close_stream(idle and not input_pending)


def _resolve_deferred(deferred: DeferredResponse, future: "asyncio.Future[Any]") -> None:
    """Pass on the result of a fast route's coroutine or future."""
    try:
        response = future.result()
        if not isinstance(response, Response):
            raise TypeError(f"a fast route must return a Response, not {response!r}")
    except (Exception, asyncio.CancelledError) as error:
        response = error
    deferred.resolve(response)
