"""Background workers complete their current step when they are cancelled."""

import asyncio

import pytest

from background.banners.impression_writer import ImpressionWriter
from background.common.uncancellable import run_to_completion
from background.events.projection_worker import ProjectionWorker
from background.events.retention_worker import RetentionWorker


async def ended(loop: "asyncio.Task[None]") -> None:
    """Cancel a worker as the server does, and wait for its end."""
    loop.cancel()
    await asyncio.gather(loop, return_exceptions=True)
    assert loop.cancelled()


@pytest.mark.parametrize("kind", ["folding", "upkeep", "impressions"])
def test_a_cancelled_worker_completes_its_current_step(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise a shutdown could close a database that a step still uses."""
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


def test_a_step_completes_after_repeated_cancellation() -> None:
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


def test_the_result_or_error_of_a_step_is_passed_on() -> None:
    async def step(error: Exception | None) -> int:
        if error:
            raise error
        return 7

    assert asyncio.run(run_to_completion(step(None))) == 7
    with pytest.raises(OSError, match="no"):
        asyncio.run(run_to_completion(step(OSError("no"))))


def test_a_step_that_fails_after_cancellation_logs_nothing(
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
