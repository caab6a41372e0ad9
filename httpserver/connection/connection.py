"""One connection: reads its requests one after the other and has each of them served."""

import asyncio
import socket
from math import inf
from typing import TYPE_CHECKING

from httpserver.connection.body_accounting import SMALL_REQUEST_BYTES, UNCOUNTED_BODY_BYTES
from httpserver.connection.fast_path import FastPathConnection
from httpserver.connection.flow import (
    CLOSED,
    IDLE,
    LINGERING,
    READING_BODY,
    READING_HEAD,
    RESPONDING,
)
from httpserver.fast_routes import RouteMatch
from httpserver.protocol.body_admission import OVERLOADED_DETAIL, BodyRejection
from httpserver.protocol.message_reader import MessageReader
from httpserver.protocol.request_framing import (
    CHUNKED_LENGTH,
    RequestFraming,
    check_head_size,
    find_framing_lines,
    find_head_end,
)
from httpserver.protocol.request_id import split_request_id
from httpserver.refusal import RequestRefusal
from httpserver.tornado.tornado_request import TornadoRequest

if TYPE_CHECKING:
    from httpserver.server import Server

# So much of what comes behind a request that is being answered is held; then reading stops.
_MAX_PIPELINED_BYTES = 65_536
# So much of a body is read at once.
_BODY_READ_BYTES = 65_536
_CHUNKED_READ_BYTES = 16_384  # of a body in chunks, each of which may be a byte
_CONTINUE_RESPONSE = b"HTTP/1.1 100 Continue\r\n\r\n"


class Connection(FastPathConnection):
    """The protocol of one accepted connection.

    Requests are served strictly one after the other: a pipelined one is not looked at before
    the one ahead of it has been answered, so that answers are in order and each request sees
    what the one ahead of it did.
    """

    __slots__ = (
        "_arrived",
        "_at",
        "_body",
        "_counted",
        "_dropping",
        "_exchange",
        "_head",
        "_left",
        "_limit",
        "_mute",
        "_turned_away",
        "_used_application",
        "_working",
    )

    def __init__(self, server: "Server") -> None:
        super().__init__(server)
        # What is not used yet stands in _rest from _at on. Of a head that is not complete, _head
        # is what llhttp has seen; of a lane's request with a body, all of it.
        self._at = 0
        self._head = b""
        # Whether the request whose head is being read is a HEAD.
        self._mute = False
        self._body: list[bytes] = []
        self._limit = 0
        # What has arrived of the body; whether it takes room as it arrives, or is read past; and
        # the response to a request whose body is read past because it was turned away.
        self._arrived = 0
        self._counted = False
        self._dropping = False
        self._turned_away: BodyRejection = None
        self._exchange: TornadoRequest | None = None
        self._used_application = False
        self._working = False
        self._left = inf

    # What the transport calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the connection, or refuse the one too many."""
        self._transport = transport  # type: ignore[assignment]
        server = self.server
        secure = transport.get_extra_info("sslcontext") is not None
        local = transport.get_extra_info("socket").family == socket.AF_UNIX
        name = transport.get_extra_info("peername")
        if not (local or name):
            # It left before it was met, and nobody knows who it was.
            self.abort()
            return
        self._peer = server.peer("unix" if local else name[0], secure)
        self.deadline = server.now + server.limits.idle_seconds
        if not server.admit(self):
            self.refuse(503, "There are as many connections as this server takes; try again soon.")

    def take(self, data: bytes) -> None:
        """Take what has come, whatever it is."""
        if self.phase < LINGERING:
            self._rest = self._rest[self._at :] + data if self._rest else data
            self._at = 0
            self.go_on()
        else:
            self.drop(data)

    def eof_received(self) -> bool:
        """The peer sends no more, but may still read: what it asked for is answered."""
        self._eof = True
        if self.phase == LINGERING or self._peer.secure:
            # TLS cannot be closed by halves.
            return False
        if self.phase == RESPONDING and self._exchange is not None:
            self._exchange.eof()
        self.go_on()
        return self.phase < CLOSED

    def resume_writing(self) -> None:
        """The peer has caught up."""
        super().resume_writing()
        if self._exchange is not None:
            self._exchange.drained()
        self.go_on()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is over, whoever ended it."""
        self.phase = CLOSED
        self.discard()
        self.server.forget(self)
        self.forget_unsent()
        self.forget_reader()
        self.abandon()
        if self._used_application:
            self.server.application.on_close(self)

    # Reading.

    def go_on(self) -> None:
        """Do what can be done with what has come."""
        if not (self._working or self._blocked or self.phase >= RESPONDING):
            self._working = True
            self._gathered = []
            try:
                self._read_requests()
            except RequestRefusal as refusal:
                self.refuse(refusal.status, refusal.detail)
            self._working = False
            self.flush()
            if self._at >= len(self._rest):
                self._rest = b""
                self._at = 0
                if self._eof and not self._blocked and self.phase < RESPONDING:
                    self._end_with_peer()
        if self.phase < LINGERING:
            ahead = len(self._rest) - self._at
            if ahead > SMALL_REQUEST_BYTES or self._ahead is not None:
                self._look_ahead(ahead)
            self.read_on(ahead <= _MAX_PIPELINED_BYTES and not self._cut)

    def _look_ahead(self, size: int) -> None:
        """Take room for what came behind a request that is not answered yet, or drop it.

        Whoever sent it has no answer to it, and may send it again.
        """
        if not self.hold_ahead(
            size if self.phase == RESPONDING and size > SMALL_REQUEST_BYTES else 0
        ):
            self.hold_ahead(0)
            self._rest = b""
            self._at = 0
            self._cut = True

    def _read_requests(self) -> None:
        turns = self.server.turns
        while self._at < len(self._rest) and self.phase < RESPONDING and not self._blocked:
            if self.phase == READING_BODY:
                self._read_body()
            elif self.paused:
                return
            else:
                self._read_head()
            more = self._at < len(self._rest) and self.phase < RESPONDING and not self._blocked
            if more and turns.over():
                self.hold()
                turns.read_on(self._peer.address, self._read_on)

    def _read_on(self) -> None:
        self.release()
        self.go_on()

    def _end_with_peer(self) -> None:
        if self.phase == IDLE:
            self.end()
        else:
            self.refuse(400, "The request ended before it was complete.")

    def _read_head(self) -> None:
        """Read on in a head, and begin its request if that is all of it."""
        server = self.server
        rest, at = self._rest, self._at
        reader = self._reader
        if reader is None:
            reader = self._reader = MessageReader()
        if self.phase == IDLE:
            self.phase = READING_HEAD
            self.deadline = server.now + server.limits.header_seconds
            self._way = None
        if not self._head:
            reader.begin()
        end = find_head_end(self._head, rest, at)
        piece = rest[at : end or len(rest)]
        self._at = at + len(piece)
        head = self._head + piece
        self._mute = head.removeprefix(b"\r\n")[:5] == b"HEAD "
        reader.judge(piece, head)
        check_head_size(head, server.limits.line, server.limits.headers)
        self._head = b"" if end else head
        if end:
            self._begin(head, reader)

    def _begin(self, head: bytes, reader: MessageReader) -> None:
        """Serve the request whose head this is, or prepare for its body."""
        server = self.server
        if head[:2] == b"\r\n":
            # An empty line, which some clients send behind a body (RFC 9112, 2.2).
            head = head[2:]
        lines, self._mark = split_request_id(tuple(find_framing_lines(head)))
        way = server.ways.get(head[: head.find(b"\r\n")]) or server.way(head)
        framing = server.framings[way.minor].get(lines) or server.framing(lines, way.minor)
        if reader.bodiless() is (framing.length != 0):
            raise RequestRefusal(400, "The request's framing is ambiguous.")
        self._way, self._framing = way, framing
        lane = way.lane
        if lane is None:
            self.deliver(way, framing, head)
            return
        if framing.length == 0:
            self.serve(way, framing, head, b"")
            return
        limit = server.limits.body if lane.body_limit is None else lane.body_limit
        if lane.larger and not 0 < framing.length <= limit:
            self.deliver(way, framing, head)
            return
        self._limit = limit
        self.deadline = server.now + server.limits.body_seconds
        counted = (
            framing.length > SMALL_REQUEST_BYTES or framing.length > len(self._rest) - self._at
        )
        counted = counted or framing.length == CHUNKED_LENGTH
        if not lane.takes_body:
            counted = False
        elif counted and framing.length <= limit:
            share = self.own_body(head)
            fits = framing.length <= UNCOUNTED_BODY_BYTES or share.fits(framing.length)
            answer = self.turn_away(way, framing, head, fits)
            if answer is not None and framing.expects:
                # It has not been sent yet, and need not be; if it comes all the same, nobody reads
                # it, however long the answer takes.
                self._at = len(self._rest)
                self._cut = True
                self.phase = RESPONDING
                self._conclude(way, framing, answer)
                return
            self._turned_away = answer
        self._head = head
        self._expect_body(limit, counted=counted and self._turned_away is None)
        self._dropping = not lane.takes_body or self._turned_away is not None

    def deliver(self, way: RouteMatch, framing: RequestFraming, head: bytes) -> None:
        """Give the request to the application."""
        server = self.server
        self._way, self._framing = way, framing
        self._exchange = exchange = TornadoRequest(self, way, framing, server.limits.body)
        self._used_application = True
        if framing.length == 0:
            self.phase = RESPONDING
            self.deadline = inf
        else:
            self.phase = READING_BODY
            self.deadline = server.now + server.limits.body_seconds
            self.own_body(head)
        exchange.begin(head, self._peer)

    def expect_body(self, limit: int, *, counted: bool, dropped: bool) -> None:
        """Be ready for the body that the application takes, or that is `dropped`.

        Raises `Refusal` if it is larger than `limit`, or is `counted` and there is no room for it.
        """
        assert self._framing is not None and self._body_share is not None
        length = self._framing.length
        if counted and UNCOUNTED_BODY_BYTES < length <= limit and not self._body_share.fits(length):
            raise RequestRefusal(503, OVERLOADED_DETAIL)
        self._expect_body(limit, counted=counted)
        self._dropping = dropped

    def _expect_body(self, limit: int, *, counted: bool) -> None:
        framing, reader = self._framing, self._reader
        assert framing is not None and reader is not None
        if framing.length > limit:
            raise RequestRefusal(413, f"The body may have {limit} bytes: send less at a time.")
        self._counted = counted
        self._arrived = 0
        reader.begin_body(framing.length, self.server.limits.headers)
        self.phase = READING_BODY
        if framing.expects and self._at >= len(self._rest):
            self.write(_CONTINUE_RESPONSE)

    def _read_body(self) -> None:
        """Read on in a body."""
        reader, exchange, framing = self._reader, self._exchange, self._framing
        assert reader is not None and framing is not None
        rest, at = self._rest, self._at
        stop = at + (_BODY_READ_BYTES if framing.length > 0 else _CHUNKED_READ_BYTES)
        self._at = reader.body(rest, at, min(len(rest), stop))
        limit = self._limit if exchange is None else exchange.max_body
        if reader.announced > limit:
            raise RequestRefusal(413, f"The body may have {limit} bytes: send less at a time.")
        data = reader.take()
        self._arrived += len(data)
        if self._counted and not self.hold_body(self._arrived):
            if exchange is not None:
                raise RequestRefusal(503, OVERLOADED_DETAIL)
            self._give_up_body()
        complete = not reader.ending
        if complete:
            self.phase = RESPONDING
            self.deadline = inf
        else:
            self.deadline += len(data) / self.server.limits.body_rate
        if exchange is not None:
            exchange.receive(b"" if self._dropping else data, complete)
            return
        answer = self._turned_away
        if not self._dropping:
            self._body.append(data)
        if complete:
            way, head = self._way, self._head
            assert way is not None
            body = b"".join(self._body)
            self._head = b""
            self._body.clear()
            self._turned_away = None
            if answer is not None:
                self._conclude(way, framing, answer)
            else:
                self.serve(way, framing, head, body)

    def _give_up_body(self) -> None:
        """Turn away a lane's request although its body has begun to arrive: there is no room.

        Those that find room meanwhile complete, so that something always gets done.
        """
        assert self._way is not None and self._framing is not None
        self._body.clear()
        self.hold_body(0)
        self._counted, self._dropping = False, True
        self._turned_away = self.turn_away(self._way, self._framing, self._head, False)

    def discard(self) -> bool:
        """Forget what has come in; whether there was anything, or more of a request is to come."""
        more = self.phase == READING_BODY or self._at < len(self._rest)
        self._rest = self._head = b""
        self._at = 0
        self._body.clear()
        self._turned_away = None
        self.let_go()
        return more

    # What the exchange calls.

    def hold(self) -> None:
        """Read nothing until `release`; the time it takes is not the peer's."""
        self._blocked = True
        self._left, self.deadline = self.deadline - self.server.now, inf

    def release(self) -> None:
        """Let reading go on."""
        self._blocked = False
        if self.phase < RESPONDING:
            self.deadline = self.server.now + self._left

    def allow(self, seconds: float) -> None:
        """Let the body take so long from now."""
        if self._blocked:
            self._left = seconds
        elif self.phase == READING_BODY:
            self.deadline = self.server.now + seconds

    def exchanged(self, stays: bool) -> None:
        """The application has answered."""
        self._exchange = None
        self.settle(stays and self.phase == RESPONDING)
        if (self._rest or self._eof) and not self._working and self.phase < LINGERING:
            # Not from here: the next request must not be served inside the handler of this one.
            self.server.loop.call_soon(self.go_on)

    # What the flow asks.

    def abandon(self) -> bool:
        """Give up the request that is being served; whether its answer has begun."""
        exchange, self._exchange = self._exchange, None
        if exchange is None:
            return False
        exchange.lost()
        return exchange.answered

    def mute(self) -> bool:
        """Whether the answer must have no body."""
        return self._mute if self._way is None else self._way.method == "HEAD"

    # What the server calls.

    def retire(self, busy_since: float) -> None:
        """Close if nothing is asked and was not lately; if it was, close soon."""
        if self.phase == IDLE and not self._rest:
            idle_since = self.deadline - self.server.limits.idle_seconds
            if idle_since < busy_since:
                self.end(idle=True)
            else:
                self.deadline = self.server.idle_until
