"""Far more is sent than a slow disk takes: what is not taken is 503, and memory stays bounded."""

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

MORE = 64  # MiB
SENDERS = [
    SenderGroup(400, 250_000, pause=0.5),
    SenderGroup(100, 100_000),
    SenderGroup(100, 300, lines=100),
    SenderGroup(60, 2_000, lines=60),
    SenderGroup(24, 300, lines=2_500),  # more than a lane takes: streams
    SenderGroup(200, 300),
]
FEW = [SenderGroup(4, pad, lines) for _, pad, lines, _ in SENDERS] + [
    SenderGroup(8, 300, lines=100)
]


@pytest.fixture
def slow(tmp_path: Path) -> dict[str, str]:
    """What makes a server's disk slow: a hundredth of what it could take."""
    if which("gcc") is None:
        pytest.skip("the shim is compiled by gcc, which is missing")
    made = tmp_path / "slow.so"
    source = ROOT / "tests/support/faults/slow_disk.c"
    words = ["gcc", "-shared", "-fPIC", "-O2", "-o", str(made), str(source), "-ldl"]
    subprocess.run(words, check=True, timeout=240)
    return {"LD_PRELOAD": str(made), "SLOW_SYNC": "50000"}


@pytest.fixture
def load(tmp_path: Path) -> LoadGenerator:
    return new_load(tmp_path / "data")


@contextmanager
def served(
    load: LoadGenerator, data: Path, changes: str = "", **environ: str
) -> Iterator[KillableServer]:
    server = KillableServer(data, changes=changes, **environ)
    try:
        yield server
    finally:
        server.kill()


@contextmanager
def watched(server: KillableServer) -> Iterator[Callable[[], float]]:
    """Tells the most memory that the server had meanwhile."""
    most, ended = [server.resident_mib()], threading.Event()

    def watch() -> None:
        while not ended.wait(0.02):
            most[0] = max(most[0], server.resident_mib())

    watching = threading.Thread(target=watch)
    watching.start()
    try:
        yield lambda: most[0]
    finally:
        ended.set()
        watching.join()


def pushed(
    server: KillableServer,
    load: LoadGenerator,
    seconds: float,
    kinds: list[SenderGroup],
    patience: float = 120,
    enough: Callable[[OverloadTally], bool] = lambda _: True,
) -> OverloadTally:
    """What senders were told, which is what the server counted."""
    before = server.event_counts()
    first = before["received"] * 1_000_000
    tally = asyncio.run(run_overload(server.port, load.token, seconds, kinds, first, enough))
    assert set(tally.statuses) <= {"202", "503"}, tally.statuses
    end = time.monotonic() + patience
    while True:  # what was refused is counted by the next commit
        after = server.event_counts()
        gained = {name: after[name] - before[name] for name in after}
        expected = {
            "stored": tally.items["accepted"],
            "refused": tally.items["refused"],
            "duplicate": 0,
            "rejected": 0,
        }
        if gained == {"received": sum(expected.values()), **expected}:
            return tally
        assert time.monotonic() < end, (gained, expected)
        time.sleep(0.1)


def some_of_both(tally: OverloadTally) -> bool:
    return tally.statuses["202"] > 10 and tally.statuses["503"] > 10


def test_five_times_as_much_as_is_taken_costs_no_more_than_64_mib(
    load: LoadGenerator, slow: dict[str, str], tmp_path: Path
) -> None:
    with served(load, tmp_path / "data", **slow) as server:
        pushed(server, load, 3, FEW)
        warm = server.resident_mib()
        with watched(server) as most:
            # On a busy machine, the senders need longer until they have sent so much.
            tally = pushed(
                server,
                load,
                4,
                SENDERS,
                enough=lambda tally: (
                    some_of_both(tally) and tally.sent_bytes > 5 * tally.accepted_bytes
                ),
            )
            assert tally.sent_bytes > 5 * tally.accepted_bytes, tally
            assert some_of_both(tally), tally
            assert most() - warm < MORE, (most(), warm, tally.statuses)
        # And it goes on as if nothing had been.
        calm = pushed(server, load, 0.5, [SenderGroup(4, 300), SenderGroup(4, 300, lines=100)])
        assert set(calm.statuses) == {"202"}


def test_with_room_for_whatever_comes_it_costs_more(
    load: LoadGenerator, slow: dict[str, str], tmp_path: Path
) -> None:
    with served(load, tmp_path / "data", "accept_any_body", **slow) as server:
        pushed(server, load, 1, FEW)
        warm = server.resident_mib()
        with watched(server) as most:

            def grown(_: object = None) -> bool:
                return most() - warm > MORE

            asyncio.run(run_overload(server.port, load.token, 2, SENDERS, 10_000_000, grown))
            assert grown()


SMALL = {"MARQUEE_QUEUE_BYTES": "2000000", "MARQUEE_HELD_BYTES": "1048576"}
SOME = [
    SenderGroup(20, 100_000, pause=0.1),
    SenderGroup(20, 300, lines=100),
    SenderGroup(4, 300, lines=1_500),
    SenderGroup(20, 300),
]


@pytest.mark.parametrize("kind", ["wire", "tornado"])
def test_what_does_not_fit_is_503_and_counted_whatever_the_server(
    load: LoadGenerator, slow: dict[str, str], tmp_path: Path, kind: str
) -> None:
    with served(load, tmp_path / "data", MARQUEE_SERVER=kind, **slow, **SMALL) as server:
        tally = pushed(server, load, 2.5, SOME, enough=some_of_both)
        assert some_of_both(tally), tally


def test_what_is_turned_away_and_not_counted_would_be_missed(
    load: LoadGenerator, slow: dict[str, str], tmp_path: Path
) -> None:
    with (
        served(load, tmp_path / "data", "count_no_refused_events", **slow, **SMALL) as server,
        pytest.raises(AssertionError, match="refused"),
    ):
        pushed(server, load, 2.5, SOME, patience=1)
