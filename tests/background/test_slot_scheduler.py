"""Slot scheduler: the current plan follows the clock and the latest stats."""

import asyncio
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from background.banners.slot_scheduler import (
    CHECK_INTERVAL_SECONDS,
    STATS_REFRESH_INTERVAL,
    SlotScheduler,
)
from domain.banners.slots import SlotPeriod

START = datetime(2026, 3, 1, 12, 14, 59, 500_000, UTC)


class SchedulerWorld:
    """A scheduler with a manual clock, numbers as stats and text as plans."""

    def __init__(
        self, moment: datetime = START, zone: str = "UTC", *, renewing: bool = False
    ) -> None:
        self.moment = moment
        self.stats = 1
        self.shown: list[str] = []
        self.prepared: list[str] = []
        self.predecessors: list[str | None] = []
        self.renewals = 0
        self.broken = False
        self.rotation: SlotScheduler[int, str] = SlotScheduler(
            self.read,
            self.prepare,
            self.shown.append,
            zone=ZoneInfo(zone),
            clock=lambda: self.moment,
            renew=self.renew if renewing else None,
        )

    async def read(self) -> int:
        return self.stats

    async def renew(self, stats: int) -> int:
        self.renewals += 1
        if self.broken:
            raise OSError("the disk is gone")
        return self.stats

    def prepare(self, stats: int, period: SlotPeriod, previous: str | None) -> str:
        self.predecessors.append(previous)
        plan = f"{stats}:{period.slot}@{period.start:%H:%M}"
        self.prepared.append(plan)
        return plan


def play(
    act: Callable[[SchedulerWorld], Coroutine[object, object, None]], **how: object
) -> SchedulerWorld:
    world = SchedulerWorld(**how)  # type: ignore[arg-type]
    asyncio.run(act(world))
    return world


def test_the_next_slot_is_prepared_before_it_begins():
    async def act(world: SchedulerWorld) -> None:
        await world.rotation.reload()
        assert world.shown == ["1:1@12:00"]
        assert world.prepared == ["1:1@12:00", "1:2@12:15"]
        assert await world.rotation.once() == pytest.approx(0.5)
        world.moment += timedelta(seconds=0.5)
        done = len(world.prepared)
        await world.rotation.once()
        assert world.shown[-1] == "1:2@12:15"
        assert world.prepared[done:] == ["1:3@12:30"]  # prepared after the slot change

    play(act)


def test_reload_applies_new_stats_to_this_and_the_next_slot():
    async def act(world: SchedulerWorld) -> None:
        await world.rotation.reload()
        world.stats = 2
        await world.rotation.reload()
        assert world.shown[-1] == "2:1@12:00"
        world.moment += timedelta(seconds=1)
        await world.rotation.once()
        assert world.shown[-1] == "2:2@12:15"

    play(act)


@pytest.mark.parametrize(
    ("jump", "slot"),
    [
        (timedelta(hours=1), "1@13:00"),
        (timedelta(hours=-1), "1@11:00"),
        (timedelta(minutes=-7), None),
        (timedelta(days=3650, minutes=16), "3@12:30"),
    ],
)
def test_a_changed_clock_is_followed_at_the_next_check(jump, slot):
    async def act(world: SchedulerWorld) -> None:
        await world.rotation.reload()
        world.moment += jump
        assert await world.rotation.once() <= CHECK_INTERVAL_SECONDS
        assert world.shown[-1] == (f"1:{slot}" if slot else "1:1@12:00")
        assert len(world.shown) == (2 if slot else 1)

    play(act)


def test_the_slot_follows_the_time_zone():
    async def act(world: SchedulerWorld) -> None:
        await world.rotation.reload()
        # 12:14 UTC is 17:59 in Kathmandu.
        assert world.shown == ["1:4@12:00"]

    play(act, zone="Asia/Kathmandu")


def test_a_reload_during_a_slot_change_ends_with_new_stats_in_the_new_slot():
    async def act(world: SchedulerWorld) -> None:
        await world.rotation.reload()
        world.stats = 2
        world.moment += timedelta(seconds=1)
        await asyncio.gather(world.rotation.once(), world.rotation.reload())
        assert world.shown[-1] == "2:2@12:15"
        world.moment += timedelta(minutes=15)
        await world.rotation.once()
        assert world.shown[-1] == "2:3@12:30"

    play(act)


def test_the_scheduler_is_not_ready_before_the_first_reload():
    async def act(world: SchedulerWorld) -> None:
        assert not world.rotation.ready
        with pytest.raises(LookupError):
            _ = world.rotation.book
        await world.rotation.reload()
        assert world.rotation.ready

    play(act)


def test_stats_are_refreshed_at_the_refresh_interval():
    async def act(world: SchedulerWorld) -> None:
        world.moment -= timedelta(minutes=10)
        await world.rotation.reload()
        await world.rotation.once()
        assert world.renewals == 0
        for number in (2, 3):
            world.stats = number
            world.moment += STATS_REFRESH_INTERVAL - timedelta(microseconds=1)
            await world.rotation.once()
            assert world.shown[-1] == f"{number - 1}:1@12:00"
            world.moment += timedelta(microseconds=1)
            await world.rotation.once()
            await world.rotation.once()
            assert world.shown[-1] == f"{number}:1@12:00"
            assert world.rotation.book == number
        assert world.renewals == 2

    play(act, renewing=True)


def test_stats_are_refreshed_after_a_slot_change():
    async def act(world: SchedulerWorld) -> None:
        await world.rotation.reload()
        world.stats = 2
        world.moment += timedelta(seconds=1)
        await world.rotation.once()
        assert world.shown[-1] == "1:2@12:15"  # at once, as prepared
        await world.rotation.once()
        assert world.shown[-1] == "2:2@12:15"

    play(act, renewing=True)


def test_unchanged_stats_prepare_no_new_plan():
    async def act(world: SchedulerWorld) -> None:
        world.moment -= timedelta(minutes=10)
        await world.rotation.reload()
        done = len(world.prepared)
        world.moment += STATS_REFRESH_INTERVAL
        await world.rotation.once()
        assert (world.renewals, len(world.prepared), len(world.shown)) == (1, done, 1)

    play(act, renewing=True)


def test_a_plan_is_prepared_from_its_predecessor():
    async def act(world: SchedulerWorld) -> None:
        world.moment -= timedelta(minutes=10)
        await world.rotation.reload()
        world.stats = 2
        world.moment += STATS_REFRESH_INTERVAL
        await world.rotation.once()
        assert world.predecessors == [None, None, "1:1@12:00", "1:2@12:15"]

    play(act, renewing=True)


def test_the_current_plan_remains_while_stats_cannot_be_read(caplog):
    async def act(world: SchedulerWorld) -> None:
        world.moment -= timedelta(minutes=10)
        await world.rotation.reload()
        world.broken, world.stats = True, 2
        for _ in range(3):
            world.moment += STATS_REFRESH_INTERVAL
            await world.rotation.once()
        assert (world.renewals, world.shown) == (3, ["1:1@12:00"])
        world.broken = False
        world.moment += STATS_REFRESH_INTERVAL
        await world.rotation.once()
        assert world.shown[-1] == "2:1@12:00"

    play(act, renewing=True)
    assert [each.getMessage() for each in caplog.records if each.levelname == "ERROR"] == [
        "figures are not renewed: the disk is gone"
    ]
