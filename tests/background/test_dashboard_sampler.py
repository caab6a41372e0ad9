"""What goes on, beat for beat."""

import asyncio

from background.admin.dashboard_sampler import DashboardReading, DashboardSampler


class Source:
    def __init__(self) -> None:
        self.now, self.count, self.level = 0.0, 0.0, None

    def __call__(self) -> DashboardReading:
        return DashboardReading({"events": self.count}, {"lag": self.level})


def test_the_rate_of_a_count_and_a_level_as_it_is() -> None:
    source = Source()
    pulse = DashboardSampler(source, lambda: source.now, kept=3)
    for count, level in ((10, None), (14, 2.0), (14, 0.0)):
        source.count, source.level = count, level
        pulse.once()
        source.now += 2
    assert list(pulse.history["events"]) == [None, 2.0, 0.0]
    assert list(pulse.history["lag"]) == [None, 2.0, 0.0]


def test_it_keeps_no_more_than_it_may_and_survives_a_clock_that_stands() -> None:
    source = Source()
    pulse = DashboardSampler(source, lambda: 0.0, kept=5)
    for _ in range(20):
        pulse.once()
    assert list(pulse.history["events"]) == [None] * 5


def test_whoever_watches_is_told_of_each_beat_and_of_the_end() -> None:
    async def test() -> None:
        pulse = DashboardSampler(Source(), lambda: 0.0)
        watching = [asyncio.create_task(pulse.beat()) for _ in range(3)]
        await asyncio.sleep(0)
        watching[0].cancel()
        await asyncio.sleep(0)
        pulse.once()
        assert await asyncio.gather(*watching[1:]) == [True, True]
        last = asyncio.create_task(pulse.beat())
        await asyncio.sleep(0)
        pulse.close()
        assert await last is False
        assert await pulse.beat() is False

    asyncio.run(test())
