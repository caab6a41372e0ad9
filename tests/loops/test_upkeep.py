"""What is old goes in steps, but not by a clock that is wrong."""

import asyncio
import logging
import time
from typing import Any

import pytest

from loops.upkeep import NOTED, PASSING, PERIOD, REST, Upkeep
from rules.trust import AWAY, PROBATION, UNKNOWN, Trust

HOUR, YEARS = 3_600.0, 10 * 365 * 86_400.0


class Clocks:
    wall = 1e9
    passing = 5.0

    @property
    def told(self) -> dict[str, Any]:
        return {"wall": lambda: self.wall, "passing": lambda: self.passing}

    def go(self, seconds: float, leap: float = 0.0) -> None:
        self.wall += seconds + leap
        self.passing += seconds


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
    assert asked[:2] == [1_000_000_000_000_000, 1_000_000_001_000_000]
    assert not caplog.records


def upkeep_of(clocks: Clocks, trust: Trust = UNKNOWN) -> tuple[Upkeep, list[str], list[Trust]]:
    """One that has a deed of each kind, what they did, and what was noted."""
    done: list[str] = []
    noted: list[Trust] = []

    async def deed(_: int) -> bool:
        done.append("aged")
        return False

    async def other(_: int) -> bool:
        done.append("other")
        return False

    async def note(trust: Trust) -> None:
        noted.append(trust)

    made = Upkeep((deed,), (other,), trust=trust, note=note, **clocks.told)
    return made, done, noted


def lived(upkeep: Upkeep, clocks: Clocks, seconds: float, leap: float = 0.0) -> None:
    """Have time pass, with a step each minute."""
    clocks.go(0, leap)
    for _ in range(int(seconds / PERIOD)):
        clocks.go(PERIOD)
        asyncio.run(upkeep.once())


@pytest.mark.parametrize("leap", [2 * HOUR, YEARS])
def test_a_clock_that_leaps_ahead_makes_nothing_old_for_a_day(
    leap: float, caplog: pytest.LogCaptureFixture
) -> None:
    clocks = Clocks()
    upkeep, done, noted = upkeep_of(clocks)
    lived(upkeep, clocks, HOUR)
    assert done.count("aged") == 60
    done.clear()
    lived(upkeep, clocks, 23 * HOUR, leap)
    assert set(done) == {"other"} and upkeep.doubt
    assert [each.levelno for each in caplog.records] == [logging.ERROR]  # told once
    assert noted[-1].doubted == noted[-1].believed + leap + PERIOD  # from when it leapt, at once
    lived(upkeep, clocks, 2 * HOUR)
    assert "aged" in done and not upkeep.doubt
    assert noted[-1].doubted == 0


def test_a_clock_that_was_set_right_again_is_believed_at_once() -> None:
    clocks = Clocks()
    upkeep, done, noted = upkeep_of(clocks)
    lived(upkeep, clocks, HOUR, leap=YEARS)
    assert set(done) == {"other"}
    lived(upkeep, clocks, HOUR, leap=-YEARS)
    assert done.count("aged") == 60
    assert noted[-1].doubted == 0


def test_a_clock_that_leaps_again_is_doubted_for_another_day() -> None:
    clocks = Clocks()
    upkeep, done, _ = upkeep_of(clocks)
    for _ in range(3):
        lived(upkeep, clocks, 20 * HOUR, leap=2 * HOUR)
    assert set(done) == {"other"}


@pytest.mark.parametrize("leap", [HOUR - 1, -YEARS])
def test_what_is_no_leap_ahead_is_believed(leap: float) -> None:
    clocks = Clocks()
    upkeep, done, _ = upkeep_of(clocks)
    lived(upkeep, clocks, HOUR, leap)
    assert done.count("aged") == 60


def test_a_start_by_a_clock_that_is_far_ahead_makes_nothing_old_for_a_day(
    caplog: pytest.LogCaptureFixture,
) -> None:
    clocks = Clocks()
    upkeep, done, noted = upkeep_of(clocks, Trust(clocks.wall - AWAY - 60))
    began = clocks.wall + PERIOD
    lived(upkeep, clocks, PROBATION)
    assert set(done) == {"other"}
    assert noted == [Trust(clocks.wall - PROBATION - AWAY - 60, began)]  # for the next start
    assert [each.levelno for each in caplog.records] == [logging.ERROR]
    lived(upkeep, clocks, 2 * PERIOD)
    assert "aged" in done  # it was away
    assert noted[-1] == Trust(clocks.wall - PERIOD)


def test_a_machine_that_is_on_for_hours_only_comes_to_the_end_of_its_doubt() -> None:
    clocks, trust = Clocks(), Trust(1.0)
    days = []
    for _ in range(5):
        upkeep, done, noted = upkeep_of(clocks, trust)
        lived(upkeep, clocks, 8 * HOUR)
        trust = noted[-1] if noted else trust
        days.append("aged" in done)
        clocks.go(16 * HOUR)
    assert days == [False, True, True, True, True]


def test_a_start_within_the_day_after_a_leap_does_not_end_the_doubt() -> None:
    clocks = Clocks()
    upkeep, _, noted = upkeep_of(clocks)
    lived(upkeep, clocks, HOUR)
    lived(upkeep, clocks, HOUR, leap=2 * HOUR)
    upkeep, done, _ = upkeep_of(clocks, noted[-1])
    lived(upkeep, clocks, HOUR)
    assert set(done) == {"other"}


def test_a_clock_that_is_believed_is_noted_each_hour() -> None:
    clocks = Clocks()
    upkeep, done, noted = upkeep_of(clocks, Trust(clocks.wall - AWAY + 60))
    for _ in range(5):
        asyncio.run(upkeep.once())
        clocks.go(NOTED / 2)
    assert done.count("aged") == 5
    assert [each.believed for each in noted] == [1e9, 1e9 + NOTED, 1e9 + 2 * NOTED]


def test_what_could_not_be_noted_is_tried_again_and_told_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    clocks, tried = Clocks(), []

    async def note(trust: Trust) -> None:
        tried.append(trust)
        raise OSError("no room")

    upkeep = Upkeep((), note=note, **clocks.told)
    lived(upkeep, clocks, 3 * PERIOD)
    assert len(tried) == 3
    assert len(caplog.records) == 1 and "no room" in caplog.text


def test_the_time_that_passes_is_that_of_the_system_s_sleep_too() -> None:
    """Or each night of a machine that sleeps would be a leap."""
    assert PASSING == time.CLOCK_BOOTTIME


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
