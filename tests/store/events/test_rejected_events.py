"""What was not right is kept within bounds, and can be replayed once."""

import asyncio
from pathlib import Path

import pytest

from store.sqlite.core.database import Database
from store.sqlite.events.event_log import EventLog
from store.sqlite.events.rejected_event_store import RejectedEventLimits, trim_rejected_events
from tests.support.banners.campaign_files import query_rows, with_database
from tests.support.events.event_rows import blocked_writer, event_row, log_counts, row_of_sender

DAY = 86_400_000_000
TOTALS = "SELECT rejects, rejects_bytes, rejects_dropped FROM log"


def wrong(body: bytes = b"{") -> tuple[int, bytes, str]:
    return 1, body, "[]"


def bodies(folder: Path) -> list[object]:
    return [each for (each,) in query_rows(folder, "SELECT body FROM event_reject ORDER BY id")]


def test_the_newest_are_kept_and_what_falls_out_is_counted(tmp_path: Path) -> None:
    async def use(database: Database) -> None:
        log = await EventLog.open(database, rejected_limits=RejectedEventLimits(rows=10))
        for number in range(15):
            await log.append([], [wrong(b"%d" % number)])
        assert bodies(tmp_path) == [b"%d" % number for number in range(5, 15)]
        assert query_rows(tmp_path, TOTALS) == [(10, 35, 5)]
        await log.append([], [wrong()] * 30)
        assert bodies(tmp_path) == [b"{"] * 10
        assert query_rows(tmp_path, TOTALS) == [(10, 30, 35)]
        assert log_counts(log) == (0, 0, 45, 0)

    with_database(tmp_path, use)


def test_they_are_bounded_in_bytes(tmp_path: Path) -> None:
    async def use(database: Database) -> None:
        log = await EventLog.open(database, rejected_limits=RejectedEventLimits(bytes=1_000))
        for size in (400, 400, 196, 200):
            await log.append([], [wrong(b"x" * size)])
        assert [len(str(each, "ascii")) for each in bodies(tmp_path)] == [400, 196, 200]  # type: ignore[call-overload]
        assert query_rows(tmp_path, TOTALS) == [(3, 802, 1)]

    with_database(tmp_path, use)


def test_old_ones_fall_out_when_asked_to_and_never_by_the_time_of_another(tmp_path: Path) -> None:
    async def use(database: Database) -> None:
        bounds = RejectedEventLimits(days=1)
        log = await EventLog.open(database, rejected_limits=bounds)
        await log.append([], [wrong(b"1")], received=1 * DAY)
        await log.append([], [wrong(b"2")], received=2 * DAY)
        await log.append([], [wrong(b"3")], received=2 * DAY + 1)
        assert bodies(tmp_path) == [b"1", b"2", b"3"]
        assert (
            await database.write(lambda c: trim_rejected_events(c, bounds, 2 * DAY + 1, 100)) == 1
        )
        assert bodies(tmp_path) == [b"2", b"3"]
        assert (
            await database.write(lambda c: trim_rejected_events(c, bounds, 3 * DAY + 1, 100)) == 1
        )
        assert bodies(tmp_path) == [b"3"]
        assert query_rows(tmp_path, TOTALS) == [(1, 3, 2)]

    with_database(tmp_path, use)


def test_many_that_are_out_of_bounds_go_in_small_steps(tmp_path: Path) -> None:
    async def use(database: Database) -> None:
        log = await EventLog.open(database)
        await log.append([], [wrong()] * 200)
        log = await EventLog.open(database, rejected_limits=RejectedEventLimits(rows=10))
        await log.append([], [wrong()])
        assert query_rows(tmp_path, TOTALS)[0][0] == 201 - 18
        assert (
            await database.write(lambda c: trim_rejected_events(c, log.rejected_limits, 0, 100))
            == 100
        )

    with_database(tmp_path, use)


def test_the_totals_hold_whoever_removes_a_reject(tmp_path: Path) -> None:
    async def use(database: Database) -> None:
        log = await EventLog.open(database)
        await log.append([], [(1, b"123", '["é"]'), wrong(b"1")])
        assert query_rows(tmp_path, TOTALS) == [(2, 3 + 6 + 1 + 2, 0)]
        await database.write(lambda c: c.execute("DELETE FROM event_reject WHERE body = '1'"))
        await database.write(lambda c: c.execute("DELETE FROM event_reject WHERE body = x'31'"))
        assert query_rows(tmp_path, TOTALS) == [(1, 9, 0)]

    with_database(tmp_path, use)


def test_one_that_cannot_be_kept_is_counted_as_fallen_out(tmp_path: Path) -> None:
    async def use(database: Database) -> None:
        log = await EventLog.open(database)
        await log.append([event_row()], [(1, b"{", "\ud800"), wrong()])
        assert query_rows(tmp_path, TOTALS) == [(1, 3, 1)]
        assert log_counts(log) == (1, 0, 2, 0)

    with_database(tmp_path, use)


def test_a_replay_stores_the_event_and_takes_it_out_of_the_rejects(tmp_path: Path) -> None:
    async def use(database: Database) -> None:
        log = await EventLog.open(database)
        await log.append([], [wrong(b"1"), wrong(b"2")])
        [(reject,), _] = query_rows(tmp_path, "SELECT id FROM event_reject ORDER BY id")
        assert isinstance(reject, int)
        [(number, verdict)] = await log.replay(reject, event_row("replayed"), received=7_000)
        assert verdict == "stored"
        assert query_rows(tmp_path, "SELECT id, name, received FROM event") == [
            (number, "replayed", 7_000)
        ]
        assert bodies(tmp_path) == [b"2"]
        assert log_counts(log) == (1, 0, 1, 0)
        assert log.counts.received == 2

    with_database(tmp_path, use)


def test_two_replays_of_one_reject_store_one_event(tmp_path: Path) -> None:
    async def use(database: Database) -> None:
        log = await EventLog.open(database)
        await log.append([], [wrong()])
        [(reject,)] = query_rows(tmp_path, "SELECT id FROM event_reject")
        assert isinstance(reject, int)
        with blocked_writer(database):
            both = asyncio.gather(log.replay(reject, event_row()), log.replay(reject, event_row()))
            await asyncio.sleep(0)
        assert [verdict for [(_, verdict)] in await both] == ["stored", "gone"]
        assert [verdict for _, verdict in await log.replay(reject, event_row())] == ["gone"]
        assert query_rows(tmp_path, "SELECT count(*) FROM event") == [(1,)]
        assert log_counts(log) == (1, 0, 0, 0)

    with_database(tmp_path, use)


@pytest.mark.parametrize(
    ("event", "verdict", "kept", "counted"),
    [
        (row_of_sender("a"), "duplicate", 0, (1, 1, 0, 0)),
        (row_of_sender("a", b"c"), "conflict", 1, (1, 0, 1, 0)),
        (event_row(at="soon"), "rejected", 1, (1, 0, 1, 0)),
    ],
)
def test_a_replay_that_stores_nothing_says_why(
    tmp_path: Path, event: object, verdict: str, kept: int, counted: tuple[int, ...]
) -> None:
    async def use(database: Database) -> None:
        log = await EventLog.open(database)
        await log.append([row_of_sender("a")], [wrong()])
        [(reject,)] = query_rows(tmp_path, "SELECT id FROM event_reject")
        [(_, found)] = await log.replay(reject, event)  # type: ignore[arg-type]
        assert (found, len(bodies(tmp_path)), log_counts(log)) == (verdict, kept, counted)

    with_database(tmp_path, use)
