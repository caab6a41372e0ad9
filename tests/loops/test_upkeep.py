"""What is old goes in steps, but not by a clock that is wrong."""

import asyncio
import logging

import pytest

from loops.upkeep import LEAP, PERIOD, REST, Upkeep


class Clocks:
    wall = 1_000_000.0
    steady = 5.0

    def go(self, seconds: float, leap: float = 0.0) -> None:
        self.wall += seconds + leap
        self.steady += seconds


def test_steps_follow_each_other_while_there_is_more(caplog: pytest.LogCaptureFixture) -> None:
    clocks, asked = Clocks(), []

    async def deed(now: int) -> bool:
        asked.append(now)
        return len(asked) < 3

    async def nothing(now: int) -> bool:
        return False

    upkeep = Upkeep((deed, nothing), lambda: clocks.wall, lambda: clocks.steady)
    waits = []
    for _ in range(4):
        waits.append(asyncio.run(upkeep.once()))
        clocks.go(1)
    assert waits == [REST, REST, PERIOD, PERIOD]
    assert asked[:2] == [1_000_000_000_000, 1_000_001_000_000]
    assert not caplog.records


def test_a_clock_that_leaps_ahead_makes_nothing_old(caplog: pytest.LogCaptureFixture) -> None:
    clocks, asked = Clocks(), []

    async def deed(now: int) -> bool:
        asked.append(now)
        return False

    upkeep = Upkeep((deed,), lambda: clocks.wall, lambda: clocks.steady)
    clocks.go(60, leap=LEAP / 2)
    asyncio.run(upkeep.once())
    assert len(asked) == 1
    clocks.go(60, leap=10 * 365 * 86_400)
    for _ in range(3):
        assert asyncio.run(upkeep.once()) == PERIOD
    assert len(asked) == 1
    assert [each.levelno for each in caplog.records] == [logging.ERROR]  # told once
    clocks.go(60, leap=-10 * 365 * 86_400)
    asyncio.run(upkeep.once())
    assert len(asked) == 2


def test_one_deed_that_fails_keeps_no_other_and_is_told_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    done = []

    async def failing(_: int) -> bool:
        raise OSError("no room")

    async def deed(now: int) -> bool:
        done.append(now)
        return False

    upkeep = Upkeep((failing, deed))
    for _ in range(2):
        assert asyncio.run(upkeep.once()) == PERIOD
    assert len(done) == 2
    assert [each.message for each in caplog.records] == ["what should go is still there: no room"]
