"""Server-sent events for many listeners: rendered once, slow listeners disconnected, bounded."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import pytest

from background.common.sse_hub import (
    HEARTBEAT_COMMENT,
    MAX_FEEDS_PER_SOURCE,
    MAX_MISSED_EVENTS,
    SseFeed,
    SseHub,
    SseListener,
)
from store.api.errors import StoreBusy

T = TypeVar("T")


class EventSource:
    """A source of events."""

    def __init__(self) -> None:
        self.number = 1
        self.next = asyncio.Event()
        self.gone = False
        self.renders = 0
        self.touches = 0

    def make(self) -> tuple[str, bytes]:
        self.renders += 1
        return f"{self.number}", b"news %d" % self.number

    def touch(self) -> None:
        self.touches += 1

    def publish(self) -> None:
        self.number += 1
        event, self.next = self.next, asyncio.Event()
        event.set()


class RecordingListener:
    """A listener that records events, or (`blocked`) never completes a send."""

    def __init__(self, blocked: bool = False) -> None:
        self.received: list[bytes] = []
        self._blocked = blocked
        self.listener = SseListener(self._send)

    def _send(self, data: bytes) -> "asyncio.Future[None]":
        self.received.append(data)
        future = asyncio.get_running_loop().create_future()
        if not self._blocked:
            future.set_result(None)
        return future


def join(hub: SseHub, source: EventSource, client: RecordingListener, name: str = "a") -> SseFeed:
    return hub.join(name, client.listener, source, source.make, source.touch)


async def settle() -> None:
    for _ in range(200):
        await asyncio.sleep(0)


def run(work: Callable[[SseHub, EventSource], Awaitable[T]], heartbeat: float = 30.0) -> T:
    async def main() -> T:
        hub = SseHub(most=2_000, heartbeat=heartbeat)
        try:
            return await work(hub, EventSource())
        finally:
            hub.close()
            await asyncio.sleep(0)

    return asyncio.run(main())


def test_an_event_for_a_thousand_listeners_is_rendered_once() -> None:
    async def work(hub: SseHub, source: EventSource) -> None:
        clients = [RecordingListener() for _ in range(1_000)]
        feed, *_ = [join(hub, source, client) for client in clients]
        assert feed.latest() == ("1", b"news 1")
        await settle()
        for _ in range(3):
            source.publish()
            await settle()
        assert all(client.received == [b"news 2", b"news 3", b"news 4"] for client in clients)
        assert source.renders == 4
        assert source.touches == 3

    run(work)


def test_sending_to_many_listeners_yields_to_the_event_loop() -> None:
    async def work(hub: SseHub, source: EventSource) -> None:
        clients = [RecordingListener() for _ in range(1_000)]
        for client in clients:
            join(hub, source, client)
        await settle()
        source.publish()
        turns = 0
        while not clients[-1].received or not all(client.received for client in clients):
            await asyncio.sleep(0)
            turns += 1
        assert turns > 20

    run(work)


def test_an_event_during_a_delivery_is_not_missed() -> None:
    async def work(hub: SseHub, source: EventSource) -> None:
        clients = [RecordingListener() for _ in range(100)]
        for client in clients:
            join(hub, source, client)
        await settle()
        source.publish()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        source.publish()
        await settle()
        assert all(client.received[-1] == b"news 3" for client in clients)

    run(work)


def test_a_slow_listener_is_disconnected_and_delays_no_other() -> None:
    async def work(hub: SseHub, source: EventSource) -> None:
        slow, quick = RecordingListener(blocked=True), RecordingListener()
        feed = join(hub, source, slow)
        join(hub, source, quick)
        await settle()
        for _ in range(MAX_MISSED_EVENTS + 2):
            assert not slow.listener.left.is_set()
            source.publish()
            await settle()
        assert slow.listener.left.is_set()
        assert slow.listener.slow
        assert len(slow.received) == 1
        assert len(quick.received) == MAX_MISSED_EVENTS + 2
        hub.leave(feed, slow.listener)
        assert (hub.dropped, hub.listeners) == (1, 1)

    run(work)


def test_heartbeats_are_sent_without_events() -> None:
    async def work(hub: SseHub, source: EventSource) -> None:
        client = RecordingListener()
        join(hub, source, client)
        await asyncio.sleep(0.1)
        assert client.received[:2] == [HEARTBEAT_COMMENT, HEARTBEAT_COMMENT]

    run(work, heartbeat=0.02)


def test_listeners_are_disconnected_when_their_source_is_gone() -> None:
    async def work(hub: SseHub, source: EventSource) -> None:
        client = RecordingListener()
        join(hub, source, client)
        await settle()
        source.gone = True
        source.publish()
        await settle()
        assert client.listener.left.is_set()
        assert client.received == []

    run(work)


def test_a_feed_without_listeners_ends_and_can_be_joined_again() -> None:
    async def work(hub: SseHub, source: EventSource) -> None:
        client, later = RecordingListener(), RecordingListener()
        feed = join(hub, source, client)
        await settle()
        hub.leave(feed, client.listener)
        source.publish()
        await settle()
        assert hub._feeds == {}
        join(hub, source, later)
        await settle()
        source.publish()
        await settle()
        assert later.received == [b"news 3"]
        assert client.received == []

    run(work)


def is_broken(_: bytes) -> "asyncio.Future[None]":
    raise ConnectionResetError


def breaks(_: bytes) -> "asyncio.Future[None]":
    future = asyncio.get_running_loop().create_future()
    future.set_exception(ConnectionResetError())
    return future


# A send that fails asynchronously is noticed at the next event.
@pytest.mark.parametrize(("send", "events_until"), [(is_broken, 1), (breaks, 2)])
def test_a_broken_connection_is_removed_from_its_feed(
    send: Callable[[bytes], "asyncio.Future[None]"], events_until: int
) -> None:
    async def work(hub: SseHub, source: EventSource) -> None:
        listener = SseListener(send)
        hub.join("a", listener, source, source.make, source.touch)
        await settle()
        for _ in range(events_until):
            source.publish()
            await settle()
        assert listener.left.is_set()
        assert not listener.slow

    run(work)


def test_a_render_error_is_logged_and_ends_the_feed(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def work(hub: SseHub, source: EventSource) -> None:
        def make() -> tuple[str, bytes]:
            raise ZeroDivisionError

        client = RecordingListener()
        hub.join("a", client.listener, source, make, source.touch)
        await settle()
        source.publish()
        await settle()
        assert client.listener.left.is_set()

    run(work)
    assert "a feed has failed" in caplog.text


def test_feeds_per_source_are_limited() -> None:
    async def work(hub: SseHub, source: EventSource) -> None:
        for number in range(MAX_FEEDS_PER_SOURCE):
            join(hub, source, RecordingListener(), f"{number}")
        with pytest.raises(StoreBusy):
            join(hub, source, RecordingListener(), "another")
        join(hub, source, RecordingListener(), "1")
        join(hub, EventSource(), RecordingListener(), "other news")

    run(work)


def test_one_owner_gets_half_of_the_feeds_and_reserved_feeds_are_exempt() -> None:
    async def work(hub: SseHub, source: EventSource) -> None:
        def join_as(name: str, owner: str | None, reserved: bool = False) -> None:
            listener = RecordingListener().listener
            hub.join(name, listener, source, source.make, source.touch, owner, reserved)

        for number in range(MAX_FEEDS_PER_SOURCE // 2):
            join_as(f"greedy {number}", "greedy")
        with pytest.raises(StoreBusy):
            join_as("one more", "greedy")
        join_as("greedy 1", "greedy")
        for number in range(MAX_FEEDS_PER_SOURCE // 2):
            join_as(f"other {number}", f"other {number}")
        with pytest.raises(StoreBusy):
            join_as("another", "another")
        join_as("live", "another", reserved=True)
        join_as("live", "greedy", reserved=True)

    run(work)


def test_listeners_are_limited_and_a_closed_hub_accepts_none() -> None:
    async def work(hub: SseHub, source: EventSource) -> None:
        for _ in range(2_000):
            join(hub, source, RecordingListener())
        with pytest.raises(StoreBusy):
            join(hub, source, RecordingListener())
        hub.close()
        with pytest.raises(StoreBusy):
            join(hub, source, RecordingListener(), "b")

    run(work)
