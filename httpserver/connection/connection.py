"""The protocol of a connection: transport events, the general path, the Tornado adapter's calls."""

from math import inf

from httpserver.body_admission import OVERLOADED_DETAIL
from httpserver.client_stream import (
    CLOSED,
    IDLE,
    LINGERING,
    READING_BODY,
    READING_HEAD,
    RESPONDING,
)
from httpserver.connection.base_connection import BaseConnection
from httpserver.connection.connection_memory import SMALL_REQUEST_BYTES, UNCOUNTED_BODY_BYTES
from httpserver.connection.fast_path import try_serve_get, try_serve_post
from httpserver.connection.incoming_body import (
    IncomingBody,
    check_route_admission,
    open_route_body,
)
from httpserver.context.server_context import ServerContext
from httpserver.fast_routes import FastRoute, RouteMatch
from httpserver.protocol.message_reader import MessageReader
from httpserver.protocol.request_framing import RequestFraming, find_framing_lines
from httpserver.protocol.request_id import split_request_id
from httpserver.refusal import RequestRefusal
from httpserver.tornado.tornado_request import TornadoRequest

# Input behind the current request; above this, the connection stops reading.
_MAX_PIPELINED_BYTES = 65_536
_BODY_READ_BYTES = 65_536
# Smaller for chunked bodies, because chunks of single bytes are slow to parse.
_CHUNKED_READ_BYTES = 16_384
_CONTINUE_RESPONSE = b"HTTP/1.1 100 Continue\r\n\r\n"


class Connection(BaseConnection):
    """The protocol of one accepted connection.

    Requests are served strictly in sequence: a pipelined request is parsed after the response to
    the one before it. So responses are in order, and each request sees the effects of those before.
    """

    __slots__ = (
        "_body",
        "_input_offset",
        "_processing",
        "_tornado_request",
        "_used_application",
    )

    def __init__(self, context: ServerContext) -> None:
        super().__init__(context)
        # The unread input is _input[_input_offset:].
        self._input_offset = 0
        self._body: IncomingBody | None = None
        self._tornado_request: TornadoRequest | None = None
        self._used_application = False
        self._processing = False

    # Called by the transport.

    def data_received(self, data: bytes) -> None:
        """Serve a complete request on the fast path, others on the general path."""
        stream = self.stream
        if (
            stream.phase == IDLE
            and not (stream.write_paused or self.input or self.reading_blocked)
            and (
                try_serve_get(self, data)
                if data[-4:] == b"\r\n\r\n"
                else data[:5] == b"POST " and try_serve_post(self, data)
            )
        ):
            return
        if stream.phase < LINGERING:
            self.input = self.input[self._input_offset :] + data if self.input else data
            self._input_offset = 0
            self.process_input()
        else:
            stream.discard_while_lingering(data)

    def eof_received(self) -> bool:
        """Finish the requests received: the peer sends no more, but may still read."""
        stream = self.stream
        stream.eof_seen = True
        if stream.phase == LINGERING or stream.peer.secure:
            # TLS cannot be half-closed.
            return False
        if stream.phase == RESPONDING and self._tornado_request is not None:
            self._tornado_request.handle_peer_eof()
        self.process_input()
        return stream.phase < CLOSED

    def pause_writing(self) -> None:
        """Start the write timeout."""
        self.stream.pause_writing()

    def resume_writing(self) -> None:
        """Continue the application's response and the input."""
        self.release_unsent()
        self.stream.resume_writing()
        if self._tornado_request is not None:
            self._tornado_request.complete_flushes()
        self.process_input()

    def connection_lost(self, exc: Exception | None) -> None:
        """Release everything that belongs to the connection."""
        self.stream.phase = CLOSED
        self.discard_input()
        self.context.registry.unregister(self)
        self.release_unsent()
        self.reset_reader()
        self.abandon_request()
        if self._used_application:
            self.context.application.on_close(self)

    # Reading.

    def process_input(self) -> None:
        """Continue with the input received."""
        stream = self.stream
        if not (self._processing or self.reading_blocked or stream.phase >= RESPONDING):
            self._processing = True
            stream.gather_writes()
            try:
                self._read_requests()
            except RequestRefusal as refusal:
                self.send_error(refusal.status, refusal.detail)
            self._processing = False
            stream.flush()
            if self._input_offset >= len(self.input):
                self.input = b""
                self._input_offset = 0
                if stream.eof_seen and not self.reading_blocked and stream.phase < RESPONDING:
                    if stream.phase == IDLE:
                        self.close_gracefully()
                    else:
                        self.send_error(400, "The connection was closed before the request ended.")
        if stream.phase < LINGERING:
            pending = len(self.input) - self._input_offset
            if pending > SMALL_REQUEST_BYTES or self.memory.pipelined is not None:
                self._account_pipelined(pending)
            stream.set_reading(pending <= _MAX_PIPELINED_BYTES and not self.input_dropped)

    def _account_pipelined(self, size: int) -> None:
        """Reserve memory for input behind an unanswered request, or drop that input.

        The client may retry dropped requests, because it gets no response to them.
        """
        stream = self.stream
        counted = size if stream.phase == RESPONDING and size > SMALL_REQUEST_BYTES else 0
        if not self.memory.reserve_pipelined(stream.peer, counted):
            self.memory.reserve_pipelined(stream.peer, 0)
            self.input = b""
            self._input_offset = 0
            self.input_dropped = True

    def _read_requests(self) -> None:
        scheduler = self.context.scheduler
        while self._can_read():
            if self.stream.phase == READING_BODY:
                self._read_body()
            elif self.stream.write_paused:
                return
            else:
                self._read_head()
            if self._can_read() and scheduler.is_read_time_spent():
                self.block_reading()
                scheduler.schedule_read(self.stream.peer.address, self._resume_reading)

    def _can_read(self) -> bool:
        return (
            self._input_offset < len(self.input)
            and self.stream.phase < RESPONDING
            and not self.reading_blocked
        )

    def _resume_reading(self) -> None:
        self.unblock_reading()
        self.process_input()

    def _read_head(self) -> None:
        context, stream = self.context, self.stream
        reader = self.reader
        if reader is None:
            reader = self.reader = MessageReader()
        if stream.phase == IDLE:
            stream.phase = READING_HEAD
            stream.deadline = context.now + context.limits.header_seconds
            self.route_match = None
        self._input_offset, head = reader.read_head(
            self.input,
            self._input_offset,
            context.limits.request_line_bytes,
            context.limits.header_bytes,
        )
        if head is not None:
            self._start_request(head, reader)

    def _start_request(self, head: bytes, reader: MessageReader) -> None:
        """Serve the request with this head, or prepare for its body."""
        context = self.context
        # Some clients send an empty line behind a body (RFC 9112, section 2.2).
        head = head.removeprefix(b"\r\n")
        lines, self.request_id_line = split_request_id(tuple(find_framing_lines(head)))
        line = head[: head.find(b"\r\n")]
        match = context.route_matches.get(line) or context.match_route(head)
        minor = match.http_minor
        framing = context.framings[minor].get(lines) or context.parse_framing(lines, minor)
        if reader.ends_with_head() is (framing.length != 0):
            raise RequestRefusal(400, "The framing of the request is ambiguous.")
        self.route_match, self.framing = match, framing
        if match.route is None:
            self.pass_to_application(match, framing, head)
        elif framing.length == 0:
            self.call_route(match, framing, head, b"")
        else:
            self._start_route_body(match, match.route, framing, head)

    def _start_route_body(
        self, match: RouteMatch, route: FastRoute, framing: RequestFraming, head: bytes
    ) -> None:
        context, stream = self.context, self.stream
        if route.larger_to_application and not 0 < framing.length <= context.body_limit(route):
            self.pass_to_application(match, framing, head)
            return
        stream.deadline = context.now + context.limits.body_seconds
        available = len(self.input) - self._input_offset
        body = open_route_body(self, match, route, framing, head, available)
        if body.rejection is not None and framing.expects_continue:
            # The client waits for 100 Continue before it sends the body. If it sends the body
            # anyway, nothing reads it.
            self._input_offset = len(self.input)
            self.input_dropped = True
            stream.phase = RESPONDING
            self.handle_result(match, framing, body.rejection)
            return
        self._start_body(body)

    def _start_body(self, body: IncomingBody) -> None:
        framing, reader = self.framing, self.reader
        assert framing is not None and reader is not None
        if framing.length > body.limit:
            raise _body_too_large(body.limit)
        self._body = body
        reader.start_body(framing.length, self.context.limits.header_bytes)
        self.stream.phase = READING_BODY
        if framing.expects_continue and self._input_offset >= len(self.input):
            self.stream.write(_CONTINUE_RESPONSE)

    def _read_body(self) -> None:
        reader, body, stream = self.reader, self._body, self.stream
        match, framing, tornado_request = self.route_match, self.framing, self._tornado_request
        assert reader is not None and body is not None
        assert match is not None and framing is not None
        data, at = self.input, self._input_offset
        stop = at + (_BODY_READ_BYTES if framing.length > 0 else _CHUNKED_READ_BYTES)
        self._input_offset = reader.feed_body(data, at, min(len(data), stop))
        limit = body.limit if tornado_request is None else tornado_request.max_body_bytes
        if reader.announced_bytes > limit:
            raise _body_too_large(limit)
        part = reader.pop_body()
        body.received += len(part)
        if body.accounted and not self.memory.reserve_body(body.received):
            if tornado_request is not None:
                raise RequestRefusal(503, OVERLOADED_DETAIL)
            # The requests that still fit can complete, so the server always makes progress.
            self.memory.release_body()
            assert match.route is not None
            body.reject(check_route_admission(self, match, match.route, framing, body.head, False))
        complete = not reader.open_messages
        if complete:
            stream.phase = RESPONDING
            stream.deadline = inf
        else:
            stream.deadline += len(part) / self.context.limits.body_bytes_per_second
        if tornado_request is not None:
            tornado_request.receive_body(b"" if body.discarded else part, complete)
            return
        if not body.discarded:
            body.parts.append(part)
        if complete:
            self._body = None
            if body.rejection is not None:
                self.handle_result(match, framing, body.rejection)
            else:
                self.call_route(match, framing, body.head, b"".join(body.parts))

    def discard_input(self) -> bool:
        """Discard all input; return whether there was some, or more of a request is expected."""
        pending = self.stream.phase == READING_BODY or self._input_offset < len(self.input)
        self.input = b""
        self._input_offset = 0
        self._body = None
        self.memory.release_input()
        return pending

    # Called by the Tornado adapter.

    def pass_to_application(self, match: RouteMatch, framing: RequestFraming, head: bytes) -> None:
        """Start a request of the Tornado application."""
        context, stream = self.context, self.stream
        self.route_match, self.framing = match, framing
        limit = context.limits.body_bytes
        self._tornado_request = request = TornadoRequest(self, match, framing, limit)
        self._used_application = True
        if framing.length == 0:
            stream.phase = RESPONDING
            stream.deadline = inf
        else:
            stream.phase = READING_BODY
            stream.deadline = context.now + context.limits.body_seconds
            self.memory.assign_body_owners(stream.peer, head)
        request.start(head, stream.peer)

    def prepare_body(self, limit: int, *, accounted: bool, discarded: bool) -> None:
        """Start reading the application's body; raise `RequestRefusal` if it is too large."""
        assert self.framing is not None and self.memory.body is not None
        length = self.framing.length
        counted = accounted and UNCOUNTED_BODY_BYTES < length <= limit
        if counted and not self.memory.body.fits(length):
            raise RequestRefusal(503, OVERLOADED_DETAIL)
        self._start_body(IncomingBody(limit, accounted, discarded))

    def application_finished(self, keep_alive: bool) -> None:
        """Continue after the application's response."""
        stream = self.stream
        self._tornado_request = None
        self.finish_response(keep_alive and stream.phase == RESPONDING)
        has_input = self.input or stream.eof_seen
        if has_input and not self._processing and stream.phase < LINGERING:
            # The next request must not be served inside the handler of this one.
            self.context.loop.call_soon(self.process_input)

    def abandon_request(self) -> bool:
        """Cancel the application's request; return whether its response has begun."""
        request, self._tornado_request = self._tornado_request, None
        if request is None:
            return False
        request.handle_connection_lost()
        return request.headers_sent


def _body_too_large(limit: int) -> RequestRefusal:
    return RequestRefusal(413, f"The body is larger than {limit} bytes: send less at a time.")
