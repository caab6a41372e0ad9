"""Projection worker: pauses between steps, bursts, failures, cancellation."""

import asyncio

import pytest

from background.events import projection_worker
from background.events.projection_worker import ProjectionWorker


def test_a_full_step_is_followed_by_a_shorter_pause() -> None:
    steps = []

    async def step(most: int) -> int:
        steps.append(most)
        await asyncio.sleep(0.02)
        return most

    rest = asyncio.run(ProjectionWorker(step, 5).once())
    assert steps == [5]
    assert 0 < rest < projection_worker.UPDATE_INTERVAL_SECONDS


def test_projections_pause_longer_during_a_burst_of_requests() -> None:
    async def step(most: int) -> int:
        await asyncio.sleep(0.02)
        return most

    async def rest(*, crowded: bool) -> float:
        return await ProjectionWorker(step, 5, lambda: crowded).once()

    assert asyncio.run(rest(crowded=True)) > 2 * asyncio.run(rest(crowded=False)) > 0


def test_projections_catch_up_when_a_burst_exceeds_its_limit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def step(most: int) -> int:
        await asyncio.sleep(0.02)
        return most if len(rests) != 3 else 0

    rests: list[float] = []

    async def run() -> None:
        loop = ProjectionWorker(step, 5, lambda: True)
        for burst in (15.0, 15.0, 0.0, 15.0, 15.0):
            monkeypatch.setattr(projection_worker, "MAX_BURST_SECONDS", burst)
            rests.append(await loop.once())

    asyncio.run(run())
    first, second, late, caught_up, another = rests
    assert min(first, second, another) > 4 * late > 0
    assert caught_up < projection_worker.UPDATE_INTERVAL_SECONDS


def test_few_rows_are_projected_at_the_usual_interval() -> None:
    async def step(_: int) -> int:
        return 1

    assert (
        projection_worker.UPDATE_INTERVAL_SECONDS * 0.8
        < asyncio.run(ProjectionWorker(step).once())
        <= projection_worker.UPDATE_INTERVAL_SECONDS
    )


def test_a_failing_projection_update_is_retried_and_logged_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def step(_: int) -> int:
        raise OSError("the disk is full")

    async def run() -> None:
        loop = ProjectionWorker(step)
        assert [await loop.once() for _ in range(3)] == [
            projection_worker.UPDATE_INTERVAL_SECONDS
        ] * 3

    asyncio.run(run())
    assert [each.message for each in caplog.records] == [
        "projection update failed: the disk is full"
    ]


def test_a_started_projection_step_is_completed() -> None:
    done = []

    async def step(_: int) -> int:
        await asyncio.sleep(0.05)
        done.append(True)
        return 0

    async def run() -> None:
        task = asyncio.create_task(ProjectionWorker(step).run())
        await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await asyncio.sleep(0.1)

    asyncio.run(run())
    assert done == [True]
