"""The log's queue: bounded in bytes and in age, and well again by itself."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from store.sqlite.core.database import Database
from store.sqlite.events import event_log as store_log
from store.sqlite.events.event_log import EventLog
from tests.support.banners.campaign_files import with_database
from tests.support.events.event_rows import blocked_writer, event_row, log_counts


class Clock:
    """A clock that stands still until it is set."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(store_log, "monotonic", made)
    return made


def test_the_queue_is_bounded_by_the_bytes_that_it_holds(tmp_path: Path) -> None:
    async def use(database: Database) -> None:
        log = await EventLog.open(database, queue_bytes=1_000_000)
        with blocked_writer(database):
            taken = []
            while log.has_room(50_000):
                taken.append(log.append([event_row()], size=50_000))
            assert len(taken) == 18  # and what each holds beside its body
            assert log.has_room(10_000)
            assert not log.has_room(60_000)
        await asyncio.gather(*taken)
        assert log.queued_bytes == 0
        assert log.has_room(50_000)

    with_database(tmp_path, use)


def test_small_events_weigh_what_they_hold_in_memory(tmp_path: Path) -> None:
    async def use(database: Database) -> None:
        log = await EventLog.open(database, queue_bytes=1_000_000)
        with blocked_writer(database):
            taken = []
            while log.has_room(300):
                taken.append(log.append([event_row()], size=300))
            assert 200 < len(taken) < 500
        await asyncio.gather(*taken)

    with_database(tmp_path, use)


def test_nothing_is_taken_while_someone_has_waited_too_long(tmp_path: Path, clock: Clock) -> None:
    async def use(database: Database) -> None:
        log = await EventLog.open(database, queue_age=0.05)
        assert log.oldest_wait == 0
        with blocked_writer(database):
            waiting = log.append([event_row()])
            assert log.has_room(1)
            clock.now += 0.06
            assert log.oldest_wait > 0.05
            assert not log.has_room(1)
        await waiting
        assert log.has_room(1)
        assert log.oldest_wait == 0
        assert log.longest_wait > 0.05

    with_database(tmp_path, use)


def test_age_is_that_of_the_oldest_who_still_waits(tmp_path: Path, clock: Clock) -> None:
    async def use(database: Database) -> None:
        log = await EventLog.open(database, queue_age=0.05)
        with blocked_writer(database):
            first = log.append([event_row()])
            await asyncio.sleep(0)  # its commit has begun
            clock.now += 0.06
            second = log.append([event_row()])
        await first
        assert log.oldest_wait < 0.05
        assert log.has_room(1)
        await second

    with_database(tmp_path, use)


def test_one_request_that_is_larger_than_the_queue_is_taken_when_nothing_waits(
    tmp_path: Path,
) -> None:
    async def use(database: Database) -> None:
        log = await EventLog.open(database, queue_bytes=1_000)
        assert log.has_room(10_000)
        with blocked_writer(database):
            large = log.append([event_row()], size=10_000)
            assert not log.has_room(1)
        await large
        assert log.has_room(10_000)

    with_database(tmp_path, use)


def test_what_was_refused_is_counted_with_the_next_commit_or_one_of_its_own(
    tmp_path: Path,
) -> None:
    async def use(database: Database) -> None:
        log = await EventLog.open(database)
        with blocked_writer(database):
            waiting = log.append([event_row()])
            await asyncio.sleep(0)
            log.count_refused(3)
            assert log_counts(log) == (0, 0, 0, 0)
            other = log.append([event_row()])
        await asyncio.gather(waiting, other)
        assert log_counts(log) == (2, 0, 0, 3)
        log.count_refused()
        await log.drain()
        assert log_counts(log) == (2, 0, 0, 4)
        assert database.commits == 3

    with_database(tmp_path, use)


def test_a_queue_that_stands_takes_nothing_while_someone_has_waited_for_a_moment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clock: Clock
) -> None:
    monkeypatch.setattr(store_log, "STANDING_QUEUE_SECONDS", 0.2)
    monkeypatch.setattr(store_log, "STANDING_MAX_SECONDS", 0.05)

    async def use(database: Database) -> None:
        log = await EventLog.open(database, queue_bytes=10**9, queue_age=60)
        # Each is a commit of its own, and commits take a while.
        monkeypatch.setattr(database, "write", _slowly(database.write, 0.02))
        taken = [log.append([event_row()], size=3_000_000) for _ in range(40)]
        await asyncio.sleep(0.01)
        clock.now += 0.1
        assert log.oldest_wait > 0.05
        assert log.has_room(1)  # a burst, for all that is known
        clock.now += 0.2
        assert not log.has_room(1)
        await asyncio.gather(*taken)
        assert log.has_room(1)
        # And the next burst is one again.
        taken = [log.append([event_row()], size=3_000_000) for _ in range(10)]
        await asyncio.sleep(0.01)
        clock.now += 0.1
        assert log.oldest_wait > 0.05
        assert log.has_room(1)
        await asyncio.gather(*taken)

    with_database(tmp_path, use)


def test_one_commit_that_takes_long_is_no_queue_that_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clock: Clock
) -> None:
    monkeypatch.setattr(store_log, "STANDING_QUEUE_SECONDS", 0.02)
    monkeypatch.setattr(store_log, "STANDING_MAX_SECONDS", 0.01)

    async def use(database: Database) -> None:
        log = await EventLog.open(database, queue_age=60)
        with blocked_writer(database):
            first = log.append([event_row()])
            await asyncio.sleep(0.01)
            clock.now += 0.1
            second = log.append([event_row()])
            assert log.has_room(1)
        await asyncio.gather(first, second)

    with_database(tmp_path, use)


def _slowly(write: Any, seconds: float) -> Any:
    async def slow(job: Any) -> Any:
        await asyncio.sleep(seconds)
        return await write(job)

    return slow
