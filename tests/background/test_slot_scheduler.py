"""The rotation: what is on follows the clock and the newest figures."""

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


class World:
    """A clock that is set by hand, figures that are numbers, programmes that are their words."""

    def __init__(
        self, moment: datetime = START, zone: str = "UTC", *, renewing: bool = False
    ) -> None:
        self.moment = moment
        self.book = 1
        self.on: list[str] = []
        self.prepared: list[str] = []
        self.known: list[str | None] = []
        self.renewed = 0
        self.broken = False
        self.rotation: SlotScheduler[int, str] = SlotScheduler(
            self.read,
            self.prepare,
            self.on.append,
            zone=ZoneInfo(zone),
            clock=lambda: self.moment,
            renew=self.renew if renewing else None,
        )

    async def read(self) -> int:
        return self.book

    async def renew(self, book: int) -> int:
        self.renewed += 1
        if self.broken:
            raise OSError("the disk is gone")
        return self.book

    def prepare(self, book: int, period: SlotPeriod, before: str | None) -> str:
        self.known.append(before)
        words = f"{book}:{period.slot}@{period.start:%H:%M}"
        self.prepared.append(words)
        return words


def play(act: Callable[[World], Coroutine[object, object, None]], **how: object) -> World:
    world = World(**how)  # type: ignore[arg-type]
    asyncio.run(act(world))
    return world


def test_the_next_slot_is_ready_before_it_begins_and_comes_on_without_any_work():
    async def act(world: World) -> None:
        await world.rotation.reload()
        assert world.on == ["1:1@12:00"]
        assert world.prepared == ["1:1@12:00", "1:2@12:15"]
        assert await world.rotation.once() == pytest.approx(0.5)
        world.moment += timedelta(seconds=0.5)
        done = len(world.prepared)
        await world.rotation.once()
        assert world.on[-1] == "1:2@12:15"
        assert world.prepared[done:] == ["1:3@12:30"]  # ahead, after the switch

    play(act)


def test_new_figures_are_on_when_reload_returns_and_the_next_slot_has_them_too():
    async def act(world: World) -> None:
        await world.rotation.reload()
        world.book = 2
        await world.rotation.reload()
        assert world.on[-1] == "2:1@12:00"
        world.moment += timedelta(seconds=1)
        await world.rotation.once()
        assert world.on[-1] == "2:2@12:15"

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
def test_a_clock_that_is_set_is_followed_at_the_next_look(jump, slot):
    async def act(world: World) -> None:
        await world.rotation.reload()
        world.moment += jump
        assert await world.rotation.once() <= CHECK_INTERVAL_SECONDS
        assert world.on[-1] == (f"1:{slot}" if slot else "1:1@12:00")
        assert len(world.on) == (2 if slot else 1)

    play(act)


def test_the_zone_decides_which_slot_it_is():
    async def act(world: World) -> None:
        await world.rotation.reload()
        # 12:14 UTC is 17:59 in Kathmandu.
        assert world.on == ["1:4@12:00"]

    play(act, zone="Asia/Kathmandu")


def test_a_reload_and_a_switch_at_once_leave_the_newest_figures_of_the_right_slot():
    async def act(world: World) -> None:
        await world.rotation.reload()
        world.book = 2
        world.moment += timedelta(seconds=1)
        await asyncio.gather(world.rotation.once(), world.rotation.reload())
        assert world.on[-1] == "2:2@12:15"
        world.moment += timedelta(minutes=15)
        await world.rotation.once()
        assert world.on[-1] == "2:3@12:30"

    play(act)


def test_it_is_not_ready_before_figures_were_read():
    async def act(world: World) -> None:
        assert not world.rotation.ready
        with pytest.raises(LookupError):
            _ = world.rotation.book
        await world.rotation.reload()
        assert world.rotation.ready

    play(act)


def test_figures_that_change_by_themselves_are_taken_in_again_and_again():
    async def act(world: World) -> None:
        world.moment -= timedelta(minutes=10)
        await world.rotation.reload()
        await world.rotation.once()
        assert world.renewed == 0
        for number in (2, 3):
            world.book = number
            world.moment += STATS_REFRESH_INTERVAL - timedelta(microseconds=1)
            await world.rotation.once()
            assert world.on[-1] == f"{number - 1}:1@12:00"
            world.moment += timedelta(microseconds=1)
            await world.rotation.once()
            await world.rotation.once()
            assert world.on[-1] == f"{number}:1@12:00"
            assert world.rotation.book == number
        assert world.renewed == 2

    play(act, renewing=True)


def test_figures_are_taken_in_again_when_a_slot_begins():
    async def act(world: World) -> None:
        await world.rotation.reload()
        world.book = 2
        world.moment += timedelta(seconds=1)
        await world.rotation.once()
        assert world.on[-1] == "1:2@12:15"  # at once, as it was made ready
        await world.rotation.once()
        assert world.on[-1] == "2:2@12:15"

    play(act, renewing=True)


def test_figures_that_did_not_change_cost_nothing():
    async def act(world: World) -> None:
        world.moment -= timedelta(minutes=10)
        await world.rotation.reload()
        done = len(world.prepared)
        world.moment += STATS_REFRESH_INTERVAL
        await world.rotation.once()
        assert (world.renewed, len(world.prepared), len(world.on)) == (1, done, 1)

    play(act, renewing=True)


def test_a_programme_is_made_with_the_one_that_was_on_before_at_hand():
    async def act(world: World) -> None:
        world.moment -= timedelta(minutes=10)
        await world.rotation.reload()
        world.book = 2
        world.moment += STATS_REFRESH_INTERVAL
        await world.rotation.once()
        assert world.known == [None, None, "1:1@12:00", "1:2@12:15"]

    play(act, renewing=True)


def test_what_is_on_stays_on_when_figures_cannot_be_read(caplog):
    async def act(world: World) -> None:
        world.moment -= timedelta(minutes=10)
        await world.rotation.reload()
        world.broken, world.book = True, 2
        for _ in range(3):
            world.moment += STATS_REFRESH_INTERVAL
            await world.rotation.once()
        assert (world.renewed, world.on) == (3, ["1:1@12:00"])
        world.broken = False
        world.moment += STATS_REFRESH_INTERVAL
        await world.rotation.once()
        assert world.on[-1] == "2:1@12:00"

    play(act, renewing=True)
    assert [each.getMessage() for each in caplog.records if each.levelname == "ERROR"] == [
        "figures are not renewed: the disk is gone"
    ]
