"""The cache: one load for many askers, and an end of life."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from store.cache import ttl_cache
from store.cache.ttl_cache import LoadingCache


class Source:
    """Counts its loads, each of which waits until it is let go."""

    def __init__(self) -> None:
        self.loads = 0
        self.go = asyncio.Event()
        self.error: Exception | None = None

    async def load(self, key: str) -> str:
        self.loads += 1
        number = self.loads
        await self.go.wait()
        if self.error is not None:
            raise self.error
        return f"{key} {number}"


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def drive(
    test: Callable[[Source, LoadingCache[str, str], Clock], Awaitable[None]], **kwargs: Any
) -> None:
    async def run() -> None:
        source, clock = Source(), Clock()
        settings = {"size": 10, "seconds": 5, "timer": clock, **kwargs}
        await test(source, LoadingCache(source.load, **settings), clock)

    asyncio.run(run())


def test_many_askers_at_once_cost_one_load() -> None:
    async def test(source: Source, cache: LoadingCache[str, str], _: Clock) -> None:
        askers = [asyncio.create_task(cache.get("a")) for _ in range(300)]
        await asyncio.sleep(0)
        source.go.set()
        assert set(await asyncio.gather(*askers)) == {"a 1"}
        assert await cache.get("a") == "a 1"
        assert (source.loads, cache.loads, cache.hits) == (1, 1, 1)

    drive(test)


def test_an_entry_ends_after_its_seconds() -> None:
    async def test(source: Source, cache: LoadingCache[str, str], clock: Clock) -> None:
        source.go.set()
        assert await cache.get("a") == "a 1"
        clock.now = 4.9
        assert await cache.get("a") == "a 1"
        clock.now = 5.1
        assert await cache.get("a") == "a 2"

    drive(test)


def test_an_error_reaches_all_who_wait_and_is_not_kept() -> None:
    async def test(source: Source, cache: LoadingCache[str, str], _: Clock) -> None:
        source.error = OSError("down")
        askers = [asyncio.create_task(cache.get("a")) for _ in range(3)]
        await asyncio.sleep(0)
        source.go.set()
        told = await asyncio.gather(*askers, return_exceptions=True)
        assert [str(each) for each in told] == ["down"] * 3
        source.error = None
        assert await cache.get("a") == "a 2"

    drive(test)


def test_an_asker_that_is_cancelled_takes_nothing_from_the_others() -> None:
    async def test(source: Source, cache: LoadingCache[str, str], _: Clock) -> None:
        first, second = asyncio.create_task(cache.get("a")), asyncio.create_task(cache.get("a"))
        await asyncio.sleep(0)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        source.go.set()
        assert await second == "a 1"

    drive(test)


def test_a_load_that_nobody_waits_for_any_more_is_kept_and_its_error_is_no_noise() -> None:
    noise: list[object] = []

    async def test(source: Source, cache: LoadingCache[str, str], _: Clock) -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: noise.append(context))
        for error in (None, OSError("down")):
            source.error = error
            source.go.clear()
            cache.clear()
            asker = asyncio.create_task(cache.get("a"))
            await asyncio.sleep(0)
            asker.cancel()
            await asyncio.gather(asker, return_exceptions=True)
            source.go.set()
            await asyncio.sleep(0.01)
        source.error = None
        assert source.loads == 2
        assert await cache.get("a") == "a 3"

    drive(test)
    assert noise == []


@pytest.mark.parametrize("forget", [lambda cache: cache.forget("a"), lambda cache: cache.clear()])
def test_what_was_loading_when_it_was_forgotten_is_not_kept(
    forget: Callable[[LoadingCache[str, str]], None],
) -> None:
    async def test(source: Source, cache: LoadingCache[str, str], _: Clock) -> None:
        before = asyncio.create_task(cache.get("a"))
        await asyncio.sleep(0)
        forget(cache)
        after = asyncio.create_task(cache.get("a"))
        await asyncio.sleep(0)
        source.go.set()
        assert await asyncio.gather(before, after) == ["a 1", "a 2"]
        assert await cache.get("a") == "a 2"
        forget(cache)
        assert await cache.get("a") == "a 3"

    drive(test)


def test_weights_bound_what_is_kept_and_what_is_too_heavy_is_still_answered() -> None:
    async def test(source: Source, cache: LoadingCache[str, str], _: Clock) -> None:
        source.go.set()
        assert await cache.get("much too heavy") == "much too heavy 1"
        assert await cache.get("much too heavy") == "much too heavy 2"
        await cache.get("a")
        await cache.get("b")
        assert await cache.get("c") == "c 5"
        assert await cache.get("a") == "a 6"

    drive(test, size=6, weigh=len)


def test_keys_without_a_value_displace_no_value_and_are_bounded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ttl_cache, "MAX_ABSENT_KEYS", 20)
    loads: list[str] = []

    async def load(key: str) -> str | None:
        loads.append(key)
        return key if key.isalpha() else None

    async def run() -> None:
        cache = LoadingCache(load, size=10, seconds=5)
        for key in "abcdefghij":
            assert await cache.get(key) == key
        for number in range(1_000):
            assert await cache.get(f"{number}") is None
        before = len(loads)
        for key in "abcdefghij":
            assert await cache.get(key) == key
        assert await cache.get("999") is None
        assert len(loads) == before
        assert await cache.get("0") is None
        assert len(loads) == before + 1
        for forget in (cache.clear, lambda: cache.forget("0")):
            forget()
            with pytest.raises(KeyError):
                cache.peek("0")
            assert await cache.get("0") is None

    asyncio.run(run())
