"""One process at a time for a data folder."""

import errno
import fcntl
import os
from pathlib import Path

from store.api.errors import StoreBusy, StoreError

LOCK_FILE = "lock"


# Errors of flock where a directory cannot be locked, as on NFS.
UNSUPPORTED_ERRNOS = {errno.EBADF, errno.EINVAL, errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS}


class FolderLock:
    """Holds a data folder; `release` lets go, as the kernel does when the process ends.

    Both the folder and the file `lock` in it are locked: the folder, as the file can be removed,
    and the file, as not every file system locks folders. The file has the holder's pid, and stays.
    """

    def __init__(self, folder: Path) -> None:
        """Take the folder, made for its owner alone if it is missing.

        Raises `StoreBusy`, naming who holds it, or `StoreError` if it can't be used.
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
        """Let go."""
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
