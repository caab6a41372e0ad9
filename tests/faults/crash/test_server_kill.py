"""A real server, killed under load: every 202 was true, and it is ready again at once."""

import random
import sqlite3
from functools import partial
from pathlib import Path

import pytest

from tests.support.faults.page_visitors import PageVisitors
from tests.support.faults.server_load import KillableServer, LoadGenerator, new_load
from tests.support.programs.log_sender import count_missing, insert_million_events

READY = 1.0  # CPU seconds


@pytest.fixture
def load(tmp_path: Path) -> LoadGenerator:
    server = KillableServer(tmp_path, "--sample", "--no-traffic")
    try:
        return new_load(tmp_path)
    finally:
        server.kill()


def kill_and_check(
    load: LoadGenerator, folder: Path, kills: int, changes: str = ""
) -> PageVisitors:
    visitors = PageVisitors()
    for kill in range(kills):
        server = KillableServer(folder, "--sample", "--no-traffic", changes=changes)
        counts = server.event_counts()
        visitors.start(server)
        if kill % 10:
            load.run_until_acknowledged(server, random.randint(1, 150))
        else:  # so late that views of this start are on disk
            load.run(server, until=partial(visitors.is_enough_on_disk, folder / "marquee.db"))
        visitors.join()
        assert counts.pop("received") == sum(counts.values())
        connection = sqlite3.connect(folder / "marquee.db")
        try:
            assert count_missing(connection, load.transcript) == 0
            visitors.check(connection)
        finally:
            connection.close()
    return visitors


def test_every_202_was_true_when_the_server_is_killed(load: LoadGenerator, tmp_path: Path) -> None:
    visitors = kill_and_check(load, tmp_path, 20)
    assert len(load.transcript.acknowledged) > 500
    assert len(visitors.acknowledged) > 50
    assert visitors.durable_views > 20


@pytest.mark.parametrize("changes", ["acknowledge_before_commit", "ignore_sender_ids"])
def test_the_same_test_sees_it_when_a_guard_is_taken_out(
    load: LoadGenerator, tmp_path: Path, changes: str
) -> None:
    with pytest.raises(AssertionError):
        kill_and_check(load, tmp_path, 8, changes)


def test_a_killed_server_with_a_million_events_is_ready_within_a_second(
    load: LoadGenerator, tmp_path: Path
) -> None:
    def ready() -> float:
        server = KillableServer(tmp_path)
        took = server.cpu_seconds()
        load.run_until_acknowledged(server, 100)
        return took

    # What a start takes without any events is Python's.
    empty = min(ready(), ready())
    insert_million_events(tmp_path)
    assert min(ready(), ready()) - empty < READY


@pytest.mark.long
@pytest.mark.parametrize("_", range(10))
def test_every_202_was_true_over_200_kills(load: LoadGenerator, tmp_path: Path, _: int) -> None:
    kill_and_check(load, tmp_path, 20)
