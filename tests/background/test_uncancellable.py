"""A step that has begun is finished before its loop ends."""

import asyncio

import pytest

from background.banners.impression_writer import ImpressionWriter
from background.common.uncancellable import run_to_completion
from background.events.projection_worker import ProjectionWorker
from background.events.retention_worker import RetentionWorker


async def ended(loop: "asyncio.Task[None]") -> None:
    """End a loop as the server does, and wait for that."""
    loop.cancel()
    await asyncio.gather(loop, return_exceptions=True)
    assert loop.cancelled()


@pytest.mark.parametrize("kind", ["folding", "upkeep", "impressions"])
def test_a_loop_ends_after_the_step_that_it_has_begun(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who closes what the steps work on would else pull it from under one."""
    monkeypatch.setattr("background.banners.impression_writer.FLUSH_INTERVAL_SECONDS", 0)
    done: list[str] = []
    begun = asyncio.Event()

    async def step(*_: object) -> int:
        begun.set()
        for _ in range(5):
            await asyncio.sleep(0.01)
        done.append("whole")
        return 0

    async def deed(_: int) -> bool:
        return bool(await step())

    async def add(_: object) -> None:
        await step()

    loops = {
        "folding": lambda: ProjectionWorker(step).run(),
        "upkeep": lambda: RetentionWorker((deed,)).run(),
        "impressions": lambda: ImpressionWriter(lambda: [((1, 1, 1), 1)], add).run(),
    }

    async def run() -> None:
        loop = asyncio.create_task(loops[kind]())
        await begun.wait()
        await ended(loop)
        assert done == ["whole"]

    asyncio.run(run())


def test_a_step_is_finished_however_often_its_loop_is_cancelled() -> None:
    async def step() -> None:
        await asyncio.sleep(0.05)
        done.append(1)

    done: list[int] = []

    async def run() -> None:
        task = asyncio.create_task(run_to_completion(step()))
        for _ in range(3):
            await asyncio.sleep(0.01)
            task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert done

    asyncio.run(run())


def test_what_a_step_comes_to_or_raises_is_its_own() -> None:
    async def step(error: Exception | None) -> int:
        if error:
            raise error
        return 7

    assert asyncio.run(run_to_completion(step(None))) == 7
    with pytest.raises(OSError, match="no"):
        asyncio.run(run_to_completion(step(OSError("no"))))


def test_a_step_that_fails_while_its_loop_ends_leaves_no_word_behind(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def step() -> None:
        await asyncio.sleep(0.02)
        raise OSError("no")

    async def run() -> None:
        task = asyncio.create_task(run_to_completion(step()))
        await asyncio.sleep(0.01)
        await ended(task)

    asyncio.run(run())
    assert not caplog.records
