"""One connection: reads its requests one after the other, has each answered, minds its limits."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from functools import partial
from math import inf
from typing import TYPE_CHECKING, Any

from tornado.httputil import HTTPInputError
from tornado.iostream import StreamClosedError

from wire.bridge import Exchange
from wire.framing import Framing, head_end, measure, special_lines
from wire.lanes import Lane, Way
from wire.messages import Request, Response
from wire.reading import OBJECTIONS, Reader
from wire.refusal import Refusal
from wire.sockets import unsent

if TYPE_CHECKING:
    from wire.server import Server

log = logging.getLogger("wire")

# What the connection is doing. In LINGER what comes in is dropped: the answer shall reach a peer
# that is still sending, which closing at once would prevent (RFC 9112, 9.6).
IDLE, HEAD, BODY, ANSWER, LINGER, CLOSED = range(6)
# So much of what comes behind a request that is being answered is held; then reading stops.
_AHEAD = 65_536
# So much of a body is handed on at once, and so many steps are made before others have a turn.
_SLICE = 65_536
_TURN = 32
# Answers up to this size, to requests that came together, are sent together.
_SMALL = 4_096
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class Connection(asyncio.Protocol):
    """The protocol of one accepted connection.

    Requests are served strictly one after the other: a pipelined one is not looked at before
    the one ahead of it has been answered, so that answers are in order and each request sees
    what the one ahead of it did.
    """

    __slots__ = (
        "_at",
        "_blocked",
        "_body",
        "_eof",
        "_exchange",
        "_framing",
        "_gathered",
        "_head",
        "_left",
        "_peer",
        "_phase",
        "_reader",
        "_reading",
        "_received",
        "_rest",
        "_served",
        "_transport",
        "_unread",
        "_used_application",
        "_way",
        "_working",
        "deadline",
        "paused",
        "server",
        "stall",
    )

    def __init__(self, server: "Server") -> None:
        self.server = server
        self._transport: asyncio.Transport
        self._reader: Reader | None = None
        self._phase = IDLE
        # What has come and is not used yet stands in _rest, from _at on. Of a head of which more
        # must come, _head is what llhttp has seen.
        self._rest = b""
        self._at = 0
        self._head = b""
        self._way: Way | None = None
        self._framing: Framing | None = None
        self._body: list[bytes] = []
        self._received = 0
        self._exchange: Exchange | None = None
        self._gathered: list[bytes] | None = None
        self._working = False
        self._blocked = False
        self._reading = True
        self._eof = False
        self._served = 0
        self._unread = 0
        self._left = inf
        self._used_application = False
        self.paused = False
        # When the sweep must act: on what the connection does, and on a peer that does not read.
        self.deadline = inf
        self.stall = inf

    # What the transport calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the connection, or refuse the one too many."""
        self._transport = transport  # type: ignore[assignment]
        server = self.server
        name = transport.get_extra_info("peername")
        secure = transport.get_extra_info("sslcontext") is not None
        self._peer = server.peer(name[0] if isinstance(name, tuple) and name else "unix", secure)
        self.deadline = server.now + server.limits.idle_seconds
        if not server.admit(self):
            self.refuse(503, "There are as many connections as this server takes; try again soon.")

    def data_received(self, data: bytes) -> None:
        """Take what has come."""
        phase = self._phase
        if (
            phase == IDLE
            and data[-1] == 10
            and not self._rest
            and not self.paused
            and self._serve_at_once(data)
        ):
            return
        if phase < LINGER:
            self._rest = self._rest[self._at :] + data if self._rest else data
            self._at = 0
            self._go_on()
        else:
            self._received += len(data)
            if self._received > self.server.limits.linger_bytes:
                if self._unsent():
                    self._regulate()
                else:
                    self.abort()

    def eof_received(self) -> bool:
        """The peer sends no more, but may still read: what it asked for is answered."""
        self._eof = True
        if self._phase == LINGER or self._peer.secure:
            return False
        if self._phase == ANSWER and self._exchange is not None:
            self._exchange.gone()
        self._go_on()
        return self._phase < CLOSED

    def pause_writing(self) -> None:
        """The peer is slow to read: nothing new is begun until it has caught up."""
        self.paused = True
        self._unread = self._unsent()
        self.stall = self.server.now + self.server.limits.write_seconds

    def resume_writing(self) -> None:
        """The peer has caught up."""
        self.paused = False
        self.stall = inf
        if self._phase == IDLE:
            self.deadline = self.server.idle_until
        if self._exchange is not None:
            self._exchange.drained()
        self._go_on()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is over, whoever ended it."""
        self._phase = CLOSED
        self._rest = self._head = b""
        self.server.forget(self)
        self._forget_reader()
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            exchange.lost()
        if self._used_application:
            self.server.application.on_close(self)

    # Reading.

    def _go_on(self) -> None:
        """Do what can be done with what has come."""
        if self._working or self._blocked or self._phase >= ANSWER:
            self._regulate()
            return
        self._working = True
        self._gathered = []
        steps = 0
        try:
            while self._at < len(self._rest) and self._phase < ANSWER and not self._blocked:
                if self._phase == BODY:
                    self._read_body()
                elif self.paused:
                    break
                else:
                    self._read_head()
                steps += 1
                if steps == _TURN and not self._blocked:
                    self._blocked = True
                    self.server.loop.call_soon(self._unblock)
        except Refusal as refusal:
            self.refuse(refusal.status, refusal.detail)
        self._working = False
        self._flush()
        if self._at >= len(self._rest):
            self._rest = b""
            self._at = 0
            if self._eof and not self._blocked and self._phase < ANSWER:
                if self._phase == IDLE:
                    self.end()
                else:
                    self.refuse(400, "The request ended before it was complete.")
        self._regulate()

    def _unblock(self) -> None:
        self._blocked = False
        self._go_on()

    def _regulate(self) -> None:
        """Stop reading when enough waits, and start again when it has been used."""
        if self._phase == LINGER:
            wanted = self._received <= self.server.limits.linger_bytes
        else:
            wanted = len(self._rest) - self._at <= _AHEAD
        if wanted != self._reading and self._phase < CLOSED:
            self._reading = wanted
            if wanted:
                self._transport.resume_reading()
            else:
                self._transport.pause_reading()

    def _read_head(self) -> None:
        """Read on in a head, and begin its request if that is all of it."""
        server = self.server
        rest, at = self._rest, self._at
        reader = self._reader
        if reader is None:
            reader = self._reader = Reader()
        if self._phase == IDLE:
            self._phase = HEAD
            self.deadline = server.now + server.limits.header_seconds
        if not self._head:
            reader.begin()
        end = head_end(self._head, rest, at)
        piece = rest[at : end or len(rest)]
        self._at = at + len(piece)
        head = self._head + piece
        reader.judge(piece, head)
        measure(head, server.limits.line, server.limits.headers)
        self._head = b"" if end else head
        if end:
            self._begin(head, reader)

    def _begin(self, head: bytes, reader: Reader) -> None:
        """Serve the request whose head this is, or read on in it if it has a body."""
        server = self.server
        way = server.ways.get(head[: head.find(b"\r\n")])
        if way is None:
            if head[:1] in b"\r\n":
                self._begin_late(head, reader)
                return
            way = server.way(head)
        lines = tuple(special_lines(head))
        framing = server.framings[way.minor].get(lines) or server.framing(lines, way.minor)
        if len(head) > server.small:
            measure(head, server.limits.line, server.limits.headers)
        if reader.bodiless() is (framing.length != 0):
            raise Refusal(400, "The request's framing is ambiguous.")
        lane = way.lane
        if lane is not None and framing.plain:
            self._serve(lane, way, framing, head, b"")
            return
        self._way, self._framing = way, framing
        if lane is None:
            self._begin_exchange(way, framing, head)
        elif framing.length == 0:
            self._serve(lane, way, framing, head, b"")
        else:
            limit = server.limits.body if lane.body_limit is None else lane.body_limit
            self._head = head
            self.deadline = server.now + server.limits.body_seconds
            self._expect_body(framing, limit)

    def _begin_late(self, head: bytes, reader: Reader) -> None:
        """Begin after an empty line, which some clients send behind a body (RFC 9112, 2.2)."""
        if head[:2] != b"\r\n" or head[2:3] in b"\r\n":
            raise Refusal(400, "A request begins with its method, after one empty line at most.")
        self._begin(head[2:], reader)

    def _expect_body(self, framing: Framing, limit: int) -> None:
        """Be ready for the body, if it is not larger than `limit`."""
        if framing.length > limit:
            raise Refusal(413, f"The body may have {limit} bytes.")
        server = self.server
        assert self._reader is not None
        self._reader.begin_body(framing.length, server.limits.headers)
        self._phase = BODY
        self._received = 0
        if framing.expects and self._at >= len(self._rest):
            self.write(_CONTINUE)

    def _read_body(self) -> None:
        """Read on in a body."""
        reader, way, framing = self._reader, self._way, self._framing
        assert reader is not None and way is not None and framing is not None
        limits = self.server.limits
        exchange, lane = self._exchange, way.lane
        if exchange is not None:
            limit = exchange.max_body
        else:
            assert lane is not None
            limit = limits.body if lane.body_limit is None else lane.body_limit
        rest, at = self._rest, self._at
        self._at = reader.body(rest, at, min(len(rest), at + _SLICE))
        if reader.announced > limit:
            raise Refusal(413, f"The body may have {limit} bytes.")
        data = reader.take()
        self.deadline += len(data) / limits.body_rate
        if exchange is not None:
            if reader.complete:
                self._phase = ANSWER
                self.deadline = inf
            self._hand_on(exchange, data)
            return
        self._body.append(data)
        if reader.complete:
            assert lane is not None
            head, self._head = self._head, b""
            body = b"".join(self._body)
            self._body.clear()
            self._serve(lane, way, framing, head, body)

    # The data plane.

    def _serve_at_once(self, data: bytes) -> bool:
        """Serve a request for a lane that has come alone, in one piece, without a body.

        Nearly all do, and this is the short way: the same steps as through `_go_on`, with none
        that only others need. False for any other: nothing is done then, and whatever llhttp
        has been fed is forgotten.
        """
        server = self.server
        # Where there is one byte to find, its number is the quickest way to say so.
        way = server.ways.get(data[: data.find(13)])
        if way is None or not way.quick or len(data) > server.small:
            return False
        reader = self._reader
        if reader is None:
            reader = self._reader = Reader()
        reader.ending.append(None)
        try:
            reader.feed(data)
        except OBJECTIONS:
            # A malformed request, or a second one: its end is one too many.
            self._forget_reader()
            return False
        framing = server.framings[way.minor].get(tuple(special_lines(data)))
        if framing is None or not framing.plain or reader.ending:
            self._forget_reader()
            return False
        lane: Lane = way.lane  # type: ignore[assignment]
        try:
            answer = lane.call(
                Request(
                    way.method,
                    way.target,
                    way.path,
                    way.params,
                    way.authority or framing.host,
                    data,
                    b"",
                    self._peer,
                )
            )
        except Exception as error:
            answer = server.failed(lane, error)
        if type(answer) is not Response or answer.large or server.counting:
            self._conclude(lane, way, framing, answer)
            return True
        server.stats.requests += 1
        lane.statuses[answer.status] += 1
        date = server.date
        if answer.sent_at is not date:
            answer.sent = b"".join((answer.head, date, answer.body))
            answer.sent_at = date
        self._transport.write(answer.sent)
        self.deadline = server.idle_until
        return True

    def _forget_reader(self) -> None:
        if self._reader is not None:
            self._reader.close()
            self._reader = None

    def _serve(self, lane: Lane, way: Way, framing: Framing, head: bytes, body: bytes) -> None:
        """Call the lane and send its answer, now or when it comes."""
        host = way.authority or framing.host
        try:
            answer = lane.call(
                Request(way.method, way.target, way.path, way.params, host, head, body, self._peer)
            )
        except Exception as error:
            answer = self.server.failed(lane, error)
        self._conclude(lane, way, framing, answer)

    def _conclude(
        self, lane: Lane, way: Way, framing: Framing, answer: Response | Awaitable[Response]
    ) -> None:
        """Send a lane's answer, now or when it comes."""
        if isinstance(answer, Response):
            self._answer(lane, way, framing, answer)
            return
        try:
            future = asyncio.ensure_future(answer)
        except TypeError as error:
            self._answer(lane, way, framing, self.server.failed(lane, error))
            return
        self._phase = ANSWER
        self.deadline = inf
        future.add_done_callback(partial(self._served_late, lane, way, framing))

    def _served_late(
        self, lane: Lane, way: Way, framing: Framing, future: "asyncio.Future[Response]"
    ) -> None:
        try:
            response = future.result()
            if not isinstance(response, Response):
                raise TypeError(f"{lane} answered {response!r}")
        except (Exception, asyncio.CancelledError) as error:
            response = self.server.failed(lane, error)
        if self._phase == ANSWER:
            self._answer(lane, way, framing, response)
            self._go_on()

    def _answer(self, lane: Lane, way: Way, framing: Framing, response: Response) -> None:
        """Send a lane's answer, and be ready for the next request or close."""
        server = self.server
        server.stats.requests += 1
        lane.statuses[response.status] += 1
        stays = framing.keep_alive and not self.last()
        pieces = [response.head, server.date]
        if not stays:
            pieces.insert(1, b"Connection: close\r\n")
        elif not way.minor:
            pieces.insert(1, b"Connection: keep-alive\r\n")
        body = b"" if way.method == "HEAD" else response.body
        if response.large:
            self.write(b"".join(pieces))
            self.write(body)
        else:
            self.write(b"".join((*pieces, body)))
        self._settle(stays)

    # The control plane.

    def _begin_exchange(self, way: Way, framing: Framing, head: bytes) -> None:
        """Give the request to the application."""
        server = self.server
        exchange = Exchange(self, way, framing, server.limits.body)
        self._exchange = exchange
        self._used_application = True
        if framing.length == 0:
            self._phase = ANSWER
            self.deadline = inf
        else:
            self._phase = BODY
            self.deadline = server.now + server.limits.body_seconds
        self._call(partial(exchange.begin, way, framing, head, self._peer), self._begun)

    def _begun(self) -> None:
        """The application has the head."""
        exchange, framing = self._exchange, self._framing
        assert exchange is not None and framing is not None
        if framing.length == 0:
            self._call(exchange.complete)
        else:
            self._expect_body(framing, exchange.max_body)

    def _hand_on(self, exchange: Exchange, data: bytes) -> None:
        """Give the application some of the body, and its end when it has come."""
        then = partial(self._call, exchange.complete) if self._phase == ANSWER else None
        if data:
            self._call(partial(exchange.receive, data), then)
        elif then is not None:
            then()

    def _call(
        self,
        call: Callable[[], Awaitable[None] | None],
        then: Callable[[], None] | None = None,
    ) -> None:
        """Call the application, wait if it asks for it, and do `then` if nothing went wrong."""
        exchange = self._exchange
        try:
            awaitable = call()
            if awaitable is None:
                if then is not None and self._exchange is exchange:
                    then()
                return
            future = asyncio.ensure_future(awaitable)
        except Exception as error:
            self._raised(exchange, error)
            return
        self._blocked = True
        # The time that the application takes is not the peer's.
        self._left, self.deadline = self.deadline - self.server.now, inf
        future.add_done_callback(partial(self._called, exchange, then))

    def _called(
        self,
        exchange: Exchange | None,
        then: Callable[[], None] | None,
        future: "asyncio.Future[None]",
    ) -> None:
        self._blocked = False
        try:
            future.result()
            if self._exchange is exchange:
                self.deadline = self.server.now + self._left
                if then is not None:
                    then()
        except (Exception, asyncio.CancelledError) as error:
            self._raised(exchange, error)
        self._go_on()

    def _raised(self, exchange: Exchange | None, error: BaseException) -> None:
        """What the application raised ends the connection: nobody knows what the peer has seen."""
        if isinstance(error, StreamClosedError) and self._phase == CLOSED:
            return
        if isinstance(error, HTTPInputError):
            error = Refusal(400, f"The request cannot be read: {error}.")
        if not isinstance(error, Refusal):
            log.error("the application raised", exc_info=error)
            error = Refusal(500, "The server could not answer this request.")
        if self._exchange is exchange and exchange is not None:
            self.refuse(error.status, error.detail)

    # What the exchange calls.

    @property
    def closed(self) -> bool:
        """Whether nothing can be sent any more."""
        return self._phase >= LINGER

    def write(self, data: bytes) -> None:
        """Send."""
        gathered = self._gathered
        if gathered is None:
            self._transport.write(data)
            return
        gathered.append(data)
        if len(data) > _SMALL:
            # Now, so that the transport can say that it has enough.
            self._transport.write(b"".join(gathered))
            gathered.clear()

    def last(self) -> bool:
        """Count an answer; true if the connection must close after it."""
        self._served += 1
        limit = self.server.limits.requests_per_connection
        return self.server.draining or 0 < limit <= self._served

    def allow(self, seconds: float) -> None:
        """Let the body take so long from now."""
        if self._blocked:
            self._left = seconds
        elif self._phase == BODY:
            self.deadline = self.server.now + seconds

    def ssl_object(self) -> Any:
        """The TLS object; None without TLS."""
        return self._transport.get_extra_info("ssl_object")

    def exchange_finished(self, stays: bool) -> None:
        """The application has answered."""
        self.server.stats.requests += 1
        self._exchange = None
        self._settle(stays and self._phase == ANSWER)
        if not self._working and self._phase < LINGER:
            # Not from here: the next request must not be served inside the handler of this one.
            self.server.loop.call_soon(self._go_on)

    # Ending.

    def _settle(self, stays: bool) -> None:
        """Be ready for the next request, or close."""
        if stays:
            self._phase = IDLE
            self.deadline = self.server.idle_until
        else:
            self.end()

    def _flush(self) -> None:
        gathered, self._gathered = self._gathered, None
        if gathered:
            self._transport.write(b"".join(gathered))

    def refuse(self, status: int, detail: str) -> None:
        """Answer an error of the wire's own, unless the answer has begun, and close."""
        if self._phase >= LINGER:
            return
        exchange, self._exchange = self._exchange, None
        answered = exchange is not None and exchange.answered
        if exchange is not None:
            exchange.lost()
        if answered:
            self.abort()
            return
        response = self.server.erroneous(status, detail)
        self.write(b"".join((response.head, b"Connection: close\r\n", self.server.date)))
        if self._way is None or self._way.method != "HEAD":
            self.write(response.body)
        self.end(more=True)

    def end(self, more: bool = False) -> None:
        """Close when all has been sent, and, where more may be coming, when that has come."""
        self._flush()
        more = more or self._phase == BODY or self._at < len(self._rest)
        self._rest = self._head = b""
        self._at = self._received = 0
        self._phase = LINGER
        server, transport = self.server, self._transport
        if more and not self._eof:
            self.deadline = server.now + server.limits.linger_seconds
            if transport.can_write_eof():
                transport.write_eof()
            self._regulate()
        else:
            self.deadline = server.now + server.limits.write_seconds
            transport.close()
        self._unread = self._unsent()

    def abort(self) -> None:
        """Cut the connection; what has not been sent is lost."""
        self._gathered = None
        self._phase = LINGER
        self._transport.abort()

    # What the server calls.

    def expire(self, now: float) -> None:
        """A time limit is over."""
        timeouts, limits = self.server.stats.timeouts, self.server.limits
        if self._phase == LINGER:
            self.stall = inf
            if self._reads_on():
                self.deadline = now + limits.write_seconds
            else:
                self.abort()
        elif self.stall <= now:
            if self._reads_on():
                self.stall = now + limits.write_seconds
            else:
                timeouts["write"] += 1
                self.abort()
        elif self._phase == IDLE:
            if self.paused:
                # Not idle: it has an answer to read, and the stall is watched.
                self.deadline = inf
                return
            timeouts["idle"] += 1
            if self._transport.get_write_buffer_size():
                self.abort()
            else:
                self.end()
        elif self._phase in (HEAD, BODY):
            kind = "header" if self._phase == HEAD else "body"
            timeouts[kind] += 1
            self.refuse(408, f"The request's {kind} took too long to come.")

    def _reads_on(self) -> bool:
        """Whether the peer has read some of what waits for it since last asked."""
        before, self._unread = self._unread, self._unsent()
        return 0 < self._unread < before

    def _unsent(self) -> int:
        """The bytes that the peer has not acknowledged, those in the kernel's buffer too."""
        transport = self._transport
        return transport.get_write_buffer_size() + unsent(transport.get_extra_info("socket"))

    def retire(self, busy_since: float) -> None:
        """Close if nothing is asked and was not lately; if it was, close soon."""
        if self._phase == IDLE and not self._rest:
            idle_since = self.deadline - self.server.limits.idle_seconds
            if idle_since < busy_since:
                self.end()
            else:
                self.deadline = self.server.idle_until
