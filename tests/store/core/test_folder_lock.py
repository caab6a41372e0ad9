"""One process at a time for a data folder."""

import errno
import fcntl
import os
import shutil
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from store.api.errors import StoreBusy, StoreError
from store.sqlite.core.folder_lock import FolderLock

HOLD = (
    "import sys, time; from pathlib import Path; "
    "from store.sqlite.core.folder_lock import FolderLock; "
    "lock = FolderLock(Path(sys.argv[1])); print('held', flush=True); time.sleep(60)"
)


def test_a_folder_is_held_once_and_can_be_held_again_when_let_go(tmp_path: Path) -> None:
    with FolderLock(tmp_path / "data") as lock:
        assert lock.path.read_text() == f"{os.getpid()}\n"
        assert (tmp_path / "data").stat().st_mode & 0o777 == 0o700
        with pytest.raises(StoreBusy, match=f"in use by process {os.getpid()}:"):
            FolderLock(tmp_path / "data")
    FolderLock(tmp_path / "data").release()


def test_another_process_is_named_and_holds_no_longer_than_it_lives(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", HOLD, tmp_path], stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"held\n"
        with pytest.raises(StoreBusy, match=f"in use by process {other.pid}:"):
            FolderLock(tmp_path)
        other.send_signal(signal.SIGKILL)
    FolderLock(tmp_path).release()


def test_a_folder_that_is_none_is_told_by_name(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file")
    with pytest.raises(StoreError, match="data cannot be used: it is not a folder"):
        FolderLock(tmp_path / "data")


def test_a_folder_whose_lock_file_is_removed_or_replaced_stays_held(tmp_path: Path) -> None:
    with FolderLock(tmp_path / "data") as lock:
        lock.path.unlink()
        with pytest.raises(StoreBusy, match="in use by process unknown:"):
            FolderLock(tmp_path / "data")
        assert not lock.path.exists()
        lock.path.write_text("4711\n")
        with pytest.raises(StoreBusy, match="in use by process 4711:"):
            FolderLock(tmp_path / "data")


def test_a_moved_folder_stays_held_and_a_copied_one_is_free(tmp_path: Path) -> None:
    with FolderLock(tmp_path / "data"):
        (tmp_path / "data").rename(tmp_path / "moved")
        with pytest.raises(StoreBusy, match=f"in use by process {os.getpid()}:"):
            FolderLock(tmp_path / "moved")
        shutil.copytree(tmp_path / "moved", tmp_path / "copied")
        FolderLock(tmp_path / "copied").release()


def test_where_folders_cannot_be_locked_the_file_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flock = fcntl.flock

    def nfs(file: int, operation: int) -> None:
        if stat.S_ISDIR(os.fstat(file).st_mode):
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        flock(file, operation)

    monkeypatch.setattr(fcntl, "flock", nfs)
    with FolderLock(tmp_path / "data"), pytest.raises(StoreBusy, match="in use"):
        FolderLock(tmp_path / "data")


def test_a_lock_that_was_refused_leaves_no_file_open(tmp_path: Path) -> None:
    with FolderLock(tmp_path):
        before = len(os.listdir("/proc/self/fd"))
        with pytest.raises(StoreBusy):
            FolderLock(tmp_path)
        assert len(os.listdir("/proc/self/fd")) == before
