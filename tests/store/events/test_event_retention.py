"""Events of a certain age are dropped, and what they counted stays, also in views made anew."""

import asyncio
import json
import random
from contextlib import closing, suppress
from pathlib import Path
from sqlite3 import connect
from typing import Any

import pytest

from store.sqlite.core.database import Database
from store.sqlite.events.event_log import EventLog
from store.sqlite.events.event_retention import DAY_MICROS, MIN_RETENTION_DAYS, EventRetention
from store.sqlite.events.rejected_event_store import RejectedEventLimits
from tests.support.events.event_rows import event_row, row_of_sender
from tests.support.events.event_store import OpenEventStore

NOW = 20_000 * DAY_MICROS + DAY_MICROS // 2  # some day at noon
DAYS = 40


async def appended(log: EventLog, received: int, *rows: Any) -> list[int]:
    return [number for number, _ in await log.append(rows, received=received)]


async def all_of(retention: EventRetention, now: int) -> int:
    """All that is due; in how many steps."""
    steps = 1
    while await retention.run_step(now):
        steps += 1
    return steps


def banner(**more: Any) -> str:
    return json.dumps({"campaign": 1, "banner": 100, "slot": 2} | more)


def some(chance: random.Random, received: int) -> list[Any]:
    """Events that happened in the days before they were received."""
    rows = []
    for _ in range(chance.randrange(1, 12)):
        at = received - chance.choice([0, 0, 0, 1, 3, 30, 60]) * DAY_MICROS
        rows.append(
            chance.choice(
                [
                    event_row(chance.choice("abc"), app=chance.randrange(2), at=at),
                    row_of_sender(f"s{chance.random()}", at=at),
                    event_row("click", source=3, session=None, at=received, data=banner()),
                    event_row(
                        "conversion",
                        source=4,
                        session=None,
                        at=received,
                        data=banner(revenue_micros=chance.randrange(2**40)),
                    ),
                ]
            )
        )
    return rows


@pytest.mark.parametrize("seed", range(3))
def test_figures_stay_when_what_they_count_is_dropped(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)

    async def run() -> None:
        async with OpenEventStore(tmp_path) as opened:
            retention = EventRetention(opened.database, opened.projections, DAYS)
            numbers = []
            for day in range(-100, 0, 2):
                received = NOW + day * DAY_MICROS
                numbers += await appended(opened.log, received, *some(chance, received))
            await opened.mutations.erase_session("s", 1)
            kept = await opened.find_ids()
            before = await opened.projection_counts()
            for now in range(NOW - 50 * DAY_MICROS, NOW, 9 * DAY_MICROS):
                await all_of(retention, now)
                assert await opened.projection_counts() == before
            await all_of(retention, NOW)
            assert await opened.projection_counts() == before
            old = (NOW - DAYS * DAY_MICROS) // 1000 << 22
            assert retention.dropped == sum(each < old for each in numbers) > 100
            assert await opened.find_ids() == [each for each in kept if each >= old]
            sql = "SELECT count(*) FROM event"
            assert await opened.database.read(lambda it: it.execute(sql).fetchone()) == (
                sum(each >= old for each in numbers),
            )
        (tmp_path / "views.db").unlink()
        async with OpenEventStore(tmp_path) as opened:
            assert await opened.projection_counts() == before

    asyncio.run(run())


def test_a_late_event_changes_no_sealed_figure_and_any_other_rightly(tmp_path: Path) -> None:
    async def run() -> None:
        async with OpenEventStore(tmp_path) as opened:
            retention = EventRetention(opened.database, opened.projections, DAYS)
            days = [NOW - age * DAY_MICROS for age in (60, 12, 3)]
            for at in days:
                await appended(opened.log, at, event_row(at=at))
            await all_of(retention, NOW)
            before = (await opened.projection_counts())[0]
            assert [events for *_, events in before] == [1, 1, 1]
            # Late ones, of a day that is sealed and dropped, of one that is sealed, of one open.
            late = await appended(opened.log, NOW, *(event_row(at=at) for at in days))
            after = (await opened.projection_counts())[0]
            assert [events for *_, events in after] == [1, 1, 2]
            assert set(late) < set(await opened.find_ids())
            # A replaced one moves between open days, and leaves sealed ones as they are.
            assert await opened.mutations.replace(late[2], event_row(at=days[1]))
            assert await opened.mutations.replace(late[1], event_row(at=days[2] + 60_000_000))
            figures = await opened.projection_counts()
            assert [events for *_, events in figures[0]] == [1, 1, 1, 1]
            await all_of(retention, NOW + DAY_MICROS)
            assert await opened.projection_counts() == figures
        (tmp_path / "views.db").unlink()
        async with OpenEventStore(tmp_path) as opened:
            assert await opened.projection_counts() == figures

    asyncio.run(run())


def test_a_sealing_that_is_cut_off_is_begun_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def run() -> None:
        async with OpenEventStore(tmp_path) as opened:
            retention = EventRetention(opened.database, opened.projections, DAYS)
            at = NOW - 60 * DAY_MICROS
            (number,) = await appended(opened.log, at, *(event_row(at=at) for _ in range(1)))
            await appended(
                opened.log, at, *(event_row(name, at=at + 5 * 60_000_000) for name in "xyz")
            )
            before = await opened.projection_counts()
            with monkeypatch.context() as cut:
                cut.setattr("store.sqlite.events.event_retention.SET_SEALED_UNTIL_SQL", "no SQL")
                with suppress(Exception):
                    await retention.run_step(NOW)
            sql = "SELECT count(*) FROM sealed_minute"
            assert await opened.database.read(lambda it: it.execute(sql).fetchone()) == (4,)
            assert await opened.projection_counts() == before
            # Nothing was sealed: what happens meanwhile counts.
            assert await opened.mutations.replace(
                number, event_row("moved", at=NOW - 20 * DAY_MICROS)
            )
            figures = await opened.projection_counts()
            assert figures != before
            await all_of(retention, NOW)
            assert await opened.projection_counts() == figures
            assert await opened.find_ids() == []
        (tmp_path / "views.db").unlink()
        async with OpenEventStore(tmp_path) as opened:
            assert await opened.projection_counts() == figures

    asyncio.run(run())


def test_an_event_is_kept_until_the_day_that_it_was_moved_to_is_sealed(tmp_path: Path) -> None:
    async def run() -> None:
        async with OpenEventStore(tmp_path) as opened:
            retention = EventRetention(opened.database, opened.projections, DAYS)
            at = NOW - 60 * DAY_MICROS
            numbers = await appended(opened.log, at, *(event_row(at=at) for _ in range(3)))
            assert await opened.mutations.replace(numbers[1], event_row(at=NOW))
            figures = await opened.projection_counts()
            await all_of(retention, NOW)
            assert set(await opened.find_ids()) == set(numbers[1:])
            await all_of(retention, NOW + 11 * DAY_MICROS)
            assert (await opened.find_ids(), await opened.projection_counts()) == ([], figures)

    asyncio.run(run())


def test_only_what_the_views_have_is_dropped(tmp_path: Path) -> None:
    async def run() -> None:
        async with OpenEventStore(tmp_path) as opened:
            retention = EventRetention(opened.database, opened.projections, DAYS)
            at = NOW - 60 * DAY_MICROS
            await appended(opened.log, at, *(event_row(at=at) for _ in range(3)))
            assert await opened.database.write(
                lambda it: it.execute("UPDATE log SET sealed = ?", (NOW,)).rowcount
            )
            await retention.run_step(NOW)
            assert (retention.dropped, len(await opened.find_ids())) == (0, 3)

    asyncio.run(run())


def test_a_change_that_the_views_have_not_taken_back_holds_dropping_up(tmp_path: Path) -> None:
    async def run() -> None:
        async with OpenEventStore(tmp_path) as opened:
            retention = EventRetention(opened.database, opened.projections, DAYS)
            at = NOW - 60 * DAY_MICROS
            (number, *_) = await appended(opened.log, at, *(event_row(at=at) for _ in range(3)))
            before = await opened.projection_counts()
            await all_of(retention, NOW - 25 * DAY_MICROS)
            assert await opened.mutations.replace(number, event_row("moved", at=at))
            await all_of(retention, NOW)
            assert await opened.projection_counts() == before  # sealed before it was moved
            assert await opened.find_ids() == []

    asyncio.run(run())


def test_without_an_age_nothing_is_dropped_but_rejects(tmp_path: Path) -> None:
    async def run() -> None:
        async with OpenEventStore(tmp_path) as opened:
            retention = EventRetention(
                opened.database, opened.projections, 0, RejectedEventLimits(days=30)
            )
            await appended(opened.log, 5, event_row())
            for received in (NOW - 31 * DAY_MICROS, NOW - 29 * DAY_MICROS):
                await opened.log.append((), [(1, b"x", "[]")], received=received)
            await all_of(retention, NOW)
            assert (retention.dropped, len(await opened.find_ids())) == (0, 1)
            sql = "SELECT count(*), (SELECT rejects_dropped FROM log) FROM event_reject"
            assert await opened.database.read(lambda it: it.execute(sql).fetchone()) == (1, 1)

    asyncio.run(run())


def test_less_than_figures_look_back_is_refused(tmp_path: Path) -> None:
    async def run() -> None:
        database = await Database.open(tmp_path / "marquee.db")
        await database.close()
        with pytest.raises(ValueError, match="at least 31 days"):
            EventRetention(database, None, MIN_RETENTION_DAYS - 1)  # type: ignore[arg-type]

    asyncio.run(run())


def test_a_senders_id_may_come_again_when_its_event_was_dropped(tmp_path: Path) -> None:
    async def run() -> None:
        async with OpenEventStore(tmp_path) as opened:
            retention = EventRetention(opened.database, opened.projections, DAYS)
            at = NOW - 60 * DAY_MICROS
            numbers = await appended(
                opened.log, at, row_of_sender("a", at=at), row_of_sender("b", at=at)
            )
            await opened.mutations.delete(numbers[1])
            await opened.projection_counts()
            await all_of(retention, NOW)
            outcomes = await opened.log.append(
                [row_of_sender("a"), row_of_sender("b")], received=NOW
            )
            assert [verdict for _, verdict in outcomes] == ["stored", "stored"]
        with closing(connect(tmp_path / "marquee.db")) as connection:
            assert connection.execute("SELECT count(*) FROM forgotten").fetchone() == (0,)

    asyncio.run(run())
