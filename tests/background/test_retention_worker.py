"""Retention deletes expired data in steps, and only by a trusted clock."""

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
    def clock_arguments(self) -> dict[str, Any]:
        return {"wall": lambda: self.wall, "steady": lambda: self.steady}

    def go(self, seconds: float, leap: float = 0.0) -> None:
        self.wall += seconds + leap
        self.steady += seconds


def test_steps_repeat_after_a_pause_while_expired_rows_remain(
    caplog: pytest.LogCaptureFixture,
) -> None:
    clocks, asked = Clocks(), []

    async def expire(now: int) -> bool:
        asked.append(now)
        return len(asked) < 3

    async def nothing(now: int) -> bool:
        return False

    worker = RetentionWorker((expire, nothing), **clocks.clock_arguments)
    waits = []
    for _ in range(4):
        waits.append(asyncio.run(worker.once()))
        clocks.go(1)
    assert waits == [
        STEP_PAUSE_SECONDS,
        STEP_PAUSE_SECONDS,
        CHECK_INTERVAL_SECONDS,
        CHECK_INTERVAL_SECONDS,
    ]
    assert asked[:2] == [1_000_000_000_000_000, 1_000_000_001_000_000]
    assert not caplog.records


def make_worker(
    clocks: Clocks, trust: ClockState = UNKNOWN_CLOCK
) -> tuple[RetentionWorker, list[str], list[ClockState]]:
    """Return a worker with a task of each kind, the log of both, and the recorded clock states."""
    done: list[str] = []
    recorded: list[ClockState] = []

    async def expire(_: int) -> bool:
        done.append("aged")
        return False

    async def other(_: int) -> bool:
        done.append("other")
        return False

    async def note(trust: ClockState) -> None:
        recorded.append(trust)

    worker = RetentionWorker((expire,), (other,), trust=trust, note=note, **clocks.clock_arguments)
    return worker, done, recorded


def advance(worker: RetentionWorker, clocks: Clocks, seconds: float, leap: float = 0.0) -> None:
    """Advance the clocks, with a step each minute."""
    clocks.go(0, leap)
    for _ in range(int(seconds / CHECK_INTERVAL_SECONDS)):
        clocks.go(CHECK_INTERVAL_SECONDS)
        asyncio.run(worker.once())


@pytest.mark.parametrize("leap", [MAX_TRUSTED_GAP_SECONDS + HOUR, 20 * DAY, YEARS])
def test_nothing_expires_for_a_day_after_a_forward_clock_jump(
    leap: float, caplog: pytest.LogCaptureFixture
) -> None:
    clocks = Clocks()
    worker, done, recorded = make_worker(clocks)
    advance(worker, clocks, HOUR)
    assert done.count("aged") == 60
    done.clear()
    advance(worker, clocks, 23 * HOUR, leap)
    assert set(done) == {"other"} and worker.doubt
    assert [each.levelno for each in caplog.records] == [logging.ERROR]  # logged once
    advance(worker, clocks, HOUR / 2, leap=-HOUR / 2)  # still a day ahead
    assert set(done) == {"other"}
    advance(worker, clocks, HOUR)
    assert "aged" in done and not worker.doubt
    assert recorded[-1].lived == 0 and recorded[-1].believed > clocks.wall - HOUR


def test_a_corrected_clock_is_trusted_at_once() -> None:
    clocks = Clocks()
    worker, done, recorded = make_worker(clocks)
    advance(worker, clocks, HOUR)
    done.clear()
    advance(worker, clocks, 20 * HOUR, leap=YEARS)
    assert set(done) == {"other"}
    advance(worker, clocks, HOUR, leap=-YEARS)
    assert done.count("aged") == 60
    assert recorded[-1].lived == 0


@pytest.mark.parametrize("leap", [MAX_TRUSTED_GAP_SECONDS - HOUR, -YEARS])
def test_a_short_or_backward_clock_jump_is_trusted(leap: float) -> None:
    clocks = Clocks()
    worker, done, _ = make_worker(clocks)
    advance(worker, clocks, HOUR)
    advance(worker, clocks, HOUR, leap)
    assert done.count("aged") == 120


def starts(clocks: Clocks, trust: ClockState, hours: float, off: float, count: int) -> list[bool]:
    """Return whether anything expired in each run of `hours`, with `off` hours between."""
    expired = []
    for _ in range(count):
        worker, done, recorded = make_worker(clocks, trust)
        advance(worker, clocks, hours * HOUR)
        trust = recorded[-1] if recorded else trust
        expired.append("aged" in done)
        clocks.wall += off * HOUR
    return expired


def test_the_clock_is_trusted_after_a_night_without_power() -> None:
    clocks = Clocks()
    assert starts(clocks, ClockState(clocks.wall - 8 * HOUR), 8, 16, 5) == [True] * 5


def test_the_clock_is_trusted_after_a_day_of_uptime_following_a_long_absence() -> None:
    clocks = Clocks()
    away = ClockState(clocks.wall - 100 * DAY)
    assert starts(clocks, away, 8.2, 16, 5) == [False, False, True, True, True]


def test_short_runs_with_a_wrong_clock_never_make_it_trusted() -> None:
    clocks = Clocks()
    wrong = ClockState(clocks.wall - YEARS)
    assert starts(clocks, wrong, 0.5, 60, 20) == [False] * 20


def test_a_clock_that_lags_after_power_off_is_trusted_once_it_is_set() -> None:
    """A clock without a battery does so each day."""
    clocks, expired = Clocks(), []
    trust = ClockState(clocks.wall)
    for _ in range(5):
        worker, done, recorded = make_worker(clocks, trust)
        advance(worker, clocks, CHECK_INTERVAL_SECONDS)
        advance(worker, clocks, 8 * HOUR, leap=16 * HOUR)
        trust = recorded[-1]
        expired.append(done.count("aged"))
    assert expired == [481] * 5


def test_the_trusted_time_is_recorded_every_ten_minutes() -> None:
    clocks = Clocks()
    worker, done, recorded = make_worker(clocks, ClockState(clocks.wall - HOUR))
    for _ in range(5):
        asyncio.run(worker.once())
        clocks.go(CLOCK_RECORD_SECONDS / 2)
    assert done.count("aged") == 5
    assert [each.believed for each in recorded] == [
        1e9,
        1e9 + CLOCK_RECORD_SECONDS,
        1e9 + 2 * CLOCK_RECORD_SECONDS,
    ]


def test_a_failed_clock_record_is_retried_and_logged_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    clocks, tried = Clocks(), []

    async def note(trust: ClockState) -> None:
        tried.append(trust)
        raise OSError("no room")

    worker = RetentionWorker((), note=note, **clocks.clock_arguments)
    advance(worker, clocks, 3 * CHECK_INTERVAL_SECONDS)
    assert len(tried) == 3
    assert len(caplog.records) == 1 and "no room" in caplog.text


def test_a_failing_task_does_not_stop_others_and_is_logged_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    done = []

    async def failing(_: int) -> bool:
        raise OSError("no room")

    async def expire(now: int) -> bool:
        done.append(now)
        return False

    worker = RetentionWorker((failing, expire))
    for _ in range(2):
        assert asyncio.run(worker.once()) == CHECK_INTERVAL_SECONDS
    assert len(done) == 2
    assert [each.message for each in caplog.records] == ["retention failed: no room"]
