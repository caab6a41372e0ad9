"""Impressions are counted exactly once, despite failing writes and cancellation."""

import asyncio
import logging
from collections import Counter
from collections.abc import Mapping

from background.banners.impression_writer import ImpressionKey, ImpressionWriter

ONE, OTHER = (1, 1, 1), (1, 1, 2)


class ImpressionStore:
    """A store of impressions that can be full or slow."""

    def __init__(self) -> None:
        self.shown: Counter[ImpressionKey] = Counter()
        self.written: Counter[ImpressionKey] = Counter()
        self.full = False
        self.slow = 0.0
        self.impressions = ImpressionWriter(self.take, self.add)

    def take(self) -> list[tuple[ImpressionKey, int]]:
        taken = list(self.shown.items())
        self.shown.clear()
        return taken

    async def add(self, counts: Mapping[ImpressionKey, int]) -> None:
        await asyncio.sleep(self.slow)
        if self.full:
            raise OSError("the disk is full")
        self.written.update(counts)


def test_impressions_are_kept_while_writes_fail_and_the_error_is_logged_once(caplog):
    async def act() -> ImpressionStore:
        store = ImpressionStore()
        store.full = True
        for _ in range(3):
            store.shown.update([ONE, OTHER])
            await store.impressions.once()
        assert not store.written
        store.full = False
        store.shown.update([ONE])
        await store.impressions.once()
        return store

    with caplog.at_level(logging.ERROR):
        assert asyncio.run(act()).written == {ONE: 4, OTHER: 3}
    assert len(caplog.records) == 1


def test_impressions_collected_before_a_slot_change_are_written_after_it():
    async def act() -> ImpressionStore:
        store = ImpressionStore()
        store.shown.update([ONE])
        store.impressions.collect()
        store.shown.update([OTHER])
        await store.impressions.once()
        return store

    assert asyncio.run(act()).written == {ONE: 1, OTHER: 1}


def test_cancelling_the_writer_during_a_write_counts_each_impression_once():
    async def act() -> ImpressionStore:
        store = ImpressionStore()
        store.slow = 0.3
        store.shown.update([ONE])
        loop = asyncio.create_task(store.impressions.run())
        await asyncio.sleep(1.0)  # it is writing
        loop.cancel()
        await asyncio.gather(loop, return_exceptions=True)
        store.shown.update([OTHER])
        await store.impressions.once()
        return store

    assert asyncio.run(act()).written == {ONE: 1, OTHER: 1}


def test_nothing_is_written_without_impressions():
    async def act() -> ImpressionStore:
        store = ImpressionStore()
        store.full = True
        await store.impressions.once()
        return store

    assert not asyncio.run(act()).written
