"""What is old goes in steps, but not by a clock that is wrong."""

import asyncio
import logging
from typing import Any

import pytest

from loops.upkeep import AWAY, LEAP, NOTED, PERIOD, PROBATION, REST, Upkeep


class Clocks:
    wall = 1_000_000.0
    steady = 5.0

    @property
    def told(self) -> dict[str, Any]:
        return {"wall": lambda: self.wall, "steady": lambda: self.steady}

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

    upkeep = Upkeep((deed, nothing), **clocks.told)
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

    upkeep = Upkeep((deed,), **clocks.told)
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


def upkeep_of(clocks: Clocks, believed: float) -> tuple[Upkeep, list[str], list[float]]:
    """One that has a deed of each kind, what they did, and what was noted."""
    done: list[str] = []
    noted: list[float] = []

    async def deed(_: int) -> bool:
        done.append("aged")
        return False

    async def other(_: int) -> bool:
        done.append("other")
        return False

    async def note(moment: float) -> None:
        noted.append(moment)

    made = Upkeep((deed,), (other,), believed=believed, note=note, **clocks.told)
    return made, done, noted


def test_what_does_not_go_by_its_age_goes_whatever_the_clock_does() -> None:
    clocks = Clocks()
    upkeep, done, _ = upkeep_of(clocks, 0)
    clocks.go(60, leap=10 * 365 * 86_400)
    asyncio.run(upkeep.once())
    assert done == ["other"]


def test_a_start_by_a_clock_that_is_far_ahead_makes_nothing_old_for_a_day(
    caplog: pytest.LogCaptureFixture,
) -> None:
    clocks = Clocks()
    upkeep, done, noted = upkeep_of(clocks, clocks.wall - AWAY - 60)
    for _ in range(3):
        asyncio.run(upkeep.once())
        clocks.go(PROBATION / 3 - 1)
    assert done == ["other"] * 3
    assert noted == []  # so that the next start doubts it likewise
    assert [each.levelno for each in caplog.records] == [logging.ERROR]
    clocks.go(10)
    asyncio.run(upkeep.once())
    assert done[3:] == ["other", "aged"]  # it was away
    assert noted == [clocks.wall]


def test_a_clock_that_is_believed_is_noted_each_hour() -> None:
    clocks = Clocks()
    upkeep, done, noted = upkeep_of(clocks, clocks.wall - AWAY + 60)
    for _ in range(5):
        asyncio.run(upkeep.once())
        clocks.go(NOTED / 2)
    assert done.count("aged") == 5
    assert noted == [1_000_000.0, 1_000_000.0 + NOTED, 1_000_000.0 + 2 * NOTED]


def test_one_that_is_set_back_is_believed_and_noted() -> None:
    clocks = Clocks()
    upkeep, done, noted = upkeep_of(clocks, clocks.wall + 10 * 365 * 86_400)
    asyncio.run(upkeep.once())
    assert done == ["other", "aged"]
    assert noted == [clocks.wall]


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
