"""The log: what is acknowledged is on disk, once, and counted."""

import asyncio
import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from store.api.errors import StoreError
from store.sqlite.core.database import Database
from store.sqlite.events.commit_batch import AppendOutcome
from store.sqlite.events.event_log import EventLog
from store.sqlite.projections.session_key import session_key
from tests.support.banners.campaign_files import query_rows, with_database
from tests.support.events.event_rows import blocked_writer, event_row, log_counts, row_of_sender


def verdicts(outcomes: list[tuple[int, str]]) -> list[str]:
    return [verdict for _, verdict in outcomes]


def test_what_is_acknowledged_is_on_disk(tmp_path: Path) -> None:
    async def use(database: Database) -> None:
        log = await EventLog.open(database)
        [(number, verdict)] = await log.append(
            [event_row("click", data='{"a":1}')], received=2_000_000
        )
        assert (number, verdict) == (2_000 << 22, "stored")
        kept = (
            1,
            1,
            "s",
            session_key("s"),
            None,
            "page interaction",
            "click",
            1,
            2_000_000,
            None,
            None,
            '{"a":1}',
        )
        assert query_rows(tmp_path, "SELECT * FROM event") == [(number, *kept)]
        assert log_counts(log) == (1, 0, 0, 0)

    with_database(tmp_path, use)


@pytest.mark.parametrize("many", [1, 3, 64, 65, 357])
def test_a_request_of_any_size_is_stored_whole_and_in_its_order(tmp_path: Path, many: int) -> None:
    async def use(database: Database) -> None:
        log = await EventLog.open(database)
        outcomes = await log.append([event_row(at=number) for number in range(many)])
        assert verdicts(outcomes) == ["stored"] * many
        assert query_rows(tmp_path, "SELECT id, at FROM event ORDER BY id") == [
            (number, at) for at, (number, _) in enumerate(outcomes)
        ]

    with_database(tmp_path, use)


def test_a_repeated_sender_stores_nothing_and_answers_as_the_first_time(tmp_path: Path) -> None:
    async def use(database: Database) -> None:
        log = await EventLog.open(database)
        [(first, _)] = await log.append([row_of_sender("a")])
        assert await log.append([row_of_sender("a")]) == [(first, "duplicate")]
        assert await log.append([row_of_sender("a", b"c")]) == [(first, "conflict")]
        [(other, verdict)] = await log.append([row_of_sender("a", app=2)])
        assert (other > first, verdict) == (True, "stored")
        assert log_counts(log) == (2, 1, 1, 0)

    with_database(tmp_path, use)


def test_a_sender_is_known_again_within_one_commit_and_within_one_request(tmp_path: Path) -> None:
    async def use(database: Database) -> None:
        log = await EventLog.open(database)
        with blocked_writer(database):
            one = log.append([row_of_sender("b")])
            two = log.append(
                [
                    row_of_sender("b"),
                    event_row(),
                    row_of_sender("c"),
                    row_of_sender("c"),
                    row_of_sender("c", b"d"),
                ]
            )
        [(b, _)] = await one
        assert verdicts(await two) == ["duplicate", "stored", "stored", "duplicate", "conflict"]
        (again, _), _, (c, _), (once_more, _), (conflict, _) = await two
        assert (again, once_more, conflict) == (b, c, c)
        assert log_counts(log) == (3, 2, 1, 0)

    with_database(tmp_path, use)


def test_many_repeated_at_once_each_get_their_first_id(tmp_path: Path) -> None:
    async def use(database: Database) -> None:
        log = await EventLog.open(database)
        first = await log.append([row_of_sender(f"s{number}") for number in range(200)])
        mixed = [row_of_sender(f"s{number}") for number in range(0, 400, 2)]
        second = await log.append(mixed)
        assert second[:100] == [(number, "duplicate") for number, _ in first[::2]]
        assert verdicts(second[100:]) == ["stored"] * 100

    with_database(tmp_path, use)


def test_senders_are_looked_up_by_the_index(tmp_path: Path) -> None:
    from store.sqlite.events.commit_batch import FIND_CONFLICTS_SQL

    async def use(database: Database) -> None:
        def plan(connection: sqlite3.Connection) -> list[Any]:
            return connection.execute(
                "EXPLAIN QUERY PLAN " + FIND_CONFLICTS_SQL[4], [None] * 16
            ).fetchall()

        told = " ".join(str(line[3]) for line in await database.read(plan))
        assert "SEARCH event USING INDEX event_sender (app=? AND sender=?)" in told

    with_database(tmp_path, use)


def test_a_person_who_was_erased_does_not_come_back_by_a_retry(tmp_path: Path) -> None:
    erase = "UPDATE event SET session = NULL, user = NULL, data = NULL"

    async def use(database: Database) -> None:
        log = await EventLog.open(database)
        [(first, _)] = await log.append([row_of_sender("a")])
        await database.write(lambda connection: connection.execute(erase).rowcount)
        assert await log.append([row_of_sender("a")]) == [(first, "duplicate")]

    with_database(tmp_path, use)


UNFIT = [
    event_row(session="\ud800"),
    event_row(at=2**63),
    event_row(name=None),
    event_row(at="soon"),
    event_row(data=["a list"]),
    (*event_row(), "too wide"),
]


@pytest.mark.parametrize("unfit", UNFIT, ids=str)
def test_an_event_that_cannot_be_stored_does_not_sink_its_neighbours(
    tmp_path: Path, unfit: Any
) -> None:
    async def use(database: Database) -> None:
        log = await EventLog.open(database)
        with blocked_writer(database):
            before = log.append([event_row()] * 50)
            both = log.append([event_row(), unfit], bodies=[b"right", b"unfit"])
            after = log.append([row_of_sender("a"), row_of_sender("a")])
        assert verdicts(await before) == ["stored"] * 50
        assert verdicts(await both) == ["stored", "rejected"]
        assert verdicts(await after) == ["stored", "duplicate"]
        assert database.commits == 1
        assert log_counts(log) == (52, 1, 1, 0)
        [(body, errors)] = query_rows(tmp_path, "SELECT body, errors FROM event_reject")
        assert body == b"unfit"
        assert json.loads(str(errors))[0].keys() == {"pointer", "message"}

    with_database(tmp_path, use)


def test_what_is_wrong_is_kept_in_the_same_commit_with_its_app_and_time(tmp_path: Path) -> None:
    async def use(database: Database) -> None:
        log = await EventLog.open(database)
        with blocked_writer(database):
            both = log.append(
                [event_row()], [(7, b"{", "[1]"), (7, b"}", "[2]")], received=5_000_000
            )
        [(number, _)] = await both
        assert query_rows(tmp_path, "SELECT * FROM event_reject ORDER BY id") == [
            (number + 1, 7, 5_000_000, "[1]", b"{"),
            (number + 2, 7, 5_000_000, "[2]", b"}"),
        ]
        assert database.commits == 1
        assert log_counts(log) == (1, 0, 2, 0)

    with_database(tmp_path, use)


def test_a_conflicting_event_is_kept_among_the_rejects(tmp_path: Path) -> None:
    async def use(database: Database) -> None:
        log = await EventLog.open(database)
        await log.append([row_of_sender("a", app=3)])
        await log.append(
            [event_row(), row_of_sender("a", b"c", app=3)], bodies=[b"1", b"2"], received=1_000
        )
        [(app, received, errors, body)] = query_rows(
            tmp_path, "SELECT app, received, errors, body FROM event_reject"
        )
        assert (app, received, body) == (3, 1_000, b"2")
        assert json.loads(str(errors))[0]["pointer"] == "/sender_id"
        assert log_counts(log) == (2, 0, 1, 0)

    with_database(tmp_path, use)


def test_what_arrives_while_a_commit_runs_makes_the_next_one(tmp_path: Path) -> None:
    async def use(database: Database) -> None:
        log = await EventLog.open(database)
        with blocked_writer(database):
            first = log.append([event_row()])
            await asyncio.sleep(0)  # handed to the writer
            rest = [log.append([event_row()]) for _ in range(500)]
        await asyncio.gather(first, *rest)
        assert database.commits == 2
        ids = [future.result()[0][0] for future in (first, *rest)]
        assert ids == sorted(set(ids))

    with_database(tmp_path, use)


def test_a_long_queue_is_written_in_commits_of_bounded_size(tmp_path: Path) -> None:
    async def use(database: Database) -> None:
        log = await EventLog.open(database)
        with blocked_writer(database):
            futures = [log.append([event_row()] * 500) for _ in range(2)]
            assert not log.is_backlogged
            futures += [log.append([event_row()] * 500) for _ in range(38)]
            assert log.is_backlogged
        await asyncio.gather(*futures)
        assert 12 <= database.commits <= 20
        assert log_counts(log) == (20_000, 0, 0, 0)
        assert log.queued_bytes == 0
        assert not log.is_backlogged

    with_database(tmp_path, use)


class Deaf:
    """A waiter that cannot be told."""

    def settled(self, outcomes: list[AppendOutcome]) -> None:
        raise RuntimeError("deaf")

    failed: Any = settled


def test_one_who_cannot_be_told_keeps_nothing_from_the_others(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def use(database: Database) -> None:
        log = await EventLog.open(database)
        with blocked_writer(database):
            first = log.append([event_row()])
            log.enqueue(Deaf(), [event_row()])
            second = log.append([event_row()])
        await asyncio.gather(first, second)
        assert log_counts(log) == (3, 0, 0, 0)
        await database.write(lambda connection: connection.execute("DROP TABLE event").rowcount)
        first = log.append([event_row()])
        log.enqueue(Deaf(), [event_row()])
        second = log.append([event_row()])
        for each in (first, second):
            with pytest.raises(StoreError):
                await each

    with_database(tmp_path, use)
    assert caplog.text.count("a waiter of a commit failed") == 2


def test_one_who_left_takes_nothing_from_the_others_and_its_event_stays(tmp_path: Path) -> None:
    async def use(database: Database) -> None:
        log = await EventLog.open(database)
        with blocked_writer(database):
            leaving, staying = log.append([event_row("gone")]), log.append([event_row()])
            leaving.cancel()
        assert verdicts(await staying) == ["stored"]
        assert log.queued_bytes == 0

    with_database(tmp_path, use)
    assert query_rows(tmp_path, "SELECT name FROM event") == [("gone",), ("pageview",)]


def test_what_no_authenticated_request_brought_is_in_no_count(tmp_path: Path) -> None:
    async def use(database: Database) -> None:
        log = await EventLog.open(database)
        outcomes = await log.append(
            [row_of_sender("a"), row_of_sender("a"), row_of_sender("a", b"c")], counted=False
        )
        assert verdicts(outcomes) == ["stored", "duplicate", "conflict"]
        assert log_counts(log) == (0, 0, 0, 0)

    with_database(tmp_path, use)


def test_counts_and_ids_go_on_after_a_restart(tmp_path: Path) -> None:
    async def first(database: Database) -> int:
        log = await EventLog.open(database)
        await log.append([event_row(), row_of_sender("a")], [(1, b"{", "[]")])
        await log.append([row_of_sender("a")], refused=3)
        log.count_refused(2)
        await log.drain()
        assert log_counts(log) == (2, 1, 1, 5)
        # Also past what is no longer there.
        await database.write(lambda connection: connection.execute("DELETE FROM event").rowcount)
        return log.last_id

    async def second(database: Database) -> None:
        log = await EventLog.open(database)
        assert log_counts(log) == (2, 1, 1, 5)
        [(number, _)] = await log.append([event_row()], received=0)
        assert number > last

    last = with_database(tmp_path, first)
    with_database(tmp_path, second)


def test_draining_waits_for_all_that_waits(tmp_path: Path) -> None:
    async def use(database: Database) -> None:
        log = await EventLog.open(database)
        await log.drain()
        futures = [log.append([event_row()]) for _ in range(5_000)]
        log.count_refused()
        await log.drain()
        assert all(future.done() for future in futures)
        assert log_counts(log) == (5_000, 0, 0, 1)

    with_database(tmp_path, use)
