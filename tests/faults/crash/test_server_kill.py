"""A server killed under load loses no acknowledged event, and starts again at once."""

import random
import sqlite3
from functools import partial
from pathlib import Path

import pytest

from tests.support.faults.page_visitors import PageVisitors
from tests.support.faults.server_load import KillableServer, LoadGenerator, new_load
from tests.support.programs.log_sender import count_missing, insert_million_events

MAX_START_CPU_SECONDS = 1.0


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
        else:  # late enough for impressions of this start to be on disk
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


def test_acknowledged_events_survive_server_kill(load: LoadGenerator, tmp_path: Path) -> None:
    visitors = kill_and_check(load, tmp_path, 20)
    assert len(load.transcript.acknowledged) > 500
    assert len(visitors.acknowledged) > 50
    assert visitors.durable_views > 20


@pytest.mark.parametrize("changes", ["acknowledge_before_commit", "ignore_sender_ids"])
def test_loss_or_repetition_is_detected(load: LoadGenerator, tmp_path: Path, changes: str) -> None:
    with pytest.raises(AssertionError):
        kill_and_check(load, tmp_path, 8, changes)


def test_killed_server_with_million_events_starts_within_a_second(
    load: LoadGenerator, tmp_path: Path
) -> None:
    def start_cpu_seconds() -> float:
        server = KillableServer(tmp_path)
        seconds = server.cpu_seconds()
        load.run_until_acknowledged(server, 100)
        return seconds

    # Python's own start.
    empty = min(start_cpu_seconds(), start_cpu_seconds())
    insert_million_events(tmp_path)
    assert min(start_cpu_seconds(), start_cpu_seconds()) - empty < MAX_START_CPU_SECONDS


@pytest.mark.long
@pytest.mark.parametrize("_", range(10))
def test_acknowledged_events_survive_200_server_kills(
    load: LoadGenerator, tmp_path: Path, _: int
) -> None:
    kill_and_check(load, tmp_path, 20)
