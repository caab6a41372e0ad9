"""A request passed to the Tornado application, and the application's errors."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from tornado.httputil import HTTPHeaders, HTTPInputError, HTTPMessageDelegate, RequestStartLine
from tornado.iostream import StreamClosedError
from tornado.websocket import WebSocketHandler

from httpserver.fast_routes import RouteMatch
from httpserver.protocol.peers import Peer
from httpserver.protocol.request_framing import RequestFraming
from httpserver.refusal import RequestRefusal
from httpserver.tornado.client_connection import ClientConnection
from httpserver.tornado.request_normalizer import normalize_headers
from httpserver.tornado.tornado_connection import TornadoConnection, TornadoContext

log = logging.getLogger("httpserver")

# Tornado's `remote_ip` of a Unix socket's client.
_UNKNOWN_ADDRESS = "0.0.0.0"  # noqa: S104
_HTTP_VERSIONS = ("HTTP/1.0", "HTTP/1.1")


class TornadoRequest(TornadoConnection):
    """One request to the application, with the connection for its response.

    An exception of the application is logged, and answered with 500 if the response has not begun.
    The connection is closed, because the client may have received part of a response.
    """

    __slots__ = ("_delegate", "_framing", "_match", "max_body_bytes")

    def __init__(
        self, client: ClientConnection, match: RouteMatch, framing: RequestFraming, limit: int
    ) -> None:
        super().__init__(client, match, framing)
        self._match = match
        self._framing = framing
        self._delegate: HTTPMessageDelegate | None = None
        self.max_body_bytes = limit

    def start(self, head: bytes, peer: Peer) -> None:
        """Pass the head to the application."""
        if peer.proxies is None:
            address, secure = peer.address, peer.secure
        else:
            address, secure = peer.proxies.resolve_client(peer, head)
        if address == "unix":
            address = _UNKNOWN_ADDRESS
        self.context = TornadoContext(address, "https" if secure else "http")
        self._call_application(partial(self._pass_head, head), self._prepare_body)

    def receive_body(self, data: bytes, complete: bool) -> None:
        """Pass a part of the body to the application, and start the handler if `complete`."""
        delegate = self._delegate
        assert delegate is not None
        self.request_complete = complete
        self._call_application(
            partial(delegate.data_received, data) if data else _no_op,
            self._schedule_handler if complete else None,
        )

    def handle_peer_eof(self) -> None:
        """Notify a running handler that the client sends no more and may have disconnected.

        Without the whole request, the handler has not started, and the connection is closed.
        """
        if self._delegate is None:
            self.notify_closed()

    def notify_closed(self) -> None:
        """Tell the application, once, that the client will not receive the rest."""
        delegate, self._delegate = self._delegate, None
        callback, self.close_callback = self.close_callback, None
        try:
            if delegate is not None:
                delegate.on_connection_close()
            elif callback is not None:
                callback()
        except Exception:
            log.exception("on_connection_close raised")

    def handle_connection_lost(self) -> None:
        """Stop the response: nothing more can be sent."""
        self.finished = True
        self.notify_closed()
        self.fail_flushes()

    def set_max_body_size(self, size: int) -> None:
        """Accept up to `size` bytes of body in this request."""
        self.max_body_bytes = size

    def finish(self) -> None:
        """Complete the response."""
        super().finish()
        if self._delegate is not None:
            # The response is complete before the request, whose rest the handler will not get.
            self._client.context.loop.call_soon(self.notify_closed)

    def _pass_head(self, head: bytes) -> Awaitable[None] | None:
        match = self._match
        start_line = RequestStartLine(
            match.method, match.target.decode("latin-1"), _HTTP_VERSIONS[match.http_minor]
        )
        delegate = self._client.context.application.start_request(self._client, self)
        self._delegate = delegate
        awaitable = delegate.headers_received(start_line, _parse_headers(head, match.authority))
        if self._framing.wants_websocket and _is_websocket(delegate):
            raise RequestRefusal(501, "This server does not support WebSocket.")
        return awaitable

    def _prepare_body(self) -> None:
        if self._framing.length == 0:
            self._schedule_handler()
            return
        discarded = _ignores_body(self._delegate, self._match.method)
        # A streaming handler accounts for the memory that it uses itself.
        accounted = not (discarded or _streams_body(self._delegate))
        self._client.prepare_body(self.max_body_bytes, accounted=accounted, discarded=discarded)

    def _schedule_handler(self) -> None:
        """Start the handler when the scheduler allows it."""
        scheduler = self._client.context.scheduler
        wait = partial(scheduler.wait_to_start, self.context.remote_ip)
        self._call_application(wait, self._start_handler)

    def _start_handler(self) -> None:
        delegate, self._delegate = self._delegate, None
        if delegate is not None:
            delegate.finish()
            if self._client.stream.eof_seen:
                # `handle_peer_eof` was called before the handler could be notified.
                self._client.context.loop.call_soon(self.notify_closed)

    def _call_application(
        self, call: Callable[[], Awaitable[None] | None], then: Callable[[], None] | None
    ) -> None:
        """Call the application, wait for its awaitable if any, then call `then`."""
        try:
            awaitable = call()
            if awaitable is None:
                if then is not None and not self.finished:
                    then()
                return
            future = asyncio.ensure_future(awaitable)
        except Exception as error:
            self._handle_exception(error)
            return
        self._client.block_reading()
        future.add_done_callback(partial(self._on_call_done, then))

    def _on_call_done(
        self, then: Callable[[], None] | None, future: "asyncio.Future[None]"
    ) -> None:
        self._client.unblock_reading()
        try:
            future.result()
            if then is not None and not self.finished:
                then()
        except (Exception, asyncio.CancelledError) as error:
            self._handle_exception(error)
        self._client.process_input()

    def _handle_exception(self, error: BaseException) -> None:
        if isinstance(error, StreamClosedError) and self._client.stream.is_lost:
            return
        if isinstance(error, HTTPInputError):
            error = RequestRefusal(400, f"The request is malformed: {error}.")
        if not isinstance(error, RequestRefusal):
            log.error("application raised", exc_info=error)
            error = RequestRefusal(500, "The server could not process this request.")
        if not self.finished:
            self._client.send_error(error.status, error.detail)


def _no_op() -> None:
    return None


def _parse_headers(head: bytes, authority: str | None) -> HTTPHeaders:
    """Return the fields of a head for Tornado; the authority of an absolute target sets Host."""
    headers = HTTPHeaders()
    seen = set()
    for line in head.decode("latin-1").split("\r\n")[1:-2]:
        name, _, value = line.partition(":")
        # Item assignment skips the validation of `add`, which llhttp has done.
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
    """Return whether the request is routed to a WebSocket handler, which would detach it."""
    handler = _handler_class(delegate)
    return isinstance(handler, type) and issubclass(handler, WebSocketHandler)


def _streams_body(delegate: Any) -> bool:
    """Return whether the request is routed to a `stream_request_body` handler."""
    return bool(getattr(_handler_class(delegate), "_stream_request_body", False))


def _ignores_body(delegate: Any, method: str) -> bool:
    """Return whether the request is routed to a handler that ignores bodies of `method`.

    A handler class lists the methods whose bodies it reads in `body_methods`.
    """
    body_methods = getattr(_handler_class(delegate), "body_methods", None)
    if body_methods is None or method in body_methods:
        return False
    # With a form's Content-Type, Tornado would reject the empty body.
    request = getattr(delegate.delegate, "request", None)
    if request is not None:
        request.headers.pop("Content-Type", None)
    return True


def _handler_class(delegate: Any) -> Any:
    return getattr(getattr(delegate, "delegate", None), "handler_class", None)
