"""Names in a data folder, and how to open one after an interrupted restore or a loss.

A restore puts a complete copy into `.restoring`, marks it as ready, and then moves what is there
aside and the copy into place. Once it is marked, it can be finished from any point at which it was
cut off, and a start does so: `finish`.
"""

import logging
import os
import shutil
from pathlib import Path

import msgspec

from store.errors import StoreError

LOG = logging.getLogger("marquee.data")

DATABASE, VIEWS, IMAGES, SOCKET = "marquee.db", "views.db", "images", "marquee.sock"
BACKUPS, LAST_BACKUP, UPLOADS = "backups", "last-backup.json", "uploads"
BESIDE = ("", "-wal", "-shm")
# What a restore replaces. The database is moved away first and put back last: SQLite would
# apply a WAL to whichever database stands beside it.
STATE = (*(DATABASE + end for end in BESIDE), *(VIEWS + end for end in BESIDE), IMAGES)
# The folder of a restore in progress, and the file in it that marks the copy as complete.
PART, READY = ".restoring", "ready.json"


class Ready(msgspec.Struct, frozen=True):
    """Where a restore moves what it replaces: a name in the data folder."""

    aside: str


def mark_ready(data: Path, aside: str) -> None:
    """Mark the copy in `.restoring` as complete, durably: from now on it is finished."""
    with (data / PART / READY).open("wb") as file:
        file.write(msgspec.json.encode(Ready(aside)))
        file.flush()
        os.fsync(file.fileno())
    _sync(data / PART)
    _sync(data)


def finish(data: Path) -> None:
    """Finish a restore that was interrupted after its copy was complete; else do nothing.

    The caller holds the folder's lock. Raises `OSError`.
    """
    if (ready := _ready(data)) is None:
        return
    part, aside = data / PART, data / ready.aside
    # A file still in `.restoring` has not been moved: its name in the data folder is the old file.
    if (part / DATABASE).exists():
        for name in STATE:
            if name == IMAGES and not (part / IMAGES).exists():
                continue
            if _there(data / name):
                aside.mkdir(mode=0o700, exist_ok=True)
                (data / name).rename(aside / name)
        if (part / IMAGES).exists():
            (part / IMAGES).rename(data / IMAGES)
        (part / DATABASE).rename(data / DATABASE)
    _sync(data)
    (part / READY).unlink()
    shutil.rmtree(part, ignore_errors=True)


def go_back(data: Path) -> None:
    """Revert a restore that could not be finished. Raises `OSError`."""
    if (ready := _ready(data)) is None:
        return
    part, aside = data / PART, data / ready.aside
    if not (part / IMAGES).exists() and _there(data / IMAGES):
        (data / IMAGES).rename(part / IMAGES)
    # The database comes last, as it went first.
    for name in reversed(STATE):
        if _there(aside / name):
            (aside / name).rename(data / name)
    if aside.exists():
        aside.rmdir()
    _sync(data)
    (part / READY).unlink()
    shutil.rmtree(part, ignore_errors=True)


def prepare(data: Path) -> None:
    """Finish an interrupted restore; refuse a folder with the rest of an installation.

    The caller holds the folder's lock. Raises `StoreError`, with what to do, if the folder has
    traces of an installation, and no database.
    """
    if _ready(data) is not None:
        try:
            finish(data)
        except OSError as error:
            raise StoreError(
                f"an interrupted restore into {data} cannot be finished: {error}; when that is "
                "mended, start again"
            ) from error
        LOG.warning("finished an interrupted restore data=%s", data)
    database = data / DATABASE
    if database.exists() and database.stat().st_size:
        return
    if found := traces(data):
        what = "is empty" if database.exists() else "is missing"
        raise StoreError(
            f"{database} {what}, but {data} has {', '.join(found)} of an installation: restore a "
            "backup (restore BACKUP --replace), or use another folder with --data"
        )


def traces(data: Path) -> list[str]:
    """Return the names in a folder that only an installation creates."""
    names = [*STATE, BACKUPS, LAST_BACKUP, UPLOADS, PART]
    names += sorted(path.name for path in data.glob("replaced-*"))
    return [name for name in names if name != DATABASE and _filled(data / name)]


def _filled(path: Path) -> bool:
    # An empty folder may be where a volume is mounted.
    return any(path.iterdir()) if path.is_dir() else _there(path)


def _there(path: Path) -> bool:
    return path.exists() or path.is_symlink()


def _ready(data: Path) -> Ready | None:
    try:
        return msgspec.json.decode((data / PART / READY).read_bytes(), type=Ready)
    except (OSError, msgspec.DecodeError):
        return None


def _sync(folder: Path) -> None:
    file = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)
