"""Clicks on banners: on disk before their ids are handed on, and never in a visitor's way."""

import asyncio
from pathlib import Path

import pytest

from domain.events.event import InvalidEvent
from store.sqlite.core.database import Database
from store.sqlite.events.click_log import ClickLog, resolve_conversion
from store.sqlite.events.event_log import EventLog
from tests.support.banners.campaign_files import query_rows, with_database
from tests.support.events.event_rows import (
    blocked_writer,
    event_row,
    limit_database_pages,
    log_counts,
)


def test_a_click_has_an_id_once_it_is_on_disk(tmp_path: Path) -> None:
    async def use(database: Database) -> None:
        log = await EventLog.open(database)
        number = await ClickLog(log).record(7, 3, 2)
        assert query_rows(tmp_path, "SELECT id, source, data FROM event") == [
            (number, 3, '{"campaign":7,"banner":3,"slot":2}')
        ]
        assert log_counts(log) == (0, 0, 0, 0)

    with_database(tmp_path, use)


def test_a_click_that_cannot_be_kept_has_none(tmp_path: Path) -> None:
    async def use(database: Database) -> None:
        log = await EventLog.open(database, queue_bytes=10_000)
        await limit_database_pages(database, 60)
        filler = log.append([event_row(data="x" * 1_000_000)])
        assert await ClickLog(log).record(7, 3, 2) is None
        assert isinstance(await asyncio.gather(filler, return_exceptions=True), list)
        with blocked_writer(database):
            log.append([event_row(data="x" * 5_000)] * 8)
            assert not log.has_room(0)
            assert await ClickLog(log).record(7, 3, 2) is None
        await log.drain()

    with_database(tmp_path, use)
    assert query_rows(tmp_path, "SELECT count(*) FROM event WHERE source = 3") == [(0,)]


def test_a_visitor_waits_no_longer_than_a_click_is_worth(tmp_path: Path) -> None:
    async def use(database: Database) -> None:
        log = await EventLog.open(database)
        async with asyncio.timeout(60):  # else it would wait for as long as the writer is held
            with blocked_writer(database):
                assert await ClickLog(log, timeout=0.05).record(7, 3, 2) is None
        await log.drain()

    with_database(tmp_path, use)
    # It came to disk all the same; nobody was told its id.
    assert query_rows(tmp_path, "SELECT count(*) FROM event") == [(1,)]


def test_a_conversion_is_of_a_click_in_the_log(tmp_path: Path) -> None:
    async def use(database: Database) -> None:
        log = await EventLog.open(database)
        number = await ClickLog(log).record(7, 3, 2)
        [(event, _)] = await log.append([event_row()])
        found = await resolve_conversion(database, b'{"click_id":%d,"revenue":1}' % number, 5, 9)
        assert found[:2] == (4, 5)
        for other in (event, 1):
            with pytest.raises(InvalidEvent) as wrong:
                await resolve_conversion(database, b'{"click_id":%d,"revenue":1}' % other, 5, 9)
            assert [each.pointer for each in wrong.value.faults] == ["/click_id"]

    with_database(tmp_path, use)
