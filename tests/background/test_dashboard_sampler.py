"""Dashboard sampler: rates, bounded history, notification of waiting tasks."""

import asyncio

from background.admin.dashboard_sampler import DashboardReading, DashboardSampler


class DashboardSource:
    def __init__(self) -> None:
        self.now, self.count, self.level = 0.0, 0.0, None

    def __call__(self) -> DashboardReading:
        return DashboardReading({"events": self.count}, {"lag": self.level})


def test_counts_are_sampled_as_rates_and_levels_as_values() -> None:
    source = DashboardSource()
    sampler = DashboardSampler(source, lambda: source.now, kept=3)
    for count, level in ((10, None), (14, 2.0), (14, 0.0)):
        source.count, source.level = count, level
        sampler.once()
        source.now += 2
    assert list(sampler.history["events"]) == [None, 2.0, 0.0]
    assert list(sampler.history["lag"]) == [None, 2.0, 0.0]


def test_history_is_bounded_and_a_stopped_clock_gives_no_rate() -> None:
    source = DashboardSource()
    sampler = DashboardSampler(source, lambda: 0.0, kept=5)
    for _ in range(20):
        sampler.once()
    assert list(sampler.history["events"]) == [None] * 5


def test_waiting_tasks_wake_at_each_sample_and_at_close() -> None:
    async def test() -> None:
        sampler = DashboardSampler(DashboardSource(), lambda: 0.0)
        watching = [asyncio.create_task(sampler.beat()) for _ in range(3)]
        await asyncio.sleep(0)
        watching[0].cancel()
        await asyncio.sleep(0)
        sampler.once()
        assert await asyncio.gather(*watching[1:]) == [True, True]
        last = asyncio.create_task(sampler.beat())
        await asyncio.sleep(0)
        sampler.close()
        assert await last is False
        assert await sampler.beat() is False

    asyncio.run(test())
