"""Many listeners to one thing: told at once, made once; slow ones are let go."""

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


class News:
    """Something of which there is news."""

    def __init__(self) -> None:
        self.number = 1
        self.next = asyncio.Event()
        self.gone = False
        self.made = 0
        self.touched = 0

    def make(self) -> tuple[str, bytes]:
        self.made += 1
        return f"{self.number}", b"news %d" % self.number

    def touch(self) -> None:
        self.touched += 1

    def happen(self) -> None:
        self.number += 1
        told, self.next = self.next, asyncio.Event()
        told.set()


class Ear:
    """Someone who hears, or (`deaf`) never takes what is sent."""

    def __init__(self, deaf: bool = False) -> None:
        self.heard: list[bytes] = []
        self._deaf = deaf
        self.listener = SseListener(self._send)

    def _send(self, data: bytes) -> "asyncio.Future[None]":
        self.heard.append(data)
        future = asyncio.get_running_loop().create_future()
        if not self._deaf:
            future.set_result(None)
        return future


def join(feeds: SseHub, news: News, ear: Ear, name: str = "a") -> SseFeed:
    return feeds.join(name, ear.listener, news, news.make, news.touch)


async def settle() -> None:
    for _ in range(200):
        await asyncio.sleep(0)


def run(work: Callable[[SseHub, News], Awaitable[T]], heartbeat: float = 30.0) -> T:
    async def main() -> T:
        feeds = SseHub(most=2_000, heartbeat=heartbeat)
        try:
            return await work(feeds, News())
        finally:
            feeds.close()
            await asyncio.sleep(0)

    return asyncio.run(main())


def test_a_thousand_hear_what_is_made_once() -> None:
    async def work(feeds: SseHub, news: News) -> None:
        ears = [Ear() for _ in range(1_000)]
        feed, *_ = [join(feeds, news, ear) for ear in ears]
        assert feed.latest() == ("1", b"news 1")
        await settle()
        for _ in range(3):
            news.happen()
            await settle()
        assert all(ear.heard == [b"news 2", b"news 3", b"news 4"] for ear in ears)
        assert news.made == 4
        assert news.touched == 3

    run(work)


def test_others_have_their_turn_while_many_are_told() -> None:
    async def work(feeds: SseHub, news: News) -> None:
        ears = [Ear() for _ in range(1_000)]
        for ear in ears:
            join(feeds, news, ear)
        await settle()
        news.happen()
        turns = 0
        while not ears[-1].heard or not all(ear.heard for ear in ears):
            await asyncio.sleep(0)
            turns += 1
        assert turns > 20

    run(work)


def test_news_while_others_are_told_are_not_missed() -> None:
    async def work(feeds: SseHub, news: News) -> None:
        ears = [Ear() for _ in range(100)]
        for ear in ears:
            join(feeds, news, ear)
        await settle()
        news.happen()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        news.happen()
        await settle()
        assert all(ear.heard[-1] == b"news 3" for ear in ears)

    run(work)


def test_who_does_not_take_what_is_sent_is_let_go_and_holds_up_nobody() -> None:
    async def work(feeds: SseHub, news: News) -> None:
        slow, quick = Ear(deaf=True), Ear()
        feed = join(feeds, news, slow)
        join(feeds, news, quick)
        await settle()
        for _ in range(MAX_MISSED_EVENTS + 2):
            assert not slow.listener.left.is_set()
            news.happen()
            await settle()
        assert slow.listener.left.is_set()
        assert slow.listener.slow
        assert len(slow.heard) == 1
        assert len(quick.heard) == MAX_MISSED_EVENTS + 2
        feeds.leave(feed, slow.listener)
        assert (feeds.dropped, feeds.listeners) == (1, 1)

    run(work)


def test_silence_is_told_too() -> None:
    async def work(feeds: SseHub, news: News) -> None:
        ear = Ear()
        join(feeds, news, ear)
        await asyncio.sleep(0.1)
        assert ear.heard[:2] == [HEARTBEAT_COMMENT, HEARTBEAT_COMMENT]

    run(work, heartbeat=0.02)


def test_what_is_gone_ends_its_feed() -> None:
    async def work(feeds: SseHub, news: News) -> None:
        ear = Ear()
        join(feeds, news, ear)
        await settle()
        news.gone = True
        news.happen()
        await settle()
        assert ear.listener.left.is_set()
        assert ear.heard == []

    run(work)


def test_a_feed_to_which_nobody_listens_ends_and_begins_again() -> None:
    async def work(feeds: SseHub, news: News) -> None:
        ear, later = Ear(), Ear()
        feed = join(feeds, news, ear)
        await settle()
        feeds.leave(feed, ear.listener)
        news.happen()
        await settle()
        assert feeds._feeds == {}
        join(feeds, news, later)
        await settle()
        news.happen()
        await settle()
        assert later.heard == [b"news 3"]
        assert ear.heard == []

    run(work)


def is_broken(_: bytes) -> "asyncio.Future[None]":
    raise ConnectionResetError


def breaks(_: bytes) -> "asyncio.Future[None]":
    future = asyncio.get_running_loop().create_future()
    future.set_exception(ConnectionResetError())
    return future


# One that breaks while something is sent is known with the next news.
@pytest.mark.parametrize(("send", "news_until"), [(is_broken, 1), (breaks, 2)])
def test_a_broken_connection_is_let_go(
    send: Callable[[bytes], "asyncio.Future[None]"], news_until: int
) -> None:
    async def work(feeds: SseHub, news: News) -> None:
        listener = SseListener(send)
        feeds.join("a", listener, news, news.make, news.touch)
        await settle()
        for _ in range(news_until):
            news.happen()
            await settle()
        assert listener.left.is_set()
        assert not listener.slow

    run(work)


def test_what_cannot_be_made_is_logged_and_ends_its_feed(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def work(feeds: SseHub, news: News) -> None:
        def make() -> tuple[str, bytes]:
            raise ZeroDivisionError

        ear = Ear()
        feeds.join("a", ear.listener, news, make, news.touch)
        await settle()
        news.happen()
        await settle()
        assert ear.listener.left.is_set()

    run(work)
    assert "a feed has failed" in caplog.text


def test_one_thing_is_told_in_so_many_ways() -> None:
    async def work(feeds: SseHub, news: News) -> None:
        for number in range(MAX_FEEDS_PER_SOURCE):
            join(feeds, news, Ear(), f"{number}")
        with pytest.raises(StoreBusy):
            join(feeds, news, Ear(), "another")
        join(feeds, news, Ear(), "1")
        join(feeds, News(), Ear(), "other news")

    run(work)


def test_one_owner_leaves_ways_to_others_and_a_reserved_one_is_never_too_many() -> None:
    async def work(feeds: SseHub, news: News) -> None:
        def join_as(name: str, owner: str | None, reserved: bool = False) -> None:
            listener = Ear().listener
            feeds.join(name, listener, news, news.make, news.touch, owner, reserved)

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


def test_there_is_room_for_so_many() -> None:
    async def work(feeds: SseHub, news: News) -> None:
        for _ in range(2_000):
            join(feeds, news, Ear())
        with pytest.raises(StoreBusy):
            join(feeds, news, Ear())
        feeds.close()
        with pytest.raises(StoreBusy):
            join(feeds, news, Ear(), "b")

    run(work)
