"""Every write and sync of a log and its views fails once: `python failing_calls.py FOLDER …`.

Run with the shim preloaded. For each case a fork of this process opens a new data folder, in which
the call of that number fails, and sends to it; then another one, on a disk that is well again,
looks what is there. What is wrong is printed, a line each.

python failing_calls.py FOLDER FIRST LAST STEP [GUARD]: GUARD names one that is taken out.
"""

import asyncio
import contextlib
import ctypes
import errno
import os
import shutil
import sqlite3
import sys
import traceback
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).parents[3]))

from store.api.errors import StoreError, StoreFailed
from store.sqlite.core.database import Database
from store.sqlite.events.event_log import EventLog
from store.sqlite.events.event_queries import EventFilter, EventQueries
from store.sqlite.projections.projections import Projections
from tests.support.programs.altered_server import CHANGES
from tests.support.programs.log_sender import SendTranscript, count_missing, transcript_event

SHIM = ctypes.CDLL(None)
COMMITS, EVENTS_PER_COMMIT = 60, 4  # commits, and events of each
TIMEOUT_SECONDS = 20


class FaultCase(NamedTuple):
    """Which call fails, how, and whether all that follow do."""

    number: int
    error: int
    ever: bool


async def send_with_fault(folder: Path, told: int, case: FaultCase) -> None:
    """Send, and tell what was acknowledged; what is refused must be so in our own words."""
    SHIM.disk_fault_at(ctypes.c_long(case.number), int(case.ever), case.error)
    try:
        data = await Database.open(folder / "marquee.db")
        log = await EventLog.open(data)
        views = await Projections.open(data, folder / "views.db")
    except StoreError:
        return
    acked_last = 0
    for turn in range(COMMITS):
        keys = [f"{turn}.{number}" for number in range(EVENTS_PER_COMMIT)]
        os.write(told, "".join(f"s {key}\n" for key in keys).encode())
        try:
            outcomes = await log.append([transcript_event(key) for key in keys])
        except StoreError:
            continue
        acked_last = turn
        pairs = zip(keys, outcomes, strict=True)
        os.write(told, "".join(f"a {key} {each[0]}\n" for key, each in pairs).encode())
        if turn % 5 == 4:
            with contextlib.suppress(StoreError, sqlite3.Error):
                await views.step()
        if turn in (19, 39):
            with contextlib.suppress(StoreError):
                await views.rebuild(lambda _: None)
    # After a failed sync nobody knows what the disk has: that ends it, whatever the error.
    synced = SHIM.disk_failed() == ord("s")
    if case.error == errno.ENOSPC and not case.ever and not synced:
        assert acked_last == COMMITS - 1, "room again, and still nothing is taken"
    assert case.number or SHIM.disk_calls() > 400, "there are not so many calls"
    if isinstance(data.failed, StoreFailed):
        os._exit(0)  # as the server does
    if not case.ever:
        await check_recovery(data, views)
    with contextlib.suppress(StoreError, sqlite3.Error):
        await views.close()
    await data.close()


async def check_recovery(data: Database, views: Projections) -> None:
    """Views of which one call failed have all events soon, without a restart."""
    with contextlib.suppress(StoreError):
        await views.mend()
    while await views.step():
        pass
    (count,) = await data.read(lambda it: it.execute("SELECT count(*) FROM event").fetchone())
    page = await EventQueries(data, views).find(
        EventFilter(), limit=COMMITS * EVENTS_PER_COMMIT + 1
    )
    assert len(page.events) == count, "not all are found"


async def check_next_start(folder: Path, told: SendTranscript) -> None:
    """The next start works, with all that was acknowledged, also in the views."""
    data = await Database.open(folder / "marquee.db")
    views = await Projections.open(data, folder / "views.db")
    await views.catch_up()
    folded = await views.read(lambda it: it.execute("SELECT count(*) FROM by_app").fetchone())
    await views.close()
    await data.close()
    connection = sqlite3.connect(folder / "marquee.db")
    try:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert count_missing(connection, told) == 0, "acknowledged, and gone"
        assert folded == connection.execute("SELECT count(*) FROM event").fetchone()
    finally:
        connection.close()


def run_in_fork(work: Callable[[], object]) -> bool:
    """Do it in a fork of this process; whether it went well."""
    child = os.fork()
    if not child:
        try:
            work()
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
    return os.waitpid(child, 0)[1] == 0


def is_case_ok(folder: Path, case: FaultCase) -> bool:
    """Whether all that has to hold does."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    path = folder.with_name("told")
    path.unlink(missing_ok=True)
    told = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND)

    async def within(work: "asyncio._CoroutineLike[None]") -> None:
        await asyncio.wait_for(work, TIMEOUT_SECONDS)

    sent = run_in_fork(lambda: asyncio.run(within(send_with_fault(folder, told, case))))
    os.close(told)
    lines = SendTranscript(path.read_text())
    return sent and run_in_fork(lambda: asyncio.run(within(check_next_start(folder, lines))))


def main(folder: Path, first: int, last: int, step: int, guard: str = "") -> None:
    if guard:
        CHANGES[guard]()
    assert guard or is_case_ok(folder / "data", FaultCase(0, 0, False))
    for number, error, ever in product(
        range(first, last + 1, step), (errno.ENOSPC, errno.EIO, errno.EROFS), (False, True)
    ):
        case = FaultCase(number, error, ever)
        if not is_case_ok(folder / "data", case):
            print(
                f"{case.number} {errno.errorcode[error]} {'ever' if ever else 'once'}", flush=True
            )


if __name__ == "__main__":
    main(Path(sys.argv[1]), *map(int, sys.argv[2:5]), *sys.argv[5:])
