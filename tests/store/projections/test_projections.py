"""views.db may be deleted, cut short or be another log's: it tells what the log does."""

import asyncio
import json
import shutil
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from domain.banners.ranking import BannerStats
from store.sqlite.banners.campaign_stats import load_live_stats
from store.sqlite.core.database import Database
from store.sqlite.events.event_log import EventLog
from store.sqlite.events.event_queries import EventQueries
from store.sqlite.events.event_records import EventFilter
from store.sqlite.projections import projections
from store.sqlite.projections.projections import Projections
from store.sqlite.projections.session_key import session_key
from tests.support import ROOT
from tests.support.events.event_rows import event_row
from tests.support.events.event_store import OpenEventStore

# Folds in small steps until it is killed.
FOLD = """
import asyncio, sys
from pathlib import Path
from store.sqlite.core.database import Database
from store.sqlite.projections.projections import Projections

async def fold(folder):
    database = await Database.open(folder / "marquee.db")
    views = await Projections.open(database, folder / "views.db")
    while await views.step(7):
        print("step", flush=True)

asyncio.run(fold(Path(sys.argv[1])))
"""


def click(campaign: Any, banner: int, slot: Any, source: int = 3, **more: Any) -> Any:
    data = {"campaign": campaign, "banner": banner, "slot": slot} | more
    return event_row("click", source=source, app=0, session=None, data=json.dumps(data))


def some(count: int, first: int = 0) -> list[Any]:
    return [
        event_row(f"n{n % 3}", app=n % 2, session=f"s{n % 5}", at=n * 7_000_000 - 100_000_000)
        for n in range(first, first + count)
    ]


def told(folder: Path) -> list[Any]:
    """All that the views tell, without their own numbers."""
    questions = (
        "SELECT minute, app, source, category, name, events FROM minute "
        "JOIN kind ON kind.id = kind ORDER BY 1, 2, 3, 4, 5",
        "SELECT by_app.app, at, by_app.id, name FROM by_app JOIN kind ON kind.id = kind",
        "SELECT at, by_kind.id, name FROM by_kind JOIN kind ON kind.id = kind ORDER BY 2",
        "SELECT session, at, rows.id, name FROM (SELECT * FROM by_session "
        "UNION ALL SELECT * FROM by_session_recent) AS rows "
        "JOIN kind ON kind.id = kind ORDER BY 3",
        "SELECT * FROM live",
    )
    with closing(sqlite3.connect(folder / "views.db")) as connection:
        return [connection.execute(each).fetchall() for each in questions]


async def append(folder: Path, rows: list[Any]) -> list[int]:
    database = await Database.open(folder / "marquee.db")
    try:
        log = await EventLog.open(database)
        return [number for number, _ in await log.append(rows)]
    finally:
        await database.close()


async def fold(folder: Path, limit: int = 20_000, steps: int = 1_000) -> int:
    """Fold in steps; how many events the list then has."""
    database = await Database.open(folder / "marquee.db")
    try:
        of = await Projections.open(database, folder / "views.db")
        try:
            while steps and await of.step(limit):
                steps -= 1
            return len((await EventQueries(database, of).find(EventFilter(), limit=1_000)).events)
        finally:
            await of.close()
    finally:
        await database.close()


def test_events_count_in_their_minute_also_before_1970(tmp_path: Path) -> None:
    asyncio.run(
        append(tmp_path, [event_row(at=at) for at in (-1, -60_000_000, 0, 59_999_999, 60_000_000)])
    )
    asyncio.run(fold(tmp_path))
    assert [(minute, events) for minute, *_, events in told(tmp_path)[0]] == [
        (-1, 2),
        (0, 2),
        (1, 1),
    ]


def test_clicks_and_conversions_count_for_their_banner(tmp_path: Path) -> None:
    most = 2**63 - 1
    rows = [
        click(1, 100, 2), click(1, 100, 2), click(1, 101, 2), click(1, 100, 3),
        click(1, 100, 2, source=4, revenue_micros=most),
        click(1, 100, 2, source=4, revenue_micros=most),
        click(1, 100, 2, source=1),  # an app's event, whatever it says
        click("1", 100, 2), click(1, 100, 5), click(1, 100, None),
        click(1, 100, 2, source=4, revenue_micros=-1),
        event_row(source=3, data="{"), event_row(source=4, data="[]"),
    ]  # fmt: skip
    asyncio.run(append(tmp_path, rows))
    assert asyncio.run(fold(tmp_path, 3)) == len(rows)

    async def figures() -> object:
        async with OpenEventStore(tmp_path) as opened:
            return await load_live_stats(opened.projections.read_internal)

    assert asyncio.run(figures()) == {
        (2, 1): {100: BannerStats(0, 2, 2, 2 * most), 101: BannerStats(0, 1, 0, 0)},
        (3, 1): {100: BannerStats(0, 1, 0, 0)},
    }


@pytest.mark.parametrize("limit", [1, 7, 1_000])
def test_steps_of_any_size_come_to_the_same(
    tmp_path: Path, limit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(projections, "MAX_PENDING_INDEX_ROWS", 10)
    asyncio.run(append(tmp_path, some(60)))
    asyncio.run(fold(tmp_path, limit))
    once = told(tmp_path)
    assert sum(events for *_, events in once[0]) == 60
    assert len(once[3]) == 60
    (tmp_path / "views.db").unlink()
    asyncio.run(fold(tmp_path, 13))
    assert told(tmp_path) == once


@pytest.mark.parametrize("way", ["deleted", "emptied", "garbled", "cut", "of old folds"])
def test_views_that_are_of_no_use_are_made_anew(tmp_path: Path, way: str) -> None:
    asyncio.run(append(tmp_path, some(40)))
    asyncio.run(fold(tmp_path, 10))
    whole, path = told(tmp_path), tmp_path / "views.db"
    if way == "deleted":
        path.unlink()
    elif way == "emptied":
        path.write_bytes(b"")
    elif way == "garbled":
        path.write_bytes(b"x" * 10_000)
    elif way == "cut":
        path.write_bytes(path.read_bytes()[:4096])
    else:
        with closing(sqlite3.connect(path)) as connection, connection:
            connection.execute("UPDATE place SET version = 'old'")
            connection.execute("UPDATE minute SET events = 999")
    assert asyncio.run(fold(tmp_path)) == 40
    assert told(tmp_path) == whole


def test_views_of_another_log_are_made_anew(tmp_path: Path) -> None:
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
    asyncio.run(append(tmp_path / "one", some(40)))
    asyncio.run(append(tmp_path / "other", some(30)))
    for name in ("one", "other"):
        asyncio.run(fold(tmp_path / name))
    whole = told(tmp_path / "one")
    shutil.copy(tmp_path / "other" / "views.db", tmp_path / "one" / "views.db")
    assert asyncio.run(fold(tmp_path / "one")) == 40
    assert told(tmp_path / "one") == whole


def test_views_that_are_ahead_of_a_restored_log_are_made_anew(tmp_path: Path) -> None:
    asyncio.run(append(tmp_path, some(20)))
    asyncio.run(fold(tmp_path))
    whole = told(tmp_path)
    shutil.copy(tmp_path / "marquee.db", tmp_path / "backup")
    asyncio.run(append(tmp_path, some(20, first=20)))
    assert asyncio.run(fold(tmp_path)) == 40
    shutil.copy(tmp_path / "backup", tmp_path / "marquee.db")
    assert asyncio.run(fold(tmp_path)) == 20
    assert told(tmp_path) == whole


def test_each_event_counts_once_however_often_folding_is_killed(tmp_path: Path) -> None:
    asyncio.run(append(tmp_path, some(400)))
    for kills in range(6):
        command = [sys.executable, "-c", FOLD, tmp_path]
        with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT) as folding:
            assert folding.stdout is not None
            for _ in range(1 + kills):
                folding.stdout.readline()
            folding.send_signal(signal.SIGKILL)
    assert asyncio.run(fold(tmp_path)) == 400
    at_last = told(tmp_path)
    assert sum(events for *_, events in at_last[0]) == 400
    (tmp_path / "views.db").unlink()
    asyncio.run(fold(tmp_path))
    assert told(tmp_path) == at_last


def test_what_changed_is_told_as_it_is_now(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(projections, "MAX_PENDING_INDEX_ROWS", 10)
    numbers = asyncio.run(append(tmp_path, some(40)))
    asyncio.run(fold(tmp_path, 10, steps=2))

    def change(number: int, **new: Any) -> None:
        columns = "source, app, session_key, category, name, at"
        with closing(sqlite3.connect(tmp_path / "marquee.db")) as connection, connection:
            sql = f"INSERT INTO change (id, {columns}) SELECT id, {columns} FROM event WHERE id = ?"
            connection.execute(sql, (number,))
            sets = ", ".join(f"{name} = ?" for name in new)
            connection.execute(f"UPDATE event SET {sets} WHERE id = ?", (*new.values(), number))

    change(numbers[3], name="other", at=5)
    change(numbers[3], session="moved", session_key=session_key("moved"), at=9)
    change(numbers[4], data=None)
    # These are not in the views yet.
    change(numbers[30], name="other")
    change(numbers[31], data=None)

    async def names() -> list[str]:
        database = await Database.open(tmp_path / "marquee.db")
        of = await Projections.open(database, tmp_path / "views.db")
        page = await EventQueries(database, of).find(EventFilter(name="other"))
        await of.close()
        await database.close()
        return [each.id for each in page.events]

    # At once, before any fold, and after.
    assert asyncio.run(names()) == [str(numbers[3]), str(numbers[30])]
    assert asyncio.run(fold(tmp_path, 6)) == 38
    assert asyncio.run(names()) == [str(numbers[3]), str(numbers[30])]
    now = told(tmp_path)
    (tmp_path / "views.db").unlink()
    asyncio.run(fold(tmp_path))
    anew = told(tmp_path)
    now[0] = [each for each in now[0] if each[-1]]
    assert anew == now


def test_views_that_were_being_made_anew_when_all_ended_are_cleared_away(tmp_path: Path) -> None:
    asyncio.run(append(tmp_path, some(40)))
    (tmp_path / "views.db-new").write_bytes(b"x" * 9_999)
    assert asyncio.run(fold(tmp_path)) == 40
    assert not (tmp_path / "views.db-new").exists()
