"""The data plane: lanes answer requests."""

import asyncio
from collections.abc import Awaitable
from functools import partial
from math import inf
from typing import TYPE_CHECKING, Any

from httpserver.connection.body_accounting import SMALL_REQUEST_BYTES, AccountedConnection
from httpserver.connection.flow import IDLE, RESPONDING
from httpserver.deferred_response import DeferredResponse
from httpserver.fast_routes import RouteMatch
from httpserver.messages import DelayedResponse, Request, Response
from httpserver.protocol.message_reader import PARSER_ERRORS, MessageReader
from httpserver.protocol.request_framing import RequestFraming, find_framing_lines
from httpserver.protocol.request_id import split_request_id

if TYPE_CHECKING:
    from httpserver.server import Server

# So many answers that are held back make the next one take as long again, so that those who are
# many are refused no more often in a second than those who are few; but no more than so many times
# as long, as peers and a stop of the server have their patience.
_DELAY_DOUBLING_COUNT, _MAX_DELAY_FACTOR = 1_000, 5


class FastPathConnection(AccountedConnection):
    """A connection whose requests lanes answer."""

    __slots__ = ("_blocked", "_framing", "_reader", "_rest", "_served", "_way")

    def __init__(self, server: "Server") -> None:
        super().__init__(server)
        self._reader: MessageReader | None = None
        self._served = 0
        # What has come and is not used yet, and whether it may not be.
        self._rest = b""
        self._blocked = False
        # What is being read, or answered.
        self._way: RouteMatch | None = None
        self._framing: RequestFraming | None = None

    def go_on(self) -> None:
        """Do what can be done with what has come."""
        raise NotImplementedError

    def take(self, data: bytes) -> None:
        """Take what has come, whatever it is."""
        raise NotImplementedError

    def deliver(self, way: RouteMatch, framing: RequestFraming, head: bytes) -> None:
        """Give the request to the application."""
        raise NotImplementedError

    def data_received(self, data: bytes) -> None:
        """Take what has come, and answer it if it is a GET, alone, in one piece, without a body.

        Nearly all are, and this is the short way: the same steps as the long one takes, without
        those that only others need. What is none goes the long way, and what llhttp has been fed
        of it is forgotten.

        `data` ends with an empty line. So if it holds more than one head, either llhttp sees the
        end of a second request, which it takes for an error, or the second announces a body,
        and that is among the special lines.
        """
        server = self.server
        if (
            data[-4:] != b"\r\n\r\n"
            or self.phase != IDLE
            or self.paused
            or self._rest
            or self._blocked
            or len(data) > server.small
        ):
            if not (
                data[:5] == b"POST "
                and self.phase == IDLE
                and not (self._rest or self.paused or self._blocked)
                and self.serve_whole(data)
            ):
                self.take(data)
            return
        # Where there is one byte to find, its number is the quickest way to say so.
        way = server.ways.get(data[: data.find(13)]) or server.likely_way(data)
        if way is None or not way.quick:
            self.take(data)
            return
        reader = self._reader
        if reader is None:
            reader = self._reader = MessageReader()
        reader.ending.append(None)
        try:
            reader.feed(data)
        except PARSER_ERRORS:
            # A malformed request, or a second one: its end is one too many.
            self.forget_reader()
            self.take(data)
            return
        framings, lines = server.framings[way.minor], tuple(find_framing_lines(data))
        framing = framings.get(lines)
        if framing is None:
            lines, self._mark = split_request_id(lines)
            framing = framings.get(lines)
        if framing is None or not framing.plain or reader.ending:
            self.forget_reader()
            self.take(data)
            return
        lane = way.lane
        if lane is None:
            # Empty lines may follow, which are none of the head.
            self.deliver(way, framing, data[: data.find(b"\r\n\r\n") + 4])
            return
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
        if type(answer) is not Response or answer.large or server.counting or self._mark:
            self._conclude(way, framing, answer)
            return
        server.stats.requests += 1
        lane.statuses[answer.status] += 1
        date = server.date
        if answer.sent_at is not date:
            answer.sent = b"".join((answer.head, date, answer.body))
            answer.sent_at = date
        self._transport.write(answer.sent)
        self.deadline = server.idle_until

    def serve_whole(self, data: bytes) -> bool:
        """Serve a lane's request that has come alone, in one piece, with its body.

        The short way of a POST, with the steps of the long one. A sender's heads are mostly alike,
        so those that were right are remembered as they came, with the length that they announce:
        all that llhttp could say of one, it has said. False for any other request: nothing is
        done then, and what llhttp has been fed is forgotten.
        """
        server = self.server
        end = data.find(b"\r\n\r\n") + 4
        head = data[:end]
        known = server.heads.get(head)
        if known is None:
            known = self._judge_whole(data, end)
            if known is None:
                return False
            if not self._mark:  # or the next head is another one
                server.remember(head, *known)
        way, framing = known
        if len(data) - end != framing.length:
            return False
        if framing.length > SMALL_REQUEST_BYTES and not self.own_body(head).hold(framing.length):
            return False
        self.serve(way, framing, head, data[end:])
        return True

    def _judge_whole(self, data: bytes, end: int) -> tuple[RouteMatch, RequestFraming] | None:
        """Where this request leads and how it is framed, if it is one for `serve_whole`."""
        server = self.server
        way = server.ways.get(data[: data.find(13)])
        if way is None or way.lane is None:
            return None
        lines, self._mark = split_request_id(tuple(find_framing_lines(data[:end])))
        framing = server.framings[way.minor].get(lines)
        limit = server.limits.body if way.lane.body_limit is None else way.lane.body_limit
        if (
            framing is None
            or framing.websocket
            or not 0 < framing.length <= limit
            or framing.length != len(data) - end
            or end > server.small
        ):
            return None
        reader = self._reader
        if reader is None:
            reader = self._reader = MessageReader()
        reader.begin()
        try:
            reader.feed(data)
        except PARSER_ERRORS:
            self.forget_reader()
            return None
        if len(reader.take()) != framing.length or reader.ending:
            self.forget_reader()
            return None
        return way, framing

    def serve(self, way: RouteMatch, framing: RequestFraming, head: bytes, body: bytes) -> None:
        """Call the way's lane and send its answer, now or when it comes."""
        lane = way.lane
        assert lane is not None
        host = way.authority or framing.host
        try:
            answer = lane.call(
                Request(way.method, way.target, way.path, way.params, host, head, body, self._peer)
            )
        except Exception as error:
            answer = self.server.failed(lane, error)
        self._conclude(way, framing, answer)

    def _conclude(
        self, way: RouteMatch, framing: RequestFraming, answer: Response | Awaitable[Response]
    ) -> None:
        if isinstance(answer, Response):
            if isinstance(answer, DelayedResponse) and self.server.patient:
                self._hold_back(way, framing, answer)
            else:
                self._answer(way, framing, answer)
            return
        if not isinstance(answer, DeferredResponse):
            try:
                future = asyncio.ensure_future(answer)
            except TypeError as error:
                assert way.lane is not None
                self._answer(way, framing, self.server.failed(way.lane, error))
                return
            answer = DeferredResponse()
            future.add_done_callback(partial(_resolve_deferred, answer))
        self._await(way, framing)
        answer.then(self._came)

    def _came(self, answer: Response | BaseException) -> None:
        """Send the answer that was waited for, or hold it back."""
        if isinstance(answer, DelayedResponse) and self.phase == RESPONDING and self.server.patient:
            assert self._way is not None and self._framing is not None
            self._hold_back(self._way, self._framing, answer)
        else:
            self._come(answer)

    def _await(self, way: RouteMatch, framing: RequestFraming) -> None:
        self.phase = RESPONDING
        self.deadline = inf
        self._way, self._framing = way, framing

    def _hold_back(self, way: RouteMatch, framing: RequestFraming, answer: DelayedResponse) -> None:
        """Send the answer in a while, and read no more than a little until then."""
        if self._body_share is not None:
            self._body_share.hold(0)
        self._await(way, framing)
        server = self.server
        seconds = answer.seconds * min(
            1 + server.held_back / _DELAY_DOUBLING_COUNT, _MAX_DELAY_FACTOR
        )
        server.held_back += 1
        server.loop.call_later(seconds, self._let_come, answer)

    def _let_come(self, answer: DelayedResponse) -> None:
        self.server.held_back -= 1
        self._come(answer)

    def _come(self, answer: Response | BaseException) -> None:
        """Send the answer that was waited for, if the connection still does."""
        way, framing = self._way, self._framing
        assert way is not None and way.lane is not None and framing is not None
        if not isinstance(answer, Response):
            answer = self.server.failed(way.lane, answer)
        if self.phase == RESPONDING:
            self._answer(way, framing, answer)
            if self._rest or self._eof:
                self.go_on()

    def _answer(self, way: RouteMatch, framing: RequestFraming, response: Response) -> None:
        """Send a lane's answer, and be ready for the next request or close."""
        server = self.server
        assert way.lane is not None
        way.lane.statuses[response.status] += 1
        held = self._body_share is not None and self._body_share.held
        if (
            framing.keep_alive
            and way.usual
            and not (response.large or server.counting or held or self._cut or self._mark)
        ):  # as it is nearly always
            server.stats.requests += 1
            self.write(b"".join((response.head, server.date, response.body)))
            self.phase = IDLE
            self.deadline = server.idle_until
            return
        stays = framing.keep_alive and not self.last()
        pieces = [response.head, self._mark]
        if not stays:
            pieces.append(b"Connection: close\r\n")
        elif not way.minor:
            pieces.append(b"Connection: keep-alive\r\n")
        pieces.append(server.date)
        body = b"" if way.method == "HEAD" else response.body
        if response.large:
            self.write(b"".join(pieces))
            self.write(body)
        else:
            self.write(b"".join((*pieces, body)))
        self.settle(stays)

    def last(self) -> bool:
        """Count an answer that begins; true if the connection must close after it."""
        self.server.stats.requests += 1
        self._served += 1
        limit = self.server.limits.requests_per_connection
        return self._cut or self.server.draining or 0 < limit <= self._served

    def forget_reader(self) -> None:
        """Start afresh with the next request."""
        if self._reader is not None:
            self._reader.close()
            self._reader = None


def _resolve_deferred(later: DeferredResponse, future: "asyncio.Future[Any]") -> None:
    """Give what came of a lane's coroutine or future."""
    try:
        answer = future.result()
        if not isinstance(answer, Response):
            raise TypeError(f"an answer must be a Response, not {answer!r}")
    except (Exception, asyncio.CancelledError) as error:
        answer = error
    later.come(answer)
