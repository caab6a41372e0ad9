"""Base handler for polled hosts: key check, query arguments, server-sent events."""

import asyncio
from collections.abc import Callable, Hashable
from typing import NamedTuple

from tornado.iostream import StreamClosedError

from background.audience.host_poller import HostPoller, PolledHost
from background.common.sse_hub import SseHub, SseListener
from domain.audience.trend_score import RISING_THRESHOLD
from domain.audience.visitor_history import (
    DEFAULT_WINDOW_SECONDS,
    MAX_WINDOW_SECONDS,
    MIN_WINDOW_SECONDS,
)
from domain.common.hosts import canonical_host
from domain.common.timestamp import format_timestamp
from handlers.common.api_handler import ApiHandler
from handlers.common.base_handler import ApiError
from httpserver import MemoryBudget, reservation_owners
from store.api.errors import StoreBusy, StoreRefused, UpstreamUnavailable

# Default and maximum number of pages in a response.
DEFAULT_RISING_LIMIT, MAX_RISING_LIMIT = 100, 1_000
# Reconnect delay that browsers use after a stream ends.
RECONNECT_MILLISECONDS = 3_000


class AudienceContext(NamedTuple):
    """What the handlers of polled hosts depend on."""

    poller: HostPoller
    sse_hub: SseHub
    # A client address may hold at most as many listeners as stay free.
    listener_budget: MemoryBudget
    threshold: float = RISING_THRESHOLD


class PolledHostHandler(ApiHandler):
    """Finds the polled host of a request and streams its readings."""

    def initialize(self, audience: AudienceContext) -> None:
        """Set the context; called by Tornado for each request."""
        self.audience = audience
        self.listener: SseListener | None = None
        self.disconnected = False

    async def polled_host(self, name: str) -> PolledHost:
        """Return the polled host for the key in the query.

        Raises 401 without a key, 400 for an unknown key or host, 503 without a reading.
        """
        key = self.text_argument("apikey")
        if not key:
            raise ApiError(401, "The query argument `apikey` is missing.")
        poller = self.audience.poller
        try:
            return await poller.ask(key, canonical_host(name) or name.lower())
        except StoreRefused as error:
            raise ApiError(400, f"Invalid key or host: {error}.") from None
        except (UpstreamUnavailable, StoreBusy) as error:
            wait = error.wait if isinstance(error, UpstreamUnavailable) else poller.period
            raise ApiError(
                503,
                f"No reading of this host ({error}); try again later.",
                headers=[("Retry-After", str(max(1, round(wait))))],
            ) from None

    def window_argument(self) -> int:
        """Return the window of a change in seconds."""
        return (
            self.int_argument("window", minimum=MIN_WINDOW_SECONDS, maximum=MAX_WINDOW_SECONDS)
            or DEFAULT_WINDOW_SECONDS
        )

    def limit_argument(self) -> int:
        """Return the requested number of pages."""
        return (
            self.int_argument("limit", minimum=1, maximum=MAX_RISING_LIMIT) or DEFAULT_RISING_LIMIT
        )

    async def send_stream(
        self,
        name: Hashable,
        host: PolledHost,
        render: Callable[[], bytes],
        *,
        reserved: bool = False,
    ) -> None:
        """Send `render()` as a server-sent event after each reading until the client disconnects.

        Clients with the same `name` share the rendered bytes. `reserved` exempts the stream from
        the limit of distinct streams per host; the server's own pages use it.
        """
        self.set_header("Content-Type", "text/event-stream")
        self.set_header("X-Accel-Buffering", "no")  # nginx would buffer the events
        if self.disconnected or self.request.method == "HEAD":
            return
        owners = reservation_owners(self.request.remote_ip or "", None)
        with self.reserve(self.audience.listener_budget, "Too many clients are listening"):
            await self._listen(name, host, render, owners, reserved)

    async def _listen(
        self,
        name: Hashable,
        host: PolledHost,
        render: Callable[[], bytes],
        owner: Hashable,
        reserved: bool,
    ) -> None:
        listener = self.listener = SseListener(self._write_and_flush)
        poller = self.audience.poller

        def render_event() -> tuple[str, bytes]:
            # Clients that have a reading also learn when it becomes stale.
            event_id = str(round(host.as_of * 1000)) + ("-stale" if host.stale else "")
            data = b"".join(b"data: %b\n" % line for line in render().splitlines())
            return event_id, b"id: %b\n%b\n" % (event_id.encode(), data)

        try:
            feed = self.audience.sse_hub.join(
                (host, name),
                listener,
                host,
                render_event,
                lambda: poller.look(host.key, host.host),
                owner,
                reserved,
            )
        except StoreBusy as error:
            raise self.retry_later_error(f"This stream is not available now: {error}") from None
        try:
            event_id, latest = feed.latest()
            # A client that reconnects with the latest id waits for the next event.
            is_current = self.request.headers.get("Last-Event-ID") == event_id
            self.write(b"retry: %d\n\n" % RECONNECT_MILLISECONDS)
            listener.tell(b":\n\n" if is_current else latest)
            await listener.left.wait()
        finally:
            self.audience.sse_hub.leave(feed, listener)
        connection = self.request.connection
        if listener.slow and connection is not None:
            connection.close()  # type: ignore[attr-defined]

    def _write_and_flush(self, data: bytes) -> "asyncio.Future[None]":
        self.write(data)
        try:
            return self.flush()
        except StreamClosedError:
            assert self.listener is not None
            self.listener.left.set()
            raise

    def on_connection_close(self) -> None:
        """End the stream of a client that disconnected."""
        self.disconnected = True
        if self.listener is not None:
            self.listener.left.set()


def reading_timestamp(host: PolledHost) -> str:
    """Return the time of the last reading in RFC 3339."""
    return format_timestamp(round(host.as_of * 1_000_000))
