"""A server survives a failing write or sync, or exits with a reason.

Senders get 202 only for stored events, and 503 with `Retry-After` for all others.
"""

import errno
import shutil
from itertools import product
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.support.faults.server_load import KillableServer, LoadGenerator, StartFailed, new_load

KILLED = -9  # by the test
FULL, BROKEN = errno.ENOSPC, errno.EIO


class HealthyFolder(NamedTuple):
    """A data folder with an app, and the app's token."""

    folder: Path
    token: str


@pytest.fixture(scope="module")
def healthy_folder(tmp_path_factory: pytest.TempPathFactory) -> HealthyFolder:
    folder = tmp_path_factory.mktemp("whole") / "data"
    return HealthyFolder(folder, new_load(folder).token)


class FaultOutcome(NamedTuple):
    """The outcome of a server with a failing call."""

    status: int
    acknowledged: int
    missing: int
    log: str


def serve_with_fault(
    healthy_folder: HealthyFolder,
    shim: Path,
    folder: Path,
    fault: tuple[int, int, bool],
    changes: str = "",
) -> FaultOutcome:
    """Serve and send with a fault (call, errno, is_permanent); then start on a healthy disk."""
    shutil.rmtree(folder, ignore_errors=True)
    data, log = folder / "data", folder / "log"
    shutil.copytree(healthy_folder.folder, data)
    call, error, is_permanent = fault
    environment = {
        "LD_PRELOAD": str(shim),
        "DISK_FOLDER": str(data),
        "DISK_JOURNAL": "/dev/null",
        "DISK_FAULT_AT": f"{call} {error} {int(is_permanent)}",
    }
    load = LoadGenerator(healthy_folder.token)
    load.is_503_allowed = True
    try:
        server = KillableServer(data, changes=changes, log=log, **environment)
    except StartFailed as error:
        status = error.status
    else:
        # By then the call has failed, and a permanent fault has ended the server.
        load.run(server, 120, until=lambda: len(load.transcript.acknowledged) > 1_500)
        status = server.process.returncode
    KillableServer(data).kill()  # the next start must succeed
    return FaultOutcome(
        status, len(load.transcript.acknowledged), load.count_missing(data), log.read_text()
    )


def describe_failure(fault: tuple[int, int, bool], outcome: FaultOutcome) -> str:
    """Return a description of a wrong outcome, or an empty string."""
    _, error, is_permanent = fault
    description = f"{fault}: {outcome}"
    if outcome.missing or "Traceback" in outcome.log:
        return description
    if outcome.status == KILLED:
        # The server must store events again after a full disk has space.
        is_stuck = error == FULL and not is_permanent and outcome.acknowledged < 100
        return description if is_stuck else ""
    reasons = [
        line for line in outcome.log.splitlines() if "CRITICAL" in line or "marquee: " in line
    ]
    return "" if outcome.status == 1 and reasons else description


CASES = [
    pytest.param([37, 240], id="few"),
    pytest.param(range(1, 301, 7), id="many", marks=pytest.mark.long),
]


@pytest.mark.parametrize("error", [FULL, BROKEN], ids=["ENOSPC", "EIO"])
@pytest.mark.parametrize("calls", CASES)
def test_server_survives_disk_error_or_exits_with_reason(
    healthy_folder: HealthyFolder, shim: Path, tmp_path: Path, calls: list[int], error: int
) -> None:
    faults = [(call, error, is_permanent) for call, is_permanent in product(calls, (False, True))]
    if len(calls) < 10:
        faults = faults[::3]
    found = (
        describe_failure(each, serve_with_fault(healthy_folder, shim, tmp_path / "x", each))
        for each in faults
    )
    assert [each for each in found if each] == []


@pytest.mark.parametrize(
    "changes",
    ["acknowledge_failed_commits", pytest.param("ignore_disk_errors", marks=pytest.mark.long)],
)
def test_ignored_disk_errors_are_detected(
    healthy_folder: HealthyFolder, shim: Path, tmp_path: Path, changes: str
) -> None:
    fault = (200, FULL, True)
    assert describe_failure(
        fault, serve_with_fault(healthy_folder, shim, tmp_path / "x", fault, changes)
    )
