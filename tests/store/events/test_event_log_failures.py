"""What a log does when the disk is full, or broken."""

import asyncio
import sqlite3
from pathlib import Path

import pytest

from store.api.errors import StoreError, StoreFailed, StoreFull
from store.sqlite.core.database import Database
from store.sqlite.events.event_log import EventLog
from tests.support.banners.campaign_files import query_rows, with_database
from tests.support.events.event_rows import (
    blocked_writer,
    event_row,
    limit_database_pages,
    log_counts,
)


def test_on_a_full_disk_events_are_refused_and_taken_again_once_there_is_room(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    large = [event_row(data="x" * 100_000)] * 10

    async def use(database: Database) -> None:
        log = await EventLog.open(database)
        await limit_database_pages(database, 60)
        with blocked_writer(database):
            both = [log.append(large, [(1, b"{", "[]")]), log.append([event_row()])]
            await asyncio.sleep(0)
            log.count_refused()
        for future in both:
            with pytest.raises(StoreFull):
                await future
        with pytest.raises(StoreFull):
            await log.append(large, counted=False)
        assert log.queued_bytes == 0
        await log.drain()
        # All are in one commit, with those that it could not store.
        assert log_counts(log) == (0, 0, 0, 13)
        assert database.failed is None
        await limit_database_pages(database, 1_000_000)
        assert len(await log.append(large)) == 10
        assert log_counts(log) == (10, 0, 0, 13)

    with_database(tmp_path, use)
    assert query_rows(tmp_path, "SELECT count(*) FROM event") == [(10,)]
    assert query_rows(tmp_path, "SELECT received, refused FROM log") == [(23, 13)]
    assert caplog.text.count("the disk is full") == 1


def test_what_was_not_counted_is_not_counted_as_refused(tmp_path: Path) -> None:
    async def use(database: Database) -> None:
        log = await EventLog.open(database)
        await limit_database_pages(database, 60)
        with pytest.raises(StoreFull):
            await log.append([event_row(data="x" * 1_000_000)], counted=False)
        await log.drain()
        assert log_counts(log) == (0, 0, 0, 0)

    with_database(tmp_path, use)


def test_a_broken_database_acknowledges_nothing_any_more(tmp_path: Path) -> None:
    async def use(database: Database) -> None:
        log = await EventLog.open(database)
        await log.append([event_row()])
        database.failed = StoreFailed("it broke")
        with blocked_writer(database):
            both = [log.append([event_row()]), log.append([event_row()])]
        for future in (*both, log.append([event_row()])):
            with pytest.raises(StoreFailed, match="it broke"):
                await future
        assert log_counts(log) == (1, 0, 0, 0)

    with_database(tmp_path, use)


def test_an_unforeseen_error_is_told_to_all_who_wait_and_the_log_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def use(database: Database) -> None:
        log = await EventLog.open(database)
        await database.write(lambda c: c.execute("ALTER TABLE log RENAME TO away"))
        with blocked_writer(database):
            both = [log.append([event_row()]), log.append([event_row()])]
        for future in both:
            with pytest.raises(StoreError, match="no such table: log"):
                await future
        await database.write(lambda c: c.execute("ALTER TABLE away RENAME TO log"))
        await log.append([event_row()])
        assert log_counts(log) == (1, 0, 0, 2)

    with_database(tmp_path, use)
    assert "commit of the event log failed" in caplog.text


def test_a_commit_cannot_be_half_of_a_request(tmp_path: Path) -> None:
    def job(connection: sqlite3.Connection) -> None:
        connection.execute(
            "CREATE TRIGGER limited BEFORE INSERT ON event WHEN new.name = 'last' "
            "BEGIN SELECT raise(ROLLBACK, 'no'); END"
        )

    async def use(database: Database) -> None:
        log = await EventLog.open(database)
        await database.write(job)
        with pytest.raises(StoreError):
            await log.append([event_row()] * 100 + [event_row("last")])
        await database.write(lambda c: c.execute("DROP TRIGGER limited").rowcount)
        await log.drain()
        assert log_counts(log) == (0, 0, 0, 101)

    with_database(tmp_path, use)
    assert query_rows(tmp_path, "SELECT count(*) FROM event") == [(0,)]
