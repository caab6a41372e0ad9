"""What a data folder holds, by name; and how one is opened that a restore or a loss left broken.

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
# All that a restore replaces. The database goes first and comes last: a WAL beside another
# database would be played into it.
STATE = (*(DATABASE + end for end in BESIDE), *(VIEWS + end for end in BESIDE), IMAGES)
# A restore under way, and the file in it that says that the copy is complete.
PART, READY = ".restoring", "ready.json"


class Ready(msgspec.Struct, frozen=True):
    """Where a restore moves what it replaces: a name in the data folder."""

    aside: str


def mark_ready(data: Path, aside: str) -> None:
    """Note, on disk, that the copy in `.restoring` is complete: from now on it counts."""
    with (data / PART / READY).open("wb") as file:
        file.write(msgspec.json.encode(Ready(aside)))
        file.flush()
        os.fsync(file.fileno())
    _sync(data / PART)
    _sync(data)


def finish(data: Path) -> None:
    """Finish a restore that was cut off after its copy was complete; else do nothing.

    The caller holds the folder's lock. Raises `OSError`.
    """
    if (ready := _ready(data)) is None:
        return
    part, aside = data / PART, data / ready.aside
    # Whatever stands in the place of what is still in `.restoring` is the old one.
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
    """Take a restore back that could not be finished: all is where it was. Raises `OSError`."""
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
    """Finish a restore that was cut off, and see that a new installation replaces no other one.

    The caller holds the folder's lock. Raises `StoreError`, with what to do, if the folder has
    traces of an installation, and no database.
    """
    if _ready(data) is not None:
        try:
            finish(data)
        except OSError as error:
            raise StoreError(
                f"a restore into {data} was cut off and cannot be finished: {error}; when that is "
                "mended, start again"
            ) from error
        LOG.warning("finished a restore that was cut off data=%s", data)
    database = data / DATABASE
    if database.exists() and database.stat().st_size:
        return
    if found := traces(data):
        what = "is empty" if database.exists() else "is missing"
        raise StoreError(
            f"{database} {what}, but {data} has {', '.join(found)}: nothing is begun anew in what "
            "is left of an installation. Put a backup back (restore BACKUP --replace), or name "
            "another folder with --data"
        )


def traces(data: Path) -> list[str]:
    """Return the names in a folder that only an installation leaves there."""
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
