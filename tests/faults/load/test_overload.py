"""Overload of a slow disk: excess requests get 503, and memory stays bounded."""

import asyncio
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from shutil import which

import pytest

from tests.support import ROOT
from tests.support.faults.overload_senders import OverloadTally, SenderGroup, run_overload
from tests.support.faults.server_load import KillableServer, LoadGenerator, new_load

MAX_GROWTH_MIB = 64
SENDERS = [
    SenderGroup(400, 250_000, pause=0.5),
    SenderGroup(100, 100_000),
    SenderGroup(100, 300, lines=100),
    SenderGroup(60, 2_000, lines=60),
    SenderGroup(24, 300, lines=2_500),  # larger than the body limit of fast routes: streamed
    SenderGroup(200, 300),
]
WARM_UP_SENDERS = [SenderGroup(4, pad, lines) for _, pad, lines, _ in SENDERS] + [
    SenderGroup(8, 300, lines=100)
]


@pytest.fixture
def slow_disk(tmp_path: Path) -> dict[str, str]:
    """Return an environment in which each sync takes 50 ms longer."""
    if which("gcc") is None:
        pytest.skip("gcc is missing, which compiles the shim")
    library = tmp_path / "slow.so"
    source = ROOT / "tests/support/faults/slow_disk.c"
    command = ["gcc", "-shared", "-fPIC", "-O2", "-o", str(library), str(source), "-ldl"]
    subprocess.run(command, check=True, timeout=240)
    return {"LD_PRELOAD": str(library), "SLOW_SYNC": "50000"}


@pytest.fixture
def load(tmp_path: Path) -> LoadGenerator:
    return new_load(tmp_path / "data")


@contextmanager
def running_server(
    load: LoadGenerator, data: Path, changes: str = "", **environment: str
) -> Iterator[KillableServer]:
    server = KillableServer(data, changes=changes, **environment)
    try:
        yield server
    finally:
        server.kill()


@contextmanager
def memory_peak(server: KillableServer) -> Iterator[Callable[[], float]]:
    """Yield a function that returns the maximum memory of the server in MiB since the start."""
    peak, ended = [server.resident_mib()], threading.Event()

    def watch() -> None:
        while not ended.wait(0.02):
            peak[0] = max(peak[0], server.resident_mib())

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield lambda: peak[0]
    finally:
        ended.set()
        watcher.join()


def send_and_compare_counts(
    server: KillableServer,
    load: LoadGenerator,
    seconds: float,
    groups: list[SenderGroup],
    patience: float = 120,
    is_enough: Callable[[OverloadTally], bool] = lambda _: True,
) -> OverloadTally:
    """Overload a server; check that it counted what the senders counted."""
    before = server.event_counts()
    first = before["received"] * 1_000_000
    tally = asyncio.run(run_overload(server.port, load.token, seconds, groups, first, is_enough))
    assert set(tally.statuses) <= {"202", "503"}, tally.statuses
    end = time.monotonic() + patience
    while True:  # the next commit counts refused events
        after = server.event_counts()
        changes = {name: after[name] - before[name] for name in after}
        expected = {
            "stored": tally.items["accepted"],
            "refused": tally.items["refused"],
            "duplicate": 0,
            "rejected": 0,
        }
        if changes == {"received": sum(expected.values()), **expected}:
            return tally
        assert time.monotonic() < end, (changes, expected)
        time.sleep(0.1)


def has_accepted_and_refused(tally: OverloadTally) -> bool:
    return tally.statuses["202"] > 10 and tally.statuses["503"] > 10


def test_fivefold_overload_costs_at_most_64_mib(
    load: LoadGenerator, slow_disk: dict[str, str], tmp_path: Path
) -> None:
    with running_server(load, tmp_path / "data", **slow_disk) as server:
        send_and_compare_counts(server, load, 3, WARM_UP_SENDERS)
        warm = server.resident_mib()
        with memory_peak(server) as peak:
            tally = send_and_compare_counts(
                server,
                load,
                4,
                SENDERS,
                is_enough=lambda tally: (
                    has_accepted_and_refused(tally) and tally.sent_bytes > 5 * tally.accepted_bytes
                ),
            )
            assert tally.sent_bytes > 5 * tally.accepted_bytes, tally
            assert has_accepted_and_refused(tally), tally
            assert peak() - warm < MAX_GROWTH_MIB, (peak(), warm, tally.statuses)
        # The server recovers at once.
        calm = send_and_compare_counts(
            server, load, 0.5, [SenderGroup(4, 300), SenderGroup(4, 300, lines=100)]
        )
        assert set(calm.statuses) == {"202"}


def test_unlimited_memory_budget_costs_more_than_64_mib(
    load: LoadGenerator, slow_disk: dict[str, str], tmp_path: Path
) -> None:
    with running_server(load, tmp_path / "data", "accept_any_body", **slow_disk) as server:
        send_and_compare_counts(server, load, 1, WARM_UP_SENDERS)
        warm = server.resident_mib()
        with memory_peak(server) as peak:

            def has_grown(_: object = None) -> bool:
                return peak() - warm > MAX_GROWTH_MIB

            asyncio.run(run_overload(server.port, load.token, 2, SENDERS, 10_000_000, has_grown))
            assert has_grown()


SMALL_LIMITS = {"MARQUEE_QUEUE_BYTES": "2000000", "MARQUEE_HELD_BYTES": "1048576"}
LIGHT_SENDERS = [
    SenderGroup(20, 100_000, pause=0.1),
    SenderGroup(20, 300, lines=100),
    SenderGroup(4, 300, lines=1_500),
    SenderGroup(20, 300),
]


@pytest.mark.parametrize("kind", ["wire", "tornado"])
def test_refused_requests_get_503_and_are_counted(
    load: LoadGenerator, slow_disk: dict[str, str], tmp_path: Path, kind: str
) -> None:
    with running_server(
        load, tmp_path / "data", MARQUEE_SERVER=kind, **slow_disk, **SMALL_LIMITS
    ) as server:
        tally = send_and_compare_counts(
            server, load, 2.5, LIGHT_SENDERS, is_enough=has_accepted_and_refused
        )
        assert has_accepted_and_refused(tally), tally


def test_uncounted_refused_requests_are_detected(
    load: LoadGenerator, slow_disk: dict[str, str], tmp_path: Path
) -> None:
    with (
        running_server(
            load, tmp_path / "data", "count_no_refused_events", **slow_disk, **SMALL_LIMITS
        ) as server,
        pytest.raises(AssertionError, match="refused"),
    ):
        send_and_compare_counts(server, load, 2.5, LIGHT_SENDERS, patience=1)
