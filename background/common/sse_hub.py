"""News for many listeners at once: encoded once, sent a few at a time; who is slow is let go."""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Hashable
from typing import Protocol

from store.api.errors import StoreBusy

LOG = logging.getLogger("marquee.feeds")

# Listeners of all feeds, and feeds of one source: each costs something with each news.
MAX_LISTENERS, MAX_FEEDS_PER_SOURCE = 5_000, 20
# The owner of the feeds for which every source keeps a place.
RESERVED_OWNER = object()
# So many are sent to before others have their turn.
LISTENERS_PER_STEP = 25
# Seconds after which listeners hear that nothing has happened.
HEARTBEAT_SECONDS = 15.0
HEARTBEAT_COMMENT = b":\n\n"
# News that a listener may miss while the last one is still on its way.
MAX_MISSED_EVENTS = 2


class FeedSource(Protocol):
    """What there is news of."""

    number: int
    next: asyncio.Event
    gone: bool


class SseListener:
    """Someone who listens."""

    def __init__(self, send: "Callable[[bytes], asyncio.Future[None]]") -> None:
        """`send` gives a future that is done when there is room for more."""
        self.left = asyncio.Event()
        self.slow = False
        self._send = send
        self._sending: asyncio.Future[None] | None = None
        self._missed = 0

    def tell(self, data: bytes) -> None:
        """Send this, or miss it if there is no room; who misses too much is let go."""
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
                self._sending.result()  # raises what came of it
            self._sending = self._send(data)
        except Exception:  # the connection is gone
            self.left.set()


class SseFeed:
    """The listeners to one thing."""

    def __init__(
        self,
        source: FeedSource,
        make: Callable[[], tuple[str, bytes]],
        touch: Callable[[], object],
        owner: Hashable = None,
    ) -> None:
        """`make` gives the present state as (id, event); `touch` says that someone listens.

        `owner` is the client for which it was made.
        """
        self.owner = owner
        self.listeners: set[SseListener] = set()
        self.source = source
        self._make = make
        self._touch = touch
        self._made: tuple[int, str, bytes] = (-1, "", b"")

    def latest(self) -> tuple[str, bytes]:
        """The present state, as (id, event)."""
        if self._made[0] != self.source.number:
            self._made = (self.source.number, *self._make())
        return self._made[1:]

    async def run(self, heartbeat: float) -> None:
        """Tell the listeners, as long as there are any."""
        source = self.source
        sent = source.number
        while self.listeners and self._goes_on():
            if sent == source.number:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(heartbeat):
                        await source.next.wait()
            if not self._goes_on():
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

    def _goes_on(self) -> bool:
        return not self.source.gone


class SseHub:
    """All feeds."""

    def __init__(self, most: int = MAX_LISTENERS, heartbeat: float = HEARTBEAT_SECONDS) -> None:
        self.dropped = 0  # listeners that were slow
        self._most = most
        self._heartbeat = heartbeat
        self._feeds: dict[Hashable, tuple[SseFeed, asyncio.Task[None]]] = {}
        self._closed = False

    @property
    def listeners(self) -> int:
        """How many listen."""
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
        """The feed of this name, to which `listener` listens from now on; `StoreBusy` if full.

        A source has a place for a feed that is `reserved`, however many others it has. Of those, an
        `owner` may have at most as many as stay free.
        """
        if self._closed or self.listeners >= self._most:
            raise StoreBusy("as many are listening as there is room for")
        feed, task = self._feeds.get(name, (None, None))
        if feed is None or task is None or task.done():
            if reserved:
                owner = RESERVED_OWNER
            elif not self._has_place(source, owner):
                raise StoreBusy("this is listened to in as many ways as there is room for")
            feed = SseFeed(source, make, touch, owner)
            feed.listeners.add(listener)
            self._feeds[name] = feed, asyncio.create_task(feed.run(self._heartbeat))
            self._feeds[name][1].add_done_callback(lambda task: self._end(name, task))
        feed.listeners.add(listener)
        return feed

    def _has_place(self, source: FeedSource, owner: Hashable) -> bool:
        """Whether one more feed may be made for this owner."""
        owners = [
            each.owner
            for each, _ in self._feeds.values()
            if each.source is source and each.owner is not RESERVED_OWNER
        ]
        left = MAX_FEEDS_PER_SOURCE - len(owners)
        return left > 0 and (owner is None or owners.count(owner) < left)

    def leave(self, feed: SseFeed, listener: SseListener) -> None:
        """A listener listens no more."""
        feed.listeners.discard(listener)
        self.dropped += listener.slow

    def close(self) -> None:
        """Let all go."""
        self._closed = True
        for feed, task in self._feeds.values():
            task.cancel()
            for listener in feed.listeners:
                listener.left.set()

    def _end(self, name: Hashable, task: "asyncio.Task[None]") -> None:
        if not task.cancelled() and (error := task.exception()):
            LOG.error("a feed has failed", exc_info=error)
        known = self._feeds.get(name)
        if known is not None and known[1] is task:
            del self._feeds[name]
            for listener in known[0].listeners:
                listener.left.set()
