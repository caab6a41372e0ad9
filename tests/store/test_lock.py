"""One process at a time for a data folder."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from store.errors import StoreBusy, StoreError
from store.lock import Lock

HOLD = (
    "import sys, time; from pathlib import Path; from store.lock import Lock; "
    "lock = Lock(Path(sys.argv[1])); print('held', flush=True); time.sleep(60)"
)


def test_a_folder_is_held_once_and_can_be_held_again_when_let_go(tmp_path: Path) -> None:
    with Lock(tmp_path / "data") as lock:
        assert lock.path.read_text() == f"{os.getpid()}\n"
        assert (tmp_path / "data").stat().st_mode & 0o777 == 0o700
        with pytest.raises(StoreBusy, match=f"in use by process {os.getpid()}:"):
            Lock(tmp_path / "data")
    Lock(tmp_path / "data").release()


def test_another_process_is_named_and_holds_no_longer_than_it_lives(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", HOLD, tmp_path], stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"held\n"
        with pytest.raises(StoreBusy, match=f"in use by process {other.pid}:"):
            Lock(tmp_path)
        other.send_signal(signal.SIGKILL)
    Lock(tmp_path).release()


def test_a_folder_that_is_none_is_told_by_name(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file")
    with pytest.raises(StoreError, match="data cannot be used: it is no folder"):
        Lock(tmp_path / "data")
