"""One request on its way to the application, and whatever goes wrong there."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from tornado.httputil import HTTPHeaders, HTTPInputError, HTTPMessageDelegate, RequestStartLine
from tornado.iostream import StreamClosedError
from tornado.websocket import WebSocketHandler

from httpserver.connection.flow import CLOSED
from httpserver.fast_routes import RouteMatch
from httpserver.protocol.peers import Peer
from httpserver.protocol.request_framing import RequestFraming
from httpserver.refusal import RequestRefusal
from httpserver.tornado.request_normalizer import normalize_headers
from httpserver.tornado.tornado_connection import TornadoConnection, TornadoContext

if TYPE_CHECKING:
    from httpserver.connection.connection import Connection

log = logging.getLogger("wire")

# Tornado's own word for the address of a peer that has none.
_UNKNOWN_ADDRESS = "0.0.0.0"  # noqa: S104
_HTTP_VERSIONS = ("HTTP/1.0", "HTTP/1.1")


class TornadoRequest(TornadoConnection):
    """One request to the application, and its answer.

    What the application raises ends here: it is logged once, answered 500 if nothing has been
    sent yet, and the connection is closed, as nobody knows what the peer has seen.
    """

    __slots__ = ("_delegate", "_framing", "_way", "max_body")

    def __init__(
        self, link: "Connection", way: RouteMatch, framing: RequestFraming, limit: int
    ) -> None:
        super().__init__(link, way, framing)
        self._way = way
        self._framing = framing
        self._delegate: HTTPMessageDelegate | None = None
        self.max_body = limit

    def begin(self, head: bytes, peer: Peer) -> None:
        """Give the application the head."""
        if peer.proxies is None:
            address, secure = peer.address, peer.secure
        else:
            address, secure = peer.proxies.client(peer, head)
        if address == "unix":
            address = _UNKNOWN_ADDRESS
        self.context = TornadoContext(address, "https" if secure else "http")
        self._call(partial(self._start, head), self._started)

    def receive(self, data: bytes, complete: bool) -> None:
        """Give the application some of the body, and its end if that is all."""
        delegate = self._delegate
        assert delegate is not None
        then = self._complete if complete else None
        self.read = complete
        self._call(partial(delegate.data_received, data) if data else _no_op, then)

    def eof(self) -> None:
        """The peer sends no more: it may have left, so whoever has its whole request is told.

        Whoever has not would wait for the rest for ever.
        """
        if self._delegate is None:
            self.gone()

    def gone(self) -> None:
        """Tell the application, once, that the peer will not hear the rest."""
        delegate, self._delegate = self._delegate, None
        callback, self.close_callback = self.close_callback, None
        try:
            if delegate is not None:
                delegate.on_connection_close()
            elif callback is not None:
                callback()
        except Exception:
            log.exception("on_connection_close raised")

    def lost(self) -> None:
        """Nobody is there to be answered any more."""
        self.finished = True
        self.gone()
        self.broken()

    def set_max_body_size(self, size: int) -> None:
        """Take up to `size` bytes of body from this request."""
        self.max_body = size

    def finish(self) -> None:
        """The answer is complete."""
        super().finish()
        if self._delegate is not None:
            # It answered before it had the whole request, whose rest it will not get.
            self._link.server.loop.call_soon(self.gone)

    def _start(self, head: bytes) -> Awaitable[None] | None:
        way = self._way
        start = RequestStartLine(
            way.method, way.target.decode("latin-1"), _HTTP_VERSIONS[way.minor]
        )
        delegate = self._link.server.application.start_request(self._link, self)
        self._delegate = delegate
        wait = delegate.headers_received(start, _parse_headers(head, way.authority))
        if self._framing.websocket and _is_websocket(delegate):
            raise RequestRefusal(501, "This server does not speak WebSocket.")
        return wait

    def _started(self) -> None:
        if self._framing.length == 0:
            self._complete()
            return
        # A handler that takes its body in pieces counts what it holds of it itself.
        dropped = _ignores_body(self._delegate, self._way.method)
        counted = not (dropped or _streams_body(self._delegate))
        self._link.expect_body(self.max_body, counted=counted, dropped=dropped)

    def _complete(self) -> None:
        """Start the handler, when it is this request's turn."""
        turns = self._link.server.turns
        self._call(partial(turns.start, self.context.remote_ip), self._finish_request)

    def _finish_request(self) -> None:
        delegate, self._delegate = self._delegate, None
        if delegate is not None:
            delegate.finish()
            if self._link.ended:
                # Its peer's end came before it had the whole request, so that it was not told.
                self._link.server.loop.call_soon(self.gone)

    def _call(
        self, call: Callable[[], Awaitable[None] | None], then: Callable[[], None] | None
    ) -> None:
        """Call the application, wait if it asks for it, and go on if nothing went wrong."""
        try:
            awaitable = call()
            if awaitable is None:
                if then is not None and not self.finished:
                    then()
                return
            future = asyncio.ensure_future(awaitable)
        except Exception as error:
            self._raised(error)
            return
        self._link.hold()
        future.add_done_callback(partial(self._called, then))

    def _called(self, then: Callable[[], None] | None, future: "asyncio.Future[None]") -> None:
        self._link.release()
        try:
            future.result()
            if then is not None and not self.finished:
                then()
        except (Exception, asyncio.CancelledError) as error:
            self._raised(error)
        self._link.go_on()

    def _raised(self, error: BaseException) -> None:
        if isinstance(error, StreamClosedError) and self._link.phase == CLOSED:
            return
        if isinstance(error, HTTPInputError):
            error = RequestRefusal(400, f"The request cannot be read: {error}.")
        if not isinstance(error, RequestRefusal):
            log.error("the application raised", exc_info=error)
            error = RequestRefusal(500, "The server could not answer this request.")
        if not self.finished:
            self._link.refuse(error.status, error.detail)


def _no_op() -> None:
    return None


def _parse_headers(head: bytes, authority: str | None) -> HTTPHeaders:
    """The head's fields as Tornado has them; an absolute target's authority is the Host."""
    headers = HTTPHeaders()
    seen = set()
    for line in head.decode("latin-1").split("\r\n")[1:-2]:
        name, _, value = line.partition(":")
        # llhttp has judged them, so they need not be judged again by `add`.
        if (key := name.lower()) in seen:
            headers.add(name, value.strip(" \t"))
        else:
            seen.add(key)
            headers[name] = value.strip(" \t")
    normalize_headers(headers)
    if authority is not None:
        headers["Host"] = authority
    return headers


def _is_websocket(delegate: Any) -> bool:
    """Whether Tornado has routed the request to a handler that would need the bare connection."""
    handler = _handler_class(delegate)
    return isinstance(handler, type) and issubclass(handler, WebSocketHandler)


def _streams_body(delegate: Any) -> bool:
    """Whether it goes to a handler that is given the body in pieces."""
    return bool(getattr(_handler_class(delegate), "_stream_request_body", False))


def _ignores_body(delegate: Any, method: str) -> bool:
    """Return whether the request goes to a handler that ignores a body of this method.

    `body_methods` of a handler class names the methods whose bodies it reads.
    """
    taken = getattr(_handler_class(delegate), "body_methods", None)
    if taken is None or method in taken:
        return False
    # Tornado would parse a form in the empty body, and refuse the request.
    request = getattr(delegate.delegate, "request", None)
    if request is not None:
        request.headers.pop("Content-Type", None)
    return True


def _handler_class(delegate: Any) -> Any:
    return getattr(getattr(delegate, "delegate", None), "handler_class", None)
