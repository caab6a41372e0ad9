"""What stories were used for is what the log tells, in whatever order and steps it was folded."""

import asyncio
import json
import random
import tempfile
import threading
from collections import Counter
from contextlib import closing
from pathlib import Path
from sqlite3 import connect
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as some

from domain.common.days import parse_day
from store.api.errors import StoreBusy
from store.sqlite.events.event_retention import DAY_MICROS, EventRetention
from store.sqlite.projections import projections
from store.sqlite.stories import story_stats
from store.sqlite.stories.story_event_types import StoryEventTypes
from store.sqlite.stories.story_stats import (
    ACTIVE_SPAN_DAYS,
    InvalidStoryCursor,
    StoryCount,
    StoryStats,
)
from tests.support.events.event_rows import event_row
from tests.support.events.event_store import OpenEventStore

FIRST = parse_day("1970-01-01")


def event(
    day: int, user: int | None = 1, *, app: int = 1, story: Any = 1, late: int = 0, **more: Any
) -> Any:
    """A story event some days from 1970-01-01 on."""
    data = json.dumps({"story_id": story})
    at = day * DAY_MICROS + late
    return event_row(source=2, app=app, session=None, user=user, at=at, data=data, **more)


def by_hand(rows: list[Any]) -> dict[tuple[int, int, int], int]:
    """Users by (app, span, day)."""
    active: dict[tuple[int, int, int], set[int]] = {}
    for _, app, _, user, _, _, at, *_ in rows:
        if user is not None:
            for span in ACTIVE_SPAN_DAYS:
                for later in range(span):
                    day = FIRST + at // DAY_MICROS + later
                    active.setdefault((app, span, day), set()).add(user)
    return {key: len(users) for key, users in active.items()}


def told(folder: Path) -> dict[tuple[int, int, int], int]:
    with closing(connect(folder / "views.db")) as connection:
        rows = connection.execute("SELECT app, span, day, users FROM active WHERE users")
        return {(app, span, day): users for app, span, day, users in rows}


APPS, USERS = some.sampled_from([1, 2]), some.sampled_from([None, 0, 1, 2, -(2**63), 2**63 - 1])
# Many on days that are near, so that spans overlap; 31 days are a block.
DAYS = some.one_of(
    some.integers(-70, 70), some.integers(-3, 3), some.sampled_from([-31, 0, 30, 31])
)
EVENTS = some.builds(event, DAYS, USERS, app=APPS, late=some.sampled_from([0, DAY_MICROS - 1]))


@given(some.lists(some.tuples(EVENTS, some.booleans()), min_size=1, max_size=40))
@example([(event(0), True), (event(31), True), (event(30), True), (event(1), True)])
def test_users_of_days_weeks_and_months_are_exact_in_any_order_and_steps(
    parts: list[tuple[Any, bool]],
) -> None:
    async def run(folder: Path) -> None:
        async with OpenEventStore(folder) as opened:
            for each, ends in parts:
                await opened.append(each)
                if ends:
                    await opened.projections.step()
            await opened.projections.catch_up()

    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(run(Path(folder)))
        assert told(Path(folder)) == by_hand([each for each, _ in parts])


def test_a_user_counts_once_a_day_whatever_he_does(tmp_path: Path) -> None:
    async def run() -> None:
        async with OpenEventStore(tmp_path) as opened:
            asked = StoryStats(opened.projections)
            await opened.append(
                event(0, 1), event(0, 1, story=2), event(0, 1, name="close"), event(0, 2),
                event(0, None), event(0, 3, app=2), event(1, 1), event(-1, 5, late=DAY_MICROS - 1),
            )  # fmt: skip
            assert await asked.active(1, FIRST - 2, FIRST + 2) == [0, 1, 2, 1, 0]
            assert await asked.active(1, FIRST - 1, FIRST + 7, 7) == [1, 3, 3, 3, 3, 3, 3, 2, 1]
            assert await asked.active(1, FIRST + 29, FIRST + 31, 30) == [2, 1, 0]
            assert await asked.active(2, FIRST, FIRST) == [1]
            # Late: the right day, and the right spans.
            await opened.append(event(-1, 1), event(-20, 7))
            assert await asked.active(1, FIRST - 1, FIRST) == [2, 2]
            assert await asked.active(1, FIRST - 20, FIRST - 20) == [1]
            assert await asked.active(1, FIRST, FIRST, 30) == [4]

    asyncio.run(run())


def test_events_count_by_story_type_and_day(tmp_path: Path) -> None:
    async def run() -> None:
        async with OpenEventStore(tmp_path) as opened:
            asked = StoryStats(opened.projections)
            await opened.append(
                event(0, name="impression"), event(0, None, name="impression"),
                event(0, name="close"), event(0, story=2**63 - 1, name="close"),
                event(1, name="close"), event(0, app=2, name="close"),
                event_row(source=1, data='{"story_id":1}', at=0),
                *(event(0, story=wrong) for wrong in ("1", 1.5, None, [1])),
                event_row(source=2, data="{", at=0), event_row(source=2, data="[]", at=0),
            )  # fmt: skip
            close, impression = StoryCount(1, "close", 1), StoryCount(1, "impression", 2)
            last = StoryCount(2**63 - 1, "close", 1)
            assert await asked.stories(1, FIRST) == ([close, impression, last], None)
            assert await asked.stories(1, FIRST, 1) == ([close, impression], None)
            assert await asked.stories(1, FIRST + 1) == ([close], None)
            assert await asked.stories(1, FIRST, 7) == await asked.stories(3, FIRST) == ([], None)

    asyncio.run(run())


@pytest.mark.parametrize("story", [None, 1])
def test_counts_come_in_pages(tmp_path: Path, story: int | None) -> None:
    async def run() -> None:
        async with OpenEventStore(tmp_path) as opened:
            asked = StoryStats(opened.projections)
            await opened.append(
                *(event(0, story=1, name=f"type {number}") for number in range(7)),
                *(event(0, story=2, name=f"type {number}") for number in range(7)),
            )
            found, cursor, pages = [], None, 0
            while pages == 0 or cursor is not None:
                page, cursor = await asked.stories(1, FIRST, story, limit=3, cursor=cursor)
                assert len(page) <= 3
                found += page
                pages += 1
            wanted = [
                StoryCount(each, f"type {number}", 1)
                for each in ((1, 2) if story is None else (1,))
                for number in range(7)
            ]
            assert sorted(found) == wanted
            for wrong in ("x", "1", "1-2-3", "-1-2", "1-" + "9" * 20):
                with pytest.raises(InvalidStoryCursor):
                    await asked.stories(1, FIRST, cursor=wrong)

    asyncio.run(run())


def test_an_app_has_a_bounded_number_of_types(tmp_path: Path) -> None:
    async def run() -> None:
        async with OpenEventStore(tmp_path) as opened:
            await opened.append(event(0, name="a"), event(0, name="b"), event(0, app=2, name="c"))
            await opened.projections.step()
            types = StoryEventTypes(opened.projections, most=3)
            with pytest.raises(KeyError):
                types.takes(1, "a")
            await types.load(1)
            assert [types.takes(1, name) for name in "abcd"] == [True, True, True, False]
            assert [types.takes(1, name) for name in "abce"] == [True, True, True, False]
            await types.load(2)
            assert types.takes(2, "d")

    asyncio.run(run())


def test_an_anonymous_query_leaves_a_reader_to_others(tmp_path: Path) -> None:
    async def run() -> None:
        async with OpenEventStore(tmp_path) as opened:
            views, blocked = opened.projections, threading.Event()

            def wait(_: object) -> bool:
                return blocked.wait(20)

            waiting = [asyncio.create_task(views.read_public(wait)) for _ in range(10)]
            await asyncio.sleep(0)
            assert await views.read(lambda _: "answered") == "answered"
            blocked.set()
            assert await asyncio.gather(*waiting) == [True] * 10

    asyncio.run(run())


def test_all_who_ask_at_once_cost_one_step(tmp_path: Path) -> None:
    async def run() -> None:
        async with OpenEventStore(tmp_path) as opened:
            await opened.append(*(event(0, user) for user in range(50)))
            steps = 0
            step = opened.projections.step

            async def counted() -> int:
                nonlocal steps
                steps += 1
                return await step()

            opened.projections.step = counted  # type: ignore[method-assign, assignment]
            asked = StoryStats(opened.projections)
            found = await asyncio.gather(*(asked.active(1, FIRST, FIRST) for _ in range(100)))
            assert found == [[50]] * 100
            assert steps == 1
            assert await asked.active(1, FIRST, FIRST) == [50]
            assert steps == 1

    asyncio.run(run())


def test_views_that_are_far_behind_are_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(projections.Projections.step, "__defaults__", (3,))
    monkeypatch.setattr(story_stats, "MAX_CATCH_UP_STEPS", 2)

    async def run() -> None:
        async with OpenEventStore(tmp_path) as opened:
            await opened.append(*(event(0, user) for user in range(8)))
            asked = StoryStats(opened.projections)
            with pytest.raises(StoreBusy):
                await asked.active(1, FIRST, FIRST)
            assert await asked.active(1, FIRST, FIRST) == [8]

    asyncio.run(run())


def test_an_answer_is_one_row_however_many_events_there_were(tmp_path: Path) -> None:
    async def run() -> None:
        async with OpenEventStore(tmp_path) as opened:
            await opened.append(*(event(n % 3, n) for n in range(2_000)))
            await opened.projections.catch_up()
            plan = await opened.projections.read(
                lambda it: it.execute(
                    f"EXPLAIN QUERY PLAN {story_stats.ACTIVE_USERS_SQL}", (1, 1, FIRST, FIRST)
                ).fetchall()
            )
            (line,) = [each[-1] for each in plan]
            assert line.startswith("SEARCH active USING PRIMARY KEY (app=? AND span=? AND day>?")
            rows = await opened.projections.read(
                lambda it: it.execute(story_stats.ACTIVE_USERS_SQL, (1, 1, FIRST, FIRST)).fetchall()
            )
            assert len(rows) == 1

    asyncio.run(run())


def test_a_user_takes_less_than_forty_bytes_of_the_views(tmp_path: Path) -> None:
    chance, users = random.Random(1), 30_000

    async def run() -> None:
        async with OpenEventStore(tmp_path) as opened:
            numbers = [chance.randrange(-(2**63), 2**63) for _ in range(users)]
            # The last day of a block takes the most bits.
            day = 30 - FIRST % 31
            for start in range(0, users, 500):
                await opened.append(*(event(day, user) for user in numbers[start : start + 500]))
                await opened.projections.step()
            assert await StoryStats(opened.projections).active(1, FIRST + day, FIRST + day) == [
                users
            ]

    asyncio.run(run())
    with closing(connect(tmp_path / "views.db")) as connection:
        sql = "SELECT sum(pgsize) FROM dbstat WHERE name IN ('user_days', 'active')"
        (size,) = connection.execute(sql).fetchone()
    assert 20 < size / users < 40


@pytest.mark.parametrize("seed", range(3))
def test_what_is_sealed_stays_and_spans_look_back_over_it(tmp_path: Path, seed: int) -> None:
    """Views made anew from what is left of the log say the same as those that saw it all."""
    chance = random.Random(seed)
    days, now = 40, 200
    rows: list[Any] = []

    async def run() -> None:
        async with OpenEventStore(tmp_path) as opened:
            retention = EventRetention(opened.database, opened.projections, days)
            for day in range(now):
                received = day * DAY_MICROS + DAY_MICROS // 2
                new = [
                    event(
                        day,
                        chance.randrange(6),
                        app=chance.randrange(2),
                        late=chance.randrange(DAY_MICROS // 2),
                    )
                    for _ in range(chance.randrange(3))
                ]
                rows.extend(new)
                await opened.log.append(new, received=received)
                if day % 7 == seed:
                    while await retention.run_step(received):
                        pass
            before = await figures(opened)
            kept = await opened.database.read(
                lambda it: it.execute("SELECT count(*), min(at) FROM event").fetchone()
            )
            assert kept[0] < len(rows)
            assert before[0] == by_hand(rows)
            assert before[1] == Counter(
                (FIRST + each[6] // DAY_MICROS, each[1], each[5]) for each in rows
            )
            # A late event changes no sealed day, but the spans that are not sealed.
            sealed = (
                await opened.database.read(
                    lambda it: it.execute("SELECT sealed FROM log").fetchone()
                )
            )[0] // DAY_MICROS
            late = event(sealed - 3, 77, app=0)
            older = event(sealed - 40, 78, app=0)
            await opened.append(late, older)
            changed = await figures(opened)
            expected = by_hand([*rows, late])
            for key, users in changed[0].items():
                assert users == (before[0].get(key) if key[2] < FIRST + sealed else expected[key])
            assert changed[1] == before[1]
            # Of users only what is still needed is kept.
            (oldest,) = await opened.projections.read(
                lambda it: it.execute("SELECT min(block) FROM user_days").fetchone()
            )
            assert oldest >= (FIRST + sealed - 29) // 31
            await opened.projections.rebuild(lambda _: None)
            assert await figures(opened) == changed

    async def figures(opened: OpenEventStore) -> tuple[dict[Any, int], dict[Any, int]]:
        await opened.projections.catch_up()
        return await opened.projections.read(
            lambda it: (
                {
                    tuple(key): users
                    for *key, users in it.execute("SELECT app, span, day, users FROM active")
                },
                {
                    tuple(key): events
                    for *key, events in it.execute(
                        "SELECT day, story_day.app, name, sum(events) FROM story_day "
                        "JOIN kind ON kind.id = kind GROUP BY 1, 2, 3"
                    )
                },
            )
        )

    asyncio.run(run())
