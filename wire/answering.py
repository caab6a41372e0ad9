"""The data plane: lanes answer requests."""

import asyncio
from collections.abc import Awaitable
from functools import partial
from math import inf
from typing import TYPE_CHECKING

from wire.flow import ANSWER, IDLE, Flow
from wire.framing import Framing, special_lines
from wire.lanes import Lane, Way
from wire.messages import Request, Response
from wire.reading import OBJECTIONS, Reader

if TYPE_CHECKING:
    from wire.server import Server


class Answering(Flow):
    """A connection whose requests lanes answer."""

    __slots__ = ("_blocked", "_reader", "_rest", "_served")

    def __init__(self, server: "Server") -> None:
        super().__init__(server)
        self._reader: Reader | None = None
        self._served = 0
        # What has come and is not used yet, and whether it may not be.
        self._rest = b""
        self._blocked = False

    def go_on(self) -> None:
        """Do what can be done with what has come."""
        raise NotImplementedError

    def take(self, data: bytes) -> None:
        """Take what has come, whatever it is."""
        raise NotImplementedError

    def deliver(self, way: Way, framing: Framing, head: bytes) -> None:
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
            self.take(data)
            return
        # Where there is one byte to find, its number is the quickest way to say so.
        way = server.ways.get(data[: data.find(13)]) or server.likely_way(data)
        if way is None or not way.quick:
            self.take(data)
            return
        reader = self._reader
        if reader is None:
            reader = self._reader = Reader()
        reader.ending.append(None)
        try:
            reader.feed(data)
        except OBJECTIONS:
            # A malformed request, or a second one: its end is one too many.
            self.forget_reader()
            self.take(data)
            return
        framing = server.framings[way.minor].get(tuple(special_lines(data)))
        if framing is None or not framing.plain or reader.ending:
            self.forget_reader()
            self.take(data)
            return
        lane = way.lane
        if lane is None:
            self.deliver(way, framing, data)
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
        if type(answer) is not Response or answer.large or server.counting:
            self._conclude(lane, way, framing, answer)
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

        The short way of a POST, with the steps of the long one. False for any other request:
        nothing is done then, and what llhttp has been fed is forgotten.
        """
        server = self.server
        way = server.ways.get(data[: data.find(13)])
        if way is None or way.lane is None:
            return False
        end = data.find(b"\r\n\r\n") + 4
        head = data[:end]
        framing = server.framings[way.minor].get(tuple(special_lines(head)))
        limit = server.limits.body if way.lane.body_limit is None else way.lane.body_limit
        if (
            framing is None
            or framing.websocket
            or not 0 < framing.length <= limit
            or framing.length != len(data) - end
            or end > server.small
        ):
            return False
        reader = self._reader
        if reader is None:
            reader = self._reader = Reader()
        reader.begin()
        try:
            reader.feed(data)
        except OBJECTIONS:
            self.forget_reader()
            return False
        body = reader.take()
        if reader.ending or len(body) != framing.length:
            self.forget_reader()
            return False
        self.serve(way.lane, way, framing, head, body)
        return True

    def serve(self, lane: Lane, way: Way, framing: Framing, head: bytes, body: bytes) -> None:
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
        if isinstance(answer, Response):
            self._answer(lane, way, framing, answer)
            return
        try:
            future = asyncio.ensure_future(answer)
        except TypeError as error:
            self._answer(lane, way, framing, self.server.failed(lane, error))
            return
        self.phase = ANSWER
        self.deadline = inf
        future.add_done_callback(partial(self._conclude_late, lane, way, framing))

    def _conclude_late(
        self, lane: Lane, way: Way, framing: Framing, future: "asyncio.Future[Response]"
    ) -> None:
        try:
            response = future.result()
            if not isinstance(response, Response):
                raise TypeError(f"{lane} answered {response!r}")
        except (Exception, asyncio.CancelledError) as error:
            response = self.server.failed(lane, error)
        if self.phase == ANSWER:
            self._answer(lane, way, framing, response)
            self.go_on()

    def _answer(self, lane: Lane, way: Way, framing: Framing, response: Response) -> None:
        """Send a lane's answer, and be ready for the next request or close."""
        lane.statuses[response.status] += 1
        stays = framing.keep_alive and not self.last()
        pieces = [response.head]
        if not stays:
            pieces.append(b"Connection: close\r\n")
        elif not way.minor:
            pieces.append(b"Connection: keep-alive\r\n")
        pieces.append(self.server.date)
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
        return self.server.draining or 0 < limit <= self._served

    def forget_reader(self) -> None:
        """Start afresh with the next request."""
        if self._reader is not None:
            self._reader.close()
            self._reader = None
