"""Events are found in order, whatever of them is in the views by then."""

import asyncio
import random
import sqlite3
from pathlib import Path
from typing import Any

import msgspec
import pytest

from store.api.errors import StoreBusy
from store.sqlite.core.database import run_on_connection
from store.sqlite.events import event_queries, event_search
from store.sqlite.events.event_queries import EventQueries
from store.sqlite.events.event_records import (
    EventFilter,
    EventPage,
    InvalidEventCursor,
    LoggedEvent,
)
from store.sqlite.projections import projections
from store.sqlite.projections.session_key import session_key
from tests.support.events.event_rows import event_row
from tests.support.events.event_store import OpenEventStore

Stored = tuple[int, Any]  # its id, its row


def wanted_of(stored: list[Stored], wanted: EventFilter, newest_first: bool) -> list[str]:
    found = []
    for number, each in stored:
        source, app, session, _, category, name, at, *_ = each
        if (
            all(
                asked in (None, is_)
                for asked, is_ in (
                    (wanted.session, session),
                    (wanted.category, category),
                    (wanted.name, name),
                    (wanted.app, app),
                    (wanted.source, source),
                )
            )
            and (wanted.since is None or at >= wanted.since)
            and (wanted.until is None or at < wanted.until)
        ):
            found.append((at, number))
    return [str(number) for _, number in sorted(found, reverse=newest_first)]


async def pages(of: EventQueries, wanted: EventFilter, newest_first: bool, limit: int) -> list[str]:
    found: list[str] = []
    page = EventPage([], "")
    while page.cursor is not None:
        page = await of.find(
            wanted, newest_first=newest_first, limit=limit, cursor=page.cursor or None
        )
        assert len(page.events) <= limit
        found += [each.id for each in page.events]
    return found


@pytest.mark.parametrize("seed", range(4))
def test_pages_hold_just_what_is_wanted_in_order(
    tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(projections, "MAX_PENDING_INDEX_ROWS", 25)
    chance = random.Random(seed)
    stored: list[Stored] = []

    async def run() -> None:
        async with OpenEventStore(tmp_path) as opened:
            for _ in range(12):
                rows = [
                    event_row(
                        chance.choice("abc"),
                        app=chance.randrange(3),
                        session=chance.choice(["s", "t", None]),
                        category=chance.choice("xy"),
                        at=chance.randrange(-50, 50),
                        source=chance.choice([1, 3]),
                    )
                    for _ in range(chance.randrange(1, 40))
                ]
                stored.extend(zip(await opened.append(*rows), rows, strict=True))
                if chance.random() < 0.6:
                    await opened.projections.step(chance.randrange(1, 60))
                for _ in range(8):
                    wanted = EventFilter(
                        session=chance.choice([None, None, "s", "nobody"]),
                        category=chance.choice([None, "x"]),
                        name=chance.choice([None, "a", "zz"]),
                        app=chance.choice([None, 1]),
                        source=chance.choice([None, 1, 3]),
                        since=chance.choice([None, -20]),
                        until=chance.choice([None, 20]),
                    )
                    newest_first = chance.random() < 0.5
                    found = await pages(
                        opened.events, wanted, newest_first, chance.randrange(1, 30)
                    )
                    assert found == wanted_of(stored, wanted, newest_first)

    asyncio.run(run())


@pytest.mark.parametrize(
    "wanted",
    [
        EventFilter(),
        EventFilter(category="many"),
        EventFilter(category="many", app=1),
        EventFilter(category="many", source=3),
        EventFilter(name="many", app=2),
        EventFilter(source=3),
        EventFilter(category="many", session="s"),
    ],
)
def test_a_query_does_not_read_all_types_of_events(tmp_path: Path, wanted: EventFilter) -> None:
    async def run() -> None:
        async with OpenEventStore(tmp_path) as opened:
            events = [
                event_row("n", category="many", session="s"),
                event_row("n", source=3, session="s"),
            ]
            await opened.append(*events)
            await opened.projections.step()
            types = [(1, "many", f"n{number}") for number in range(5_000)]
            types += [(1, f"c{number}", "many") for number in range(5_000)]

            def add(connection: sqlite3.Connection) -> None:
                sql = "INSERT INTO kind (app, source, category, name) VALUES (?, 1, ?, ?)"
                connection.executemany(sql, types)

            await opened.projections._write(add)
            steps = 0

            def step() -> int:
                nonlocal steps
                steps += 100
                return 0

            def count(connection: sqlite3.Connection) -> None:
                connection.set_progress_handler(step, 100)

            for _ in range(projections.READER_CONNECTIONS):  # each in its turn
                reader = opened.projections._idle.pop()
                opened.projections._idle.insert(0, reader)
                await run_on_connection(reader, count)
            await opened.events.find(wanted)
            assert steps < 5_000

    asyncio.run(run())


def test_an_event_is_found_as_soon_as_it_is_acknowledged(tmp_path: Path) -> None:
    async def run() -> None:
        async with OpenEventStore(tmp_path) as opened:
            (number,) = await opened.append(event_row(session="s"))
            page = await opened.events.find(EventFilter(session="s"))
            assert [each.id for each in page.events] == [str(number)]
            found = await opened.events.get(number)
            assert found is not None and found.id == str(number)

    asyncio.run(run())


def test_an_event_is_told_as_it_was_sent(tmp_path: Path) -> None:
    async def run() -> None:
        async with OpenEventStore(tmp_path) as opened:
            (number,) = await opened.append(
                event_row(
                    "cta click",
                    session="s",
                    at=1609492527243860,
                    sender="mine",
                    digest=b"d" * 32,
                    data='{"n":1.0,"é":"\\u0001"}',
                )
            )
            for _ in range(2):
                (event,) = (await opened.events.find(EventFilter())).events
                assert event == await opened.events.get(number)
                told = msgspec.json.decode(msgspec.json.encode(event))
                assert told["data"] == {"n": 1.0, "é": "\u0001"}
                assert msgspec.json.encode(event.data).decode() == '{"n":1.0,"é":"\\u0001"}'
                assert told["timestamp"] == "2021-01-01T09:15:27.243860Z"
                assert (told["sender_id"], told["source"]) == ("mine", "app")
                await opened.projections.catch_up()

    asyncio.run(run())


def test_a_page_goes_on_where_it_ended_while_events_come(tmp_path: Path) -> None:
    async def run() -> None:
        async with OpenEventStore(tmp_path) as opened:
            first = await opened.append(*(event_row(at=10 * n) for n in range(6)))
            page = await opened.events.find(EventFilter(), limit=3)
            assert [each.id for each in page.events] == [str(each) for each in first[:3]]
            await opened.projections.step()
            await opened.append(event_row(at=5), event_row(at=25))
            page = await opened.events.find(EventFilter(), limit=9, cursor=page.cursor)
            assert [each.timestamp[-3:-1] for each in page.events] == ["25", "30", "40", "50"]
            assert page.cursor is None

    asyncio.run(run())


def test_sessions_that_share_a_key_are_told_apart(tmp_path: Path) -> None:
    one, other = "plumless", "buckeroo"  # known to have the same CRC-32
    assert session_key(one) == session_key(other)

    async def run() -> None:
        async with OpenEventStore(tmp_path) as opened:
            numbers = await opened.append(*(event_row(session=each) for each in (one, other, one)))
            for _ in range(2):
                assert await pages(opened.events, EventFilter(session=other), False, 9) == [
                    str(numbers[1])
                ]
                assert len(await pages(opened.events, EventFilter(session=one), True, 1)) == 2
                await opened.projections.catch_up()

    asyncio.run(run())


@pytest.mark.parametrize("cursor", ["", "x", "ü", "AAAA", "A" * 23, "=" * 22, "!" * 22])
def test_a_cursor_that_was_not_given_out_is_told(tmp_path: Path, cursor: str) -> None:
    async def run() -> None:
        async with OpenEventStore(tmp_path) as opened:
            with pytest.raises(InvalidEventCursor):
                await opened.events.find(EventFilter(), cursor=cursor)

    asyncio.run(run())


def test_a_long_tail_is_folded_before_it_is_looked_through(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_search, "MAX_TAIL_ROWS", 10)

    async def run() -> None:
        async with OpenEventStore(tmp_path) as opened:
            await opened.append(*(event_row(at=n) for n in range(50)))
            await opened.projections.step(1)
            assert opened.projections.lag == 49
            assert len((await opened.events.find(EventFilter())).events) == 50
            assert opened.projections.lag == 0

    asyncio.run(run())


def test_views_that_are_far_behind_are_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_search, "MAX_TAIL_ROWS", 10)
    monkeypatch.setattr(event_queries, "MAX_PROJECTION_STEPS", 3)

    async def run() -> None:
        async with OpenEventStore(tmp_path) as opened:
            await opened.append(*(event_row(at=n) for n in range(50)))
            step = opened.projections.step
            monkeypatch.setattr(opened.projections, "step", lambda: step(10))
            with pytest.raises(StoreBusy):
                await opened.events.find(EventFilter())
            assert opened.projections.lag == 20
            assert len((await opened.events.find(EventFilter())).events) == 50

    asyncio.run(run())


def test_where_much_is_looked_through_pages_are_short_and_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_search, "MAX_INDEX_LISTS", 2)
    monkeypatch.setattr(event_search, "MAX_INDEX_ROWS", 7)

    async def run() -> None:
        async with OpenEventStore(tmp_path) as opened:
            rows = [
                event_row(f"name {n % 5}", category="x" if n % 9 else "y", at=n, app=1 + n % 2)
                for n in range(100)
            ]
            stored = list(zip(await opened.append(*rows), rows, strict=True))
            await opened.projections.catch_up()
            for wanted in (
                EventFilter(category="y"),
                EventFilter(session="s", category="y", app=1),
            ):
                for newest_first in (False, True):
                    found = await pages(opened.events, wanted, newest_first, 5)
                    assert found == wanted_of(stored, wanted, newest_first)
            first = await opened.events.find(EventFilter(session="s", category="y"), limit=5)
            assert len(first.events) < 5
            assert first.cursor is not None

    asyncio.run(run())


def test_all_events_are_exported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_queries, "EXPORT_PAGE_ROWS", 7)

    async def run() -> None:
        async with OpenEventStore(tmp_path) as opened:
            rows = [event_row(at=n * 7 % 50, session=str(n % 2)) for n in range(60)]
            stored = list(zip(await opened.append(*rows), rows, strict=True))
            found: list[LoggedEvent] = []
            async for some in opened.events.export(EventFilter(session="1")):
                assert len(some) <= 7
                found += some
            assert [each.id for each in found] == wanted_of(stored, EventFilter(session="1"), False)

    asyncio.run(run())
