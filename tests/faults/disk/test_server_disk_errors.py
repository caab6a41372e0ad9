"""A server whose disk fails at one write or sync, or from one on: it goes on, or ends and says why.

Either way its senders hear 202 of what is kept, and nothing but 503 with `Retry-After` of the rest.
"""

import errno
import shutil
from itertools import product
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.support.faults.server_load import KillableServer, LoadGenerator, StartFailed, new_load

KILLED = -9  # by the test, as it was well
FULL, BROKEN = errno.ENOSPC, errno.EIO


class Whole(NamedTuple):
    """A folder with an app in it, and the app's token."""

    folder: Path
    token: str


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Whole:
    folder = tmp_path_factory.mktemp("whole") / "data"
    return Whole(folder, new_load(folder).token)


class Tried(NamedTuple):
    """What became of a server whose call of a number failed."""

    status: int
    acknowledged: int
    missing: int
    log: str


def tried(
    whole: Whole, shim: Path, folder: Path, fault: tuple[int, int, bool], changes: str = ""
) -> Tried:
    """Serve and send, with the fault (number, errno, ever); then start again on a well disk."""
    shutil.rmtree(folder, ignore_errors=True)
    data, log = folder / "data", folder / "log"
    shutil.copytree(whole.folder, data)
    number, error, ever = fault
    environ = {
        "LD_PRELOAD": str(shim),
        "DISK_FOLDER": str(data),
        "DISK_JOURNAL": "/dev/null",
        "DISK_FAULT_AT": f"{number} {error} {int(ever)}",
    }
    load = LoadGenerator(whole.token)
    load.is_503_allowed = True
    try:
        server = KillableServer(data, changes=changes, log=log, **environ)
    except StartFailed as error:
        status = error.status
    else:
        # A fault of one of its first calls is behind it then; for others it ends.
        load.run(server, 120, until=lambda: len(load.transcript.acknowledged) > 1_500)
        status = server.process.returncode
    KillableServer(data).kill()  # it starts again
    return Tried(
        status, len(load.transcript.acknowledged), load.count_missing(data), log.read_text()
    )


def wrong(fault: tuple[int, int, bool], of: Tried) -> str:
    """What should not have been; nothing if all is well."""
    _, error, ever = fault
    said = f"{fault}: {of}"
    if of.missing or "Traceback" in of.log:
        return said
    if of.status == KILLED:
        # A disk that was full for a moment is written again.
        return said if error == FULL and not ever and of.acknowledged < 100 else ""
    words = [line for line in of.log.splitlines() if "CRITICAL" in line or "marquee: " in line]
    return "" if of.status == 1 and words else said


CASES = [
    # Few, and then each seventh of the first 300.
    pytest.param([37, 240], id="few"),
    pytest.param(range(1, 301, 7), id="many", marks=pytest.mark.long),
]


@pytest.mark.parametrize("error", [FULL, BROKEN], ids=["ENOSPC", "EIO"])
@pytest.mark.parametrize("numbers", CASES)
def test_a_server_outlives_a_failing_disk_or_ends_and_says_why(
    whole: Whole, shim: Path, tmp_path: Path, numbers: list[int], error: int
) -> None:
    once_and_ever = [(number, error, ever) for number, ever in product(numbers, (False, True))]
    if len(numbers) < 10:
        once_and_ever = once_and_ever[::3]
    found = (wrong(each, tried(whole, shim, tmp_path / "x", each)) for each in once_and_ever)
    assert [each for each in found if each] == []


@pytest.mark.parametrize(
    "changes",
    ["acknowledge_failed_commits", pytest.param("ignore_disk_errors", marks=pytest.mark.long)],
)
def test_the_same_test_sees_it_when_a_guard_is_taken_out(
    whole: Whole, shim: Path, tmp_path: Path, changes: str
) -> None:
    fault = (200, FULL, True)
    assert wrong(fault, tried(whole, shim, tmp_path / "x", fault, changes))
