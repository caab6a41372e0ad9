"""What is old goes in steps, but not by a clock that is wrong."""

import asyncio
import logging
from typing import Any

import pytest

from background.events.retention_worker import (
    CHECK_INTERVAL_SECONDS,
    CLOCK_RECORD_SECONDS,
    STEP_PAUSE_SECONDS,
    RetentionWorker,
)
from domain.common.clock_state import MAX_TRUSTED_GAP_SECONDS, UNKNOWN_CLOCK, ClockState

HOUR, DAY = 3_600.0, 86_400.0
YEARS = 10 * 365 * DAY


class Clocks:
    wall = 1e9
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

    upkeep = RetentionWorker((deed, nothing), **clocks.told)
    waits = []
    for _ in range(4):
        waits.append(asyncio.run(upkeep.once()))
        clocks.go(1)
    assert waits == [
        STEP_PAUSE_SECONDS,
        STEP_PAUSE_SECONDS,
        CHECK_INTERVAL_SECONDS,
        CHECK_INTERVAL_SECONDS,
    ]
    assert asked[:2] == [1_000_000_000_000_000, 1_000_000_001_000_000]
    assert not caplog.records


def upkeep_of(
    clocks: Clocks, trust: ClockState = UNKNOWN_CLOCK
) -> tuple[RetentionWorker, list[str], list[ClockState]]:
    """One that has a deed of each kind, what they did, and what was noted."""
    done: list[str] = []
    noted: list[ClockState] = []

    async def deed(_: int) -> bool:
        done.append("aged")
        return False

    async def other(_: int) -> bool:
        done.append("other")
        return False

    async def note(trust: ClockState) -> None:
        noted.append(trust)

    made = RetentionWorker((deed,), (other,), trust=trust, note=note, **clocks.told)
    return made, done, noted


def lived(upkeep: RetentionWorker, clocks: Clocks, seconds: float, leap: float = 0.0) -> None:
    """Have time pass, with a step each minute."""
    clocks.go(0, leap)
    for _ in range(int(seconds / CHECK_INTERVAL_SECONDS)):
        clocks.go(CHECK_INTERVAL_SECONDS)
        asyncio.run(upkeep.once())


@pytest.mark.parametrize("leap", [MAX_TRUSTED_GAP_SECONDS + HOUR, 20 * DAY, YEARS])
def test_by_a_clock_that_leaps_ahead_nothing_goes_for_its_age_for_a_day(
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
    lived(upkeep, clocks, HOUR / 2, leap=-HOUR / 2)  # the minutes are set right, the day is not
    assert set(done) == {"other"}
    lived(upkeep, clocks, HOUR)
    assert "aged" in done and not upkeep.doubt
    assert noted[-1].lived == 0 and noted[-1].believed > clocks.wall - HOUR


def test_a_clock_that_was_set_right_again_is_believed_at_once() -> None:
    clocks = Clocks()
    upkeep, done, noted = upkeep_of(clocks)
    lived(upkeep, clocks, HOUR)
    done.clear()
    lived(upkeep, clocks, 20 * HOUR, leap=YEARS)
    assert set(done) == {"other"}
    lived(upkeep, clocks, HOUR, leap=-YEARS)
    assert done.count("aged") == 60
    assert noted[-1].lived == 0


@pytest.mark.parametrize("leap", [MAX_TRUSTED_GAP_SECONDS - HOUR, -YEARS])
def test_what_is_no_leap_ahead_is_believed(leap: float) -> None:
    clocks = Clocks()
    upkeep, done, _ = upkeep_of(clocks)
    lived(upkeep, clocks, HOUR)
    lived(upkeep, clocks, HOUR, leap)
    assert done.count("aged") == 120


def starts(clocks: Clocks, trust: ClockState, hours: float, off: float, count: int) -> list[bool]:
    """Whether anything went for its age after each start of a machine that is on for so long."""
    went = []
    for _ in range(count):
        upkeep, done, noted = upkeep_of(clocks, trust)
        lived(upkeep, clocks, hours * HOUR)
        trust = noted[-1] if noted else trust
        went.append("aged" in done)
        clocks.wall += off * HOUR
    return went


def test_a_machine_that_is_off_at_night_is_believed() -> None:
    clocks = Clocks()
    assert starts(clocks, ClockState(clocks.wall - 8 * HOUR), 8, 16, 5) == [True] * 5


def test_a_machine_that_was_away_is_believed_when_it_has_run_for_a_day() -> None:
    clocks = Clocks()
    away = ClockState(clocks.wall - 100 * DAY)
    assert starts(clocks, away, 8.2, 16, 5) == [False, False, True, True, True]


def test_a_machine_that_starts_with_a_wrong_clock_again_and_again_is_not_believed() -> None:
    clocks = Clocks()
    wrong = ClockState(clocks.wall - YEARS)
    assert starts(clocks, wrong, 0.5, 60, 20) == [False] * 20


def test_a_clock_that_falls_behind_while_the_machine_is_off_is_believed_when_it_is_set() -> None:
    """As one without a battery does, each day."""
    clocks, went = Clocks(), []
    trust = ClockState(clocks.wall)
    for _ in range(5):
        upkeep, done, noted = upkeep_of(clocks, trust)
        lived(upkeep, clocks, CHECK_INTERVAL_SECONDS)
        lived(upkeep, clocks, 8 * HOUR, leap=16 * HOUR)
        trust = noted[-1]
        went.append(done.count("aged"))
    assert went == [481] * 5


def test_what_is_believed_is_noted_every_ten_minutes() -> None:
    clocks = Clocks()
    upkeep, done, noted = upkeep_of(clocks, ClockState(clocks.wall - HOUR))
    for _ in range(5):
        asyncio.run(upkeep.once())
        clocks.go(CLOCK_RECORD_SECONDS / 2)
    assert done.count("aged") == 5
    assert [each.believed for each in noted] == [
        1e9,
        1e9 + CLOCK_RECORD_SECONDS,
        1e9 + 2 * CLOCK_RECORD_SECONDS,
    ]


def test_what_could_not_be_noted_is_tried_again_and_told_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    clocks, tried = Clocks(), []

    async def note(trust: ClockState) -> None:
        tried.append(trust)
        raise OSError("no room")

    upkeep = RetentionWorker((), note=note, **clocks.told)
    lived(upkeep, clocks, 3 * CHECK_INTERVAL_SECONDS)
    assert len(tried) == 3
    assert len(caplog.records) == 1 and "no room" in caplog.text


def test_one_deed_that_fails_keeps_no_other_and_is_told_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    done = []

    async def failing(_: int) -> bool:
        raise OSError("no room")

    async def deed(now: int) -> bool:
        done.append(now)
        return False

    upkeep = RetentionWorker((failing, deed))
    for _ in range(2):
        assert asyncio.run(upkeep.once()) == CHECK_INTERVAL_SECONDS
    assert len(done) == 2
    assert [each.message for each in caplog.records] == ["retention failed: no room"]
