"""File names in a data folder, and its recovery after an interrupted restore or a loss.

A restore writes a complete copy into `.restoring`, marks it as ready, moves the existing files
aside and then the copy into place. Once it is marked, `finish_restore` can complete it from any
point of interruption; each start does so.
"""

import logging
import os
import shutil
from pathlib import Path

import msgspec

from store.api.errors import StoreError

LOG = logging.getLogger("marquee.data")

DATABASE_FILE, PROJECTIONS_FILE, IMAGES_FOLDER, CONTROL_SOCKET = (
    "marquee.db",
    "views.db",
    "images",
    "marquee.sock",
)
BACKUPS_FOLDER, LAST_BACKUP_FILE, UPLOADS_FOLDER = "backups", "last-backup.json", "uploads"
SQLITE_SUFFIXES = ("", "-wal", "-shm")
# Files that a restore replaces. The database is moved away first and put back last: SQLite would
# apply a leftover WAL to any database beside it.
INSTALLATION_NAMES = (
    *(DATABASE_FILE + end for end in SQLITE_SUFFIXES),
    *(PROJECTIONS_FILE + end for end in SQLITE_SUFFIXES),
    IMAGES_FOLDER,
)
# The folder of a restore in progress, and the file in it that marks the copy as complete.
RESTORE_FOLDER, RESTORE_MARKER_FILE = ".restoring", "ready.json"


class RestoreMarker(msgspec.Struct, frozen=True):
    """Content of the marker file: the folder, in the data folder, for the replaced files."""

    aside: str


def mark_restore_ready(data: Path, aside: str) -> None:
    """Durably mark the copy in `.restoring` as complete: the restore can now be finished."""
    with (data / RESTORE_FOLDER / RESTORE_MARKER_FILE).open("wb") as file:
        file.write(msgspec.json.encode(RestoreMarker(aside)))
        file.flush()
        os.fsync(file.fileno())
    _fsync_folder(data / RESTORE_FOLDER)
    _fsync_folder(data)


def finish_restore(data: Path) -> None:
    """Finish a restore whose copy is marked as complete; do nothing if there is none.

    The caller holds the folder's lock. Raises `OSError`.
    """
    if (marker := _read_restore_marker(data)) is None:
        return
    part, aside = data / RESTORE_FOLDER, data / marker.aside
    # A file still in `.restoring` has not been moved: its name in the data folder is the old file.
    if (part / DATABASE_FILE).exists():
        for name in INSTALLATION_NAMES:
            if name == IMAGES_FOLDER and not (part / IMAGES_FOLDER).exists():
                continue
            if _exists(data / name):
                aside.mkdir(mode=0o700, exist_ok=True)
                (data / name).rename(aside / name)
        if (part / IMAGES_FOLDER).exists():
            (part / IMAGES_FOLDER).rename(data / IMAGES_FOLDER)
        (part / DATABASE_FILE).rename(data / DATABASE_FILE)
    _fsync_folder(data)
    (part / RESTORE_MARKER_FILE).unlink()
    shutil.rmtree(part, ignore_errors=True)


def revert_restore(data: Path) -> None:
    """Revert a restore that could not be finished. Raises `OSError`."""
    if (marker := _read_restore_marker(data)) is None:
        return
    part, aside = data / RESTORE_FOLDER, data / marker.aside
    if not (part / IMAGES_FOLDER).exists() and _exists(data / IMAGES_FOLDER):
        (data / IMAGES_FOLDER).rename(part / IMAGES_FOLDER)
    # The database was moved away first, so it returns last.
    for name in reversed(INSTALLATION_NAMES):
        if _exists(aside / name):
            (aside / name).rename(data / name)
    if aside.exists():
        aside.rmdir()
    _fsync_folder(data)
    (part / RESTORE_MARKER_FILE).unlink()
    shutil.rmtree(part, ignore_errors=True)


def prepare_data_folder(data: Path) -> None:
    """Finish an interrupted restore; reject an installation without its database.

    The caller holds the folder's lock. Raises `StoreError`, with instructions, if the folder has
    other files of an installation but no database.
    """
    if _read_restore_marker(data) is not None:
        try:
            finish_restore(data)
        except OSError as error:
            raise StoreError(
                f"an interrupted restore into {data} cannot be finished: {error}; when that is "
                "mended, start again"
            ) from error
        LOG.warning("finished an interrupted restore data=%s", data)
    database = data / DATABASE_FILE
    if database.exists() and database.stat().st_size:
        return
    if found := installation_traces(data):
        what = "is empty" if database.exists() else "is missing"
        raise StoreError(
            f"{database} {what}, but {data} has {', '.join(found)} of an installation: restore a "
            "backup (restore BACKUP --replace), or use another folder with --data"
        )


def installation_traces(data: Path) -> list[str]:
    """Return the names in a folder that only an installation creates."""
    names = [*INSTALLATION_NAMES, BACKUPS_FOLDER, LAST_BACKUP_FILE, UPLOADS_FOLDER, RESTORE_FOLDER]
    names += sorted(path.name for path in data.glob("replaced-*"))
    return [name for name in names if name != DATABASE_FILE and _has_content(data / name)]


def _has_content(path: Path) -> bool:
    # An empty folder may be where a volume is mounted.
    return any(path.iterdir()) if path.is_dir() else _exists(path)


def _exists(path: Path) -> bool:
    return path.exists() or path.is_symlink()


def _read_restore_marker(data: Path) -> RestoreMarker | None:
    try:
        return msgspec.json.decode(
            (data / RESTORE_FOLDER / RESTORE_MARKER_FILE).read_bytes(), type=RestoreMarker
        )
    except (OSError, msgspec.DecodeError):
        return None


def _fsync_folder(folder: Path) -> None:
    file = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)
