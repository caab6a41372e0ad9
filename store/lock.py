"""One process at a time for a data folder."""

import fcntl
import os
from pathlib import Path

from store.errors import StoreBusy, StoreError

LOCK = "lock"


class Lock:
    """Holds a data folder by the file `lock` in it, with the holder's pid; `release` lets go.

    The kernel lets go too when the process ends, however it ends; the file stays.
    """

    def __init__(self, folder: Path) -> None:
        """Take the folder, made for its owner alone if it is missing.

        Raises `StoreBusy`, naming who holds it, or `StoreError` if it can't be used.
        """
        self.path = folder / LOCK
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except FileExistsError as error:
            raise StoreError(f"{folder} cannot be used: it is no folder") from error
        except OSError as error:
            raise StoreError(f"{folder} cannot be used: {error.strerror}") from error
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pid = os.pread(self._file, 20, 0).decode("ascii", "replace").strip() or "unknown"
            os.close(self._file)
            raise StoreBusy(
                f"{folder} is in use by process {pid}: one server, or one command without a "
                "server, at a time"
            ) from None
        os.ftruncate(self._file, 0)
        os.pwrite(self._file, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        """Let go."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def __enter__(self) -> "Lock":
        return self

    def __exit__(self, *_: object) -> None:
        self.release()
