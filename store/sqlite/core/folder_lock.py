"""Exclusive lock of a data folder for one process."""

import errno
import fcntl
import os
from pathlib import Path

from store.api.errors import StoreBusy, StoreError

LOCK_FILE = "lock"
# Errors of flock on file systems that cannot lock a directory, such as NFS.
UNSUPPORTED_ERRNOS = {errno.EBADF, errno.EINVAL, errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS}


class FolderLock:
    """Lock of a data folder until `release`, or until the process ends.

    It locks the folder, because the file `lock` in it can be deleted, and also that file, because
    not every file system can lock folders. The file contains the holder's pid and is never deleted.
    """

    def __init__(self, folder: Path) -> None:
        """Lock the folder; create it, accessible only to its owner, if it is missing.

        Raises `StoreBusy` with the holder's pid, or `StoreError` if the folder cannot be used.
        """
        self.path = folder / LOCK_FILE
        self._files: list[int] = []
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._take(os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
            file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            self._take(file)
            os.ftruncate(file, 0)
            os.pwrite(file, f"{os.getpid()}\n".encode(), 0)
        except BlockingIOError:
            self.release()
            raise StoreBusy(
                f"{folder} is in use by process {self._holder()}: one server, or one command "
                "without a server, at a time"
            ) from None
        except (FileExistsError, NotADirectoryError) as error:
            self.release()
            raise StoreError(f"{folder} cannot be used: it is not a folder") from error
        except OSError as error:
            self.release()
            raise StoreError(f"{folder} cannot be used: {error.strerror}") from error

    def release(self) -> None:
        """Release the lock."""
        while self._files:
            os.close(self._files.pop())

    def _take(self, file: int) -> None:
        self._files.append(file)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise
        except OSError as error:
            if error.errno not in UNSUPPORTED_ERRNOS or len(self._files) > 1:
                raise

    def _holder(self) -> str:
        try:
            pid = self.path.read_text("ascii", "replace").strip()
        except OSError:
            pid = ""
        return pid or "unknown"

    def __enter__(self) -> "FolderLock":
        return self

    def __exit__(self, *_: object) -> None:
        self.release()
