"""Stored minutes of polled hosts: summed, listed, expired, and averaged as a baseline."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime
from pathlib import Path
from typing import TypeVar

import msgspec
import pytest

from domain.audience.seasonal_baseline import NO_SEASONAL_BASELINE
from domain.audience.visitor_history import MinuteTotals
from domain.common.timestamp import format_timestamp
from store.sqlite.audience import audience_history
from store.sqlite.audience.audience_history import DAY_MINUTES, AudienceHistory
from store.sqlite.core.database import Database

T = TypeVar("T")
NOW = 28_000_000  # minutes since 1970
KEY = ("token", "www.example.com")


def run(path: Path, work: Callable[[Database], Awaitable[T]]) -> T:
    async def main() -> T:
        database = await Database.open(path / "marquee.db")
        try:
            return await work(database)
        finally:
            await database.close()

    return asyncio.run(main())


def count(database: Database, table: str) -> Awaitable[int]:
    sql = f"SELECT count(*) FROM {table}"
    return database.read(lambda it: it.execute(sql).fetchone()[0])


async def history(
    store: AudienceHistory, key: tuple[str, str], path: str, begin: int, end: int
) -> list[tuple[int, float]]:
    """Return the minutes since 1970 of a page history, with their visitors."""
    found = []
    for each in msgspec.json.decode(await store.history(key, path, begin, end)):
        minute = int(datetime.fromisoformat(each["minute"]).timestamp()) // 60
        assert each == {
            "minute": format_timestamp(minute * 60_000_000),
            "visitors": each["visitors"],
        }
        found.append((minute, each["visitors"]))
    return found


def test_parts_of_a_minute_are_summed(tmp_path: Path) -> None:
    async def work(database: Database) -> None:
        store = AudienceHistory(database, "own", 8)
        await store.add_minute(KEY, MinuteTotals(NOW, 4, {"/": 40, "/a": 2}), {"/": "Home"})
        await store.add_minute(KEY, MinuteTotals(NOW, 8, {"/": 20}), {})
        await store.add_minute(KEY, MinuteTotals(NOW + 1, 10, {"/a": 5}), {})
        await store.add_minute(KEY, MinuteTotals(NOW + 2, 10, {}), {})
        assert await history(store, KEY, "/", NOW, NOW + 3) == [
            (NOW, 5.0), (NOW + 1, 0.0), (NOW + 2, 0.0),
        ]  # fmt: skip
        assert await history(store, KEY, "/a", NOW + 1, NOW + 2) == [(NOW + 1, 0.5)]
        assert await history(store, KEY, "/nowhere", NOW, NOW + 3) == []
        assert await history(store, ("other", KEY[1]), "/", NOW, NOW + 3) == []
        assert await history(AudienceHistory(database, "legacy", 8), KEY, "/", NOW, NOW + 3) == []

    run(tmp_path, work)


def test_only_the_most_visited_pages_of_a_minute_are_stored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audience_history, "MAX_PAGES_PER_MINUTE", 3)

    async def work(database: Database) -> None:
        store = AudienceHistory(database, "own", 8)
        await store.add_minute(KEY, MinuteTotals(NOW, 1, {f"/{n}": n for n in range(9)}), {})
        for path, many in (("/8", 8.0), ("/6", 6.0)):
            assert await history(store, KEY, path, NOW, NOW + 1) == [(NOW, many)]
        assert await history(store, KEY, "/5", NOW, NOW + 1) == []

    run(tmp_path, work)


def test_expired_minutes_are_deleted_with_their_pages_and_hosts(tmp_path: Path) -> None:
    async def work(database: Database) -> None:
        store = AudienceHistory(database, "own", 2)
        for key in (KEY, ("token", "gone.example.com")):
            await store.add_minute(key, MinuteTotals(NOW, 1, {"/old": 9, "/": 9}), {})
        await store.add_minute(KEY, MinuteTotals(NOW + 2 * DAY_MINUTES, 1, {"/": 9}), {})
        assert not await store.sweep((NOW + 2 * DAY_MINUTES) * 60_000_000)
        assert await history(store, KEY, "/old", NOW, NOW + 1) == [(NOW, 9.0)]
        await store.add_minute(KEY, MinuteTotals(NOW + 2 * DAY_MINUTES + 1, 1, {"/": 9}), {})
        assert not await store.sweep((NOW + 2 * DAY_MINUTES + 1) * 60_000_000)
        assert len(await history(store, KEY, "/", NOW, NOW + 9 * DAY_MINUTES)) == 2
        assert await count(database, "audience_visitors") == 2
        assert await count(database, "audience_minute") == 2
        assert await count(database, "audience_path") == 1
        assert await store.recent_hosts(10) == [KEY]

    run(tmp_path, work)


def test_expired_minutes_are_deleted_in_steps_despite_a_reading_from_the_future(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audience_history, "SWEEP_ROWS", 4)

    async def work(database: Database) -> None:
        store = AudienceHistory(database, "own", 2)
        for minute in range(10):
            await store.add_minute(KEY, MinuteTotals(NOW + minute, 1, {"/": 9}), {})
        await store.add_minute(
            KEY, MinuteTotals(NOW + 3650 * DAY_MINUTES, 1, {"/": 9}), {}
        )  # read while the clock was ahead
        assert await count(database, "audience_minute") == 11
        more = [await store.sweep((NOW + 3 * DAY_MINUTES) * 60_000_000) for _ in range(3)]
        assert more == [True, True, False]
        assert await count(database, "audience_minute") == 1

    run(tmp_path, work)


def test_recent_hosts_are_ordered_by_last_reading(tmp_path: Path) -> None:
    async def work(database: Database) -> None:
        store = AudienceHistory(database, "own", 8)
        for number in range(5):
            await store.add_minute((f"{number}", "h"), MinuteTotals(NOW + number, 1, {"/": 1}), {})
        assert await store.recent_hosts(2) == [("4", "h"), ("3", "h")]

    run(tmp_path, work)


def test_baseline_averages_earlier_days_at_this_time(tmp_path: Path) -> None:
    async def work(database: Database) -> None:
        store = AudienceHistory(database, "own", 8)
        assert (await store.read_baseline(KEY, NOW * 60)).paths == {}
        # On each of five days the page has 100 visitors, then 160, as it has now.
        for day in range(1, 6):
            for minute in range(-60, 15):
                visitors = 1_000 if minute < 0 else 1_600
                totals = MinuteTotals(NOW - day * DAY_MINUTES + minute, 10, {"/": visitors})
                await store.add_minute(KEY, totals, {})
        found = await store.read_baseline(KEY, NOW * 60)
        now = NOW * 60
        usual = found.usual("/", now - 1_200, now - 300, now + 60)
        assert usual.factor == pytest.approx(1.6, abs=0.02)
        assert 0 < usual.variance < 0.01
        assert found.usual("/other", now - 1_200, now - 300, now) == NO_SEASONAL_BASELINE.usual(
            "/other", 0, 0, 0
        )
        # There are no readings of the hours before.
        assert found.usual("/", now - 8_000, now - 7_000, now).factor == 1.0

    run(tmp_path, work)


def test_minute_of_many_pages_is_one_bounded_commit(tmp_path: Path) -> None:
    async def work(database: Database) -> None:
        store = AudienceHistory(database, "own", 8)
        commits = database.commits
        for minute in range(3):
            sums = {f"/{n}": n + 1 for n in range(10_000)}
            await store.add_minute(KEY, MinuteTotals(NOW + minute, 12, sums), {"/9999": "T"})
        assert database.commits - commits == 3
        assert (
            await count(database, "audience_visitors") == 3 * audience_history.MAX_PAGES_PER_MINUTE
        )

    run(tmp_path, work)
