"""Server-sent events for many clients: encoded once, sent in steps; slow clients are dropped."""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Hashable
from typing import Protocol

from store.api.errors import StoreBusy

LOG = logging.getLogger("marquee.feeds")

# Listeners of all feeds, and feeds of one source: each costs CPU time with each event.
MAX_LISTENERS, MAX_FEEDS_PER_SOURCE = 5_000, 20
# The owner of reserved feeds, which do not count towards MAX_FEEDS_PER_SOURCE.
RESERVED_OWNER = object()
# Listeners that an event is sent to before other tasks run.
LISTENERS_PER_STEP = 25
# Seconds without an event after which a heartbeat is sent.
HEARTBEAT_SECONDS = 15.0
HEARTBEAT_COMMENT = b":\n\n"
# Events that a listener may miss in a row while an earlier one is still being sent.
MAX_MISSED_EVENTS = 2


class FeedSource(Protocol):
    """A source of events: each raises `number` and sets `next`; `gone` ends the feed."""

    number: int
    next: asyncio.Event
    gone: bool


class SseListener:
    """A client of a feed; `left` is set when its stream must end, `slow` if it was too slow."""

    def __init__(self, send: "Callable[[bytes], asyncio.Future[None]]") -> None:
        """`send` returns a future that is done when the client can take more data."""
        self.left = asyncio.Event()
        self.slow = False
        self._send = send
        self._sending: asyncio.Future[None] | None = None
        self._missed = 0

    def tell(self, data: bytes) -> None:
        """Send an event; skip it during an earlier send, and drop the client after too many."""
        if self.left.is_set():
            return
        if self._sending is not None and not self._sending.done():
            self._missed += 1
            if self._missed > MAX_MISSED_EVENTS:
                self.slow = True
                self.left.set()
            return
        self._missed = 0
        try:
            if self._sending is not None:
                self._sending.result()  # raises the error of the previous send
            self._sending = self._send(data)
        except Exception:  # the connection is closed
            self.left.set()


class SseFeed:
    """The listeners of one stream of events."""

    def __init__(
        self,
        source: FeedSource,
        make: Callable[[], tuple[str, bytes]],
        touch: Callable[[], object],
        owner: Hashable = None,
    ) -> None:
        """`make` returns the current state as (id, event); `touch` is called before each send.

        `owner` is the client that the feed was created for.
        """
        self.owner = owner
        self.listeners: set[SseListener] = set()
        self.source = source
        self._make = make
        self._touch = touch
        self._latest: tuple[int, str, bytes] = (-1, "", b"")

    def latest(self) -> tuple[str, bytes]:
        """Return the current state as (id, event); it is encoded once per `source.number`."""
        if self._latest[0] != self.source.number:
            self._latest = (self.source.number, *self._make())
        return self._latest[1:]

    async def run(self, heartbeat: float) -> None:
        """Send events, or heartbeats after `heartbeat` seconds, until no listener is left."""
        source = self.source
        sent = source.number
        while self.listeners and self._is_live():
            if sent == source.number:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(heartbeat):
                        await source.next.wait()
            if not self._is_live():
                break
            self._touch()
            data = HEARTBEAT_COMMENT if sent == source.number else self.latest()[1]
            sent = source.number
            for count, listener in enumerate(list(self.listeners), 1):
                listener.tell(data)
                if not count % LISTENERS_PER_STEP:
                    await asyncio.sleep(0)
        for listener in self.listeners:
            listener.left.set()

    def _is_live(self) -> bool:
        return not self.source.gone


class SseHub:
    """The feeds by name; creates them on demand."""

    def __init__(self, most: int = MAX_LISTENERS, heartbeat: float = HEARTBEAT_SECONDS) -> None:
        self.dropped = 0  # slow listeners
        self._most = most
        self._heartbeat = heartbeat
        self._feeds: dict[Hashable, tuple[SseFeed, asyncio.Task[None]]] = {}
        self._closed = False

    @property
    def listeners(self) -> int:
        """The number of listeners of all feeds."""
        return sum(len(feed.listeners) for feed, _ in self._feeds.values())

    def join(
        self,
        name: Hashable,
        listener: SseListener,
        source: FeedSource,
        make: Callable[[], tuple[str, bytes]],
        touch: Callable[[], object],
        owner: Hashable = None,
        reserved: bool = False,
    ) -> SseFeed:
        """Add `listener` to the feed of this name and return it; raise `StoreBusy` at a limit.

        A `reserved` feed is exempt from the limit per source. Of the other feeds of a source, an
        `owner` may hold at most as many as stay free.
        """
        if self._closed or self.listeners >= self._most:
            raise StoreBusy("as many are listening as there is room for")
        feed, task = self._feeds.get(name, (None, None))
        if feed is None or task is None or task.done():
            if reserved:
                owner = RESERVED_OWNER
            elif not self._has_free_feed(source, owner):
                raise StoreBusy("this is listened to in as many ways as there is room for")
            feed = SseFeed(source, make, touch, owner)
            feed.listeners.add(listener)
            self._feeds[name] = feed, asyncio.create_task(feed.run(self._heartbeat))
            self._feeds[name][1].add_done_callback(lambda task: self._end(name, task))
        feed.listeners.add(listener)
        return feed

    def _has_free_feed(self, source: FeedSource, owner: Hashable) -> bool:
        """Return whether this owner may open one more feed."""
        owners = [
            each.owner
            for each, _ in self._feeds.values()
            if each.source is source and each.owner is not RESERVED_OWNER
        ]
        free = MAX_FEEDS_PER_SOURCE - len(owners)
        return free > 0 and (owner is None or owners.count(owner) < free)

    def leave(self, feed: SseFeed, listener: SseListener) -> None:
        """Remove a listener; count it in `dropped` if it was slow."""
        feed.listeners.discard(listener)
        self.dropped += listener.slow

    def close(self) -> None:
        """End all feeds and accept no more listeners."""
        self._closed = True
        for feed, task in self._feeds.values():
            task.cancel()
            for listener in feed.listeners:
                listener.left.set()

    def _end(self, name: Hashable, task: "asyncio.Task[None]") -> None:
        if not task.cancelled() and (error := task.exception()):
            LOG.error("a feed has failed", exc_info=error)
        current = self._feeds.get(name)
        if current is not None and current[1] is task:
            del self._feeds[name]
            for listener in current[0].listeners:
                listener.left.set()
