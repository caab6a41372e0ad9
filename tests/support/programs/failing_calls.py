"""Make every write and sync of an event log and its projections fail once.

`python failing_calls.py FOLDER FIRST LAST STEP [CHANGE]`, with the shim of disk_journal.c
preloaded. CHANGE names a change of altered_server.py. For each case a fork of this process opens a
new data folder, in which the call of that number fails, and appends events; another fork then
checks the folder on a healthy disk. It prints a line per failed case.
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
from collections.abc import Callable, Coroutine
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).parents[3]))

from store.api.errors import StoreError, StoreFailed
from store.sqlite.core.database import Database
from store.sqlite.events.event_log import EventLog
from store.sqlite.events.event_queries import EventQueries
from store.sqlite.events.event_records import EventFilter
from store.sqlite.projections.projections import Projections
from tests.support.programs.altered_server import CHANGES
from tests.support.programs.log_sender import SendTranscript, count_missing, transcript_event

SHIM = ctypes.CDLL(None)
COMMITS, EVENTS_PER_COMMIT = 60, 4  # commits, and events of each
TIMEOUT_SECONDS = 20


class FaultCase(NamedTuple):
    """The first failing call (0: none), its errno, and whether later calls fail too."""

    call: int
    error: int
    is_permanent: bool


async def send_with_fault(folder: Path, transcript_file: int, case: FaultCase) -> None:
    """Append events and record what was acknowledged; only StoreError may be raised."""
    SHIM.disk_fault_at(ctypes.c_long(case.call), int(case.is_permanent), case.error)
    try:
        data = await Database.open(folder / "marquee.db")
        log = await EventLog.open(data)
        projections = await Projections.open(data, folder / "views.db")
    except StoreError:
        return
    last_acknowledged = 0
    for commit in range(COMMITS):
        keys = [f"{commit}.{number}" for number in range(EVENTS_PER_COMMIT)]
        os.write(transcript_file, "".join(f"s {key}\n" for key in keys).encode())
        try:
            outcomes = await log.append([transcript_event(key) for key in keys])
        except StoreError:
            continue
        last_acknowledged = commit
        pairs = zip(keys, outcomes, strict=True)
        os.write(transcript_file, "".join(f"a {key} {each[0]}\n" for key, each in pairs).encode())
        if commit % 5 == 4:
            with contextlib.suppress(StoreError, sqlite3.Error):
                await projections.step()
        if commit in (19, 39):
            with contextlib.suppress(StoreError):
                await projections.rebuild(lambda _: None)
    # After a failed sync the content of the disk is unknown, so any error of it is permanent.
    has_sync_failed = SHIM.disk_failed() == ord("s")
    if case.error == errno.ENOSPC and not case.is_permanent and not has_sync_failed:
        assert last_acknowledged == COMMITS - 1, (
            "events are refused although the disk has space again"
        )
    assert case.call or SHIM.disk_calls() > 400, "fewer calls than the tests expect"
    if isinstance(data.failed, StoreFailed):
        os._exit(0)  # as the server does
    if not case.is_permanent:
        await check_recovery(data, projections)
    with contextlib.suppress(StoreError, sqlite3.Error):
        await projections.close()
    await data.close()


async def check_recovery(data: Database, projections: Projections) -> None:
    """Check that projections catch up after one failed call without a restart."""
    with contextlib.suppress(StoreError):
        await projections.mend()
    while await projections.step():
        pass
    (count,) = await data.read(lambda it: it.execute("SELECT count(*) FROM event").fetchone())
    page = await EventQueries(data, projections).find(
        EventFilter(), limit=COMMITS * EVENTS_PER_COMMIT + 1
    )
    assert len(page.events) == count, "projections lack events"


async def check_next_start(folder: Path, transcript: SendTranscript) -> None:
    """Check that the next start finds every acknowledged event, in the projections too."""
    data = await Database.open(folder / "marquee.db")
    projections = await Projections.open(data, folder / "views.db")
    await projections.catch_up()
    projected = await projections.read(
        lambda it: it.execute("SELECT count(*) FROM by_app").fetchone()
    )
    await projections.close()
    await data.close()
    connection = sqlite3.connect(folder / "marquee.db")
    try:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert count_missing(connection, transcript) == 0, "acknowledged events are lost"
        assert projected == connection.execute("SELECT count(*) FROM event").fetchone()
    finally:
        connection.close()


def run_in_fork(work: Callable[[], object]) -> bool:
    """Call `work` in a fork of this process; return whether it succeeded."""
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
    """Return whether one case passes all checks."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    path = folder.with_name("transcript")
    path.unlink(missing_ok=True)
    transcript_file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND)

    def run(work: Coroutine[Any, Any, None]) -> None:
        asyncio.run(asyncio.wait_for(work, TIMEOUT_SECONDS))

    is_sent = run_in_fork(lambda: run(send_with_fault(folder, transcript_file, case)))
    os.close(transcript_file)
    transcript = SendTranscript(path.read_text())
    return is_sent and run_in_fork(lambda: run(check_next_start(folder, transcript)))


def main(folder: Path, first: int, last: int, step: int, change: str = "") -> None:
    if change:
        CHANGES[change]()
    assert change or is_case_ok(folder / "data", FaultCase(0, 0, False))
    for call, error, is_permanent in product(
        range(first, last + 1, step), (errno.ENOSPC, errno.EIO, errno.EROFS), (False, True)
    ):
        case = FaultCase(call, error, is_permanent)
        if not is_case_ok(folder / "data", case):
            times = "permanent" if is_permanent else "once"
            print(f"{call} {errno.errorcode[error]} {times}", flush=True)


if __name__ == "__main__":
    first, last, step = map(int, sys.argv[2:5])
    main(Path(sys.argv[1]), first, last, step, *sys.argv[5:])
