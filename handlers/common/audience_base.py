"""What addresses that tell of a watched host share: who may ask, how far back, streams."""

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

# Pages that are told if no number is asked for, and at most.
DEFAULT_RISING_LIMIT, MAX_RISING_LIMIT = 100, 1_000
# Milliseconds after which a browser whose stream ended asks again.
RECONNECT_MILLISECONDS = 3_000


class AudienceContext(NamedTuple):
    """The parts that these handlers need."""

    sampler: HostPoller
    feeds: SseHub
    # A client address may hold at most as many places for listeners as stay free.
    places: MemoryBudget
    threshold: float = RISING_THRESHOLD


class PolledHostHandler(ApiHandler):
    """The base of these handlers."""

    def initialize(self, audience: AudienceContext) -> None:
        """`audience` is what they tell of."""
        self.audience = audience
        self.listener: SseListener | None = None
        self.gone = False

    async def watched(self, host: str) -> PolledHost:
        """The host, for who gives a key to it."""
        key = self.word("apikey")
        if not key:
            raise ApiError(401, "This needs an `apikey`.")
        try:
            return await self.audience.sampler.ask(key, canonical_host(host) or host.lower())
        except StoreRefused as error:
            raise ApiError(400, f"This cannot be asked: {error}.") from None
        except (UpstreamUnavailable, StoreBusy) as error:
            wait = (
                error.wait
                if isinstance(error, UpstreamUnavailable)
                else self.audience.sampler.period
            )
            raise ApiError(
                503,
                f"There is no reading of this host ({error}); ask again later.",
                headers=[("Retry-After", str(max(1, round(wait))))],
            ) from None

    def window(self) -> int:
        """How many seconds back a gain is counted from."""
        return (
            self.number("window", least=MIN_WINDOW_SECONDS, most=MAX_WINDOW_SECONDS)
            or DEFAULT_WINDOW_SECONDS
        )

    def pages(self) -> int:
        """How many pages are asked for."""
        return self.number("limit", least=1, most=MAX_RISING_LIMIT) or DEFAULT_RISING_LIMIT

    async def stream(
        self,
        name: Hashable,
        watch: PolledHost,
        make: Callable[[], bytes],
        *,
        reserved: bool = False,
    ) -> None:
        """Send what `make` gives of each reading as server-sent events, until someone leaves.

        What our own pages show is `reserved`: it is never one way too many to listen to a host.
        """
        self.set_header("Content-Type", "text/event-stream")
        self.set_header("X-Accel-Buffering", "no")  # nginx would keep events back
        if self.gone or self.request.method == "HEAD":
            return
        owners = reservation_owners(self.request.remote_ip or "", None)
        with self.place(self.audience.places, "Too many clients are listening"):
            await self._listen(name, watch, make, owners, reserved)

    async def _listen(
        self,
        name: Hashable,
        watch: PolledHost,
        make: Callable[[], bytes],
        owner: Hashable,
        reserved: bool,
    ) -> None:
        listener = self.listener = SseListener(self._send)
        sampler = self.audience.sampler

        def event() -> tuple[str, bytes]:
            # Clients that received a reading also receive that it has become stale.
            moment = str(round(watch.as_of * 1000)) + ("-stale" if watch.stale else "")
            lines = make().splitlines()
            data = b"".join(b"data: %b\n" % line for line in lines)
            return moment, b"id: %b\n%b\n" % (moment.encode(), data)

        try:
            feed = self.audience.feeds.join(
                (watch, name),
                listener,
                watch,
                event,
                lambda: sampler.look(watch.key, watch.host),
                owner,
                reserved,
            )
        except StoreBusy as error:
            raise self.later(f"This cannot be listened to now: {error}") from None
        try:
            moment, latest = feed.latest()
            # Who comes back and has seen this already waits for the next.
            seen = self.request.headers.get("Last-Event-ID") == moment
            self.write(b"retry: %d\n\n" % RECONNECT_MILLISECONDS)
            listener.tell(b":\n\n" if seen else latest)
            await listener.left.wait()
        finally:
            self.audience.feeds.leave(feed, listener)
        connection = self.request.connection
        if listener.slow and connection is not None:
            connection.close()  # type: ignore[attr-defined]

    def _send(self, data: bytes) -> "asyncio.Future[None]":
        self.write(data)
        try:
            return self.flush()
        except StreamClosedError:
            assert self.listener is not None
            self.listener.left.set()
            raise

    def on_connection_close(self) -> None:
        """Nobody listens any more."""
        self.gone = True
        if self.listener is not None:
            self.listener.left.set()


def reading_timestamp(watch: PolledHost) -> str:
    """When the last reading was made."""
    return format_timestamp(round(watch.as_of * 1_000_000))
