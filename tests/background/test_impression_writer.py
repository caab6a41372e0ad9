"""Views served: none is lost, none counted twice."""

import asyncio
import logging
from collections import Counter
from collections.abc import Mapping

from background.banners.impression_writer import ImpressionKey, ImpressionWriter

ONE, OTHER = (1, 1, 1), (1, 1, 2)


class Disk:
    """Where views go; it can be full, and slow."""

    def __init__(self) -> None:
        self.shown: Counter[ImpressionKey] = Counter()
        self.kept: Counter[ImpressionKey] = Counter()
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
        self.kept.update(counts)


def test_views_wait_while_they_cannot_be_written_and_it_is_told_once(caplog):
    async def act() -> Disk:
        disk = Disk()
        disk.full = True
        for _ in range(3):
            disk.shown.update([ONE, OTHER])
            await disk.impressions.once()
        assert not disk.kept
        disk.full = False
        disk.shown.update([ONE])
        await disk.impressions.once()
        return disk

    with caplog.at_level(logging.ERROR):
        assert asyncio.run(act()).kept == {ONE: 4, OTHER: 3}
    assert len(caplog.records) == 1


def test_what_is_collected_before_a_switch_is_written_after_it():
    async def act() -> Disk:
        disk = Disk()
        disk.shown.update([ONE])
        disk.impressions.collect()
        disk.shown.update([OTHER])
        await disk.impressions.once()
        return disk

    assert asyncio.run(act()).kept == {ONE: 1, OTHER: 1}


def test_a_loop_that_is_ended_amid_a_write_counts_each_view_once():
    async def act() -> Disk:
        disk = Disk()
        disk.slow = 0.3
        disk.shown.update([ONE])
        loop = asyncio.create_task(disk.impressions.run())
        await asyncio.sleep(1.0)  # it is writing
        loop.cancel()
        await asyncio.gather(loop, return_exceptions=True)
        disk.shown.update([OTHER])
        await disk.impressions.once()
        return disk

    assert asyncio.run(act()).kept == {ONE: 1, OTHER: 1}


def test_nothing_shown_is_nothing_written():
    async def act() -> Disk:
        disk = Disk()
        disk.full = True
        await disk.impressions.once()
        return disk

    assert not asyncio.run(act()).kept
