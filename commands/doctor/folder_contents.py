"""Contents of the data folder: free space, leftovers and the last backup."""

import os
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from app.settings import command_line
from commands.doctor.finding import DoctorFinding, note, passed, problem
from store.sqlite.backup.backup import read_last_backup
from store.sqlite.core.data_folder import (
    CONTROL_SOCKET,
    DATABASE_FILE,
    IMAGES_FOLDER,
    LAST_BACKUP_FILE,
    PROJECTIONS_FILE,
    RESTORE_FOLDER,
    RESTORE_MARKER_FILE,
    UPLOADS_FOLDER,
)

MEGABYTE = 1_048_576
# Below the first, the disk may be full within hours; below the second, within minutes.
LOW_FREE_BYTES, MIN_FREE_BYTES = 2_048 * MEGABYTE, 256 * MEGABYTE
MIN_FREE_INODES = 1_000
# An older last backup suggests that scheduled backups have stopped.
MAX_BACKUP_AGE_DAYS = 8

DATABASE_FILE_SUFFIXES = ("", "-wal", "-shm")
KNOWN_NAMES = {
    *(DATABASE_FILE + end for end in DATABASE_FILE_SUFFIXES),
    *(PROJECTIONS_FILE + end for end in DATABASE_FILE_SUFFIXES),
    *(f"{PROJECTIONS_FILE}-new{end}" for end in DATABASE_FILE_SUFFIXES),
    *(IMAGES_FOLDER, CONTROL_SOCKET, LAST_BACKUP_FILE, UPLOADS_FOLDER, "lock", "backups"),
}


def check_folder_contents(data: Path) -> Iterator[DoctorFinding]:
    """Check the contents of a data folder without opening its databases."""
    if data.is_dir():
        yield from _free_space(data)
        yield from _leftovers(data)
        yield from _backups(data)


def _free_space(data: Path) -> Iterator[DoctorFinding]:
    free = shutil.disk_usage(data).free
    held = sum(path.stat().st_size for path in data.glob("*.db*"))
    files = os.statvfs(data)
    message = f"{free // MEGABYTE:,} MB free, the databases use {held // MEGABYTE:,} MB"
    remedy = "free space, use a larger disk, or keep events for fewer days (--retention-days)"
    if free < MIN_FREE_BYTES:
        yield problem("space", message, remedy)
    elif free < max(LOW_FREE_BYTES, held):
        yield note("space", f"{message}: not enough for a backup on this disk", remedy)
    else:
        yield passed("space", message)
    if files.f_files and files.f_favail < MIN_FREE_INODES:
        yield problem("space", f"only {files.f_favail:,} free inodes", "remove small files")


def _leftovers(data: Path) -> Iterator[DoctorFinding]:
    if (data / RESTORE_FOLDER / RESTORE_MARKER_FILE).exists():
        yield problem(
            "leftovers",
            f"{data / RESTORE_FOLDER} is left from an interrupted restore",
            "the next start completes the restore",
        )
    elif (data / RESTORE_FOLDER).exists():
        yield problem(
            "leftovers",
            f"{data / RESTORE_FOLDER} is left from an incomplete restore",
            "run the restore again with --replace before the next start",
        )
    replaced = sorted(path.name for path in data.glob("replaced-*"))
    if replaced:
        message = f"data from before a restore: {', '.join(replaced)}"
        yield note("leftovers", message, "remove it after checking the restored data")
    partial = [path.name for path in data.glob("backups/.marquee-*.part")]
    if partial:
        yield note(
            "leftovers", f"{len(partial)} incomplete backups", "the next backup removes them"
        )
    known = KNOWN_NAMES | {RESTORE_FOLDER, *replaced}
    unknown = sorted(
        path.name
        for path in data.iterdir()
        if path.name not in known and not path.name.startswith(f".{LAST_BACKUP_FILE}")
    )
    if unknown:
        message = f"unknown files: {', '.join(unknown[:5])}"
        yield note("leftovers", message, "move them out of the data folder")


def _backups(data: Path) -> Iterator[DoctorFinding]:
    last = read_last_backup(data)
    if last is None:
        message = "no backup found"
        yield note(
            "backup",
            message,
            f"schedule backups (deploy/*.timer): {command_line('backup --to DIR', data)}",
        )
        return
    age = datetime.now(UTC) - last.at
    last_backup = f"last backup {last.at:%Y-%m-%d %H:%M} UTC, at {last.place}"
    backup = Path(last.place)
    if age > timedelta(days=MAX_BACKUP_AGE_DAYS):
        message = f"{last_backup}: {age.days} days old"
        yield problem("backup", message, "check the schedule (systemctl list-timers)")
    elif not backup.exists():
        yield problem(
            "backup",
            f"{last_backup}: no longer there",
            f"create another: {command_line('backup --to DIR', data)}",
        )
    elif backup.stat().st_dev == data.stat().st_dev:
        message = f"{last_backup}: on the same disk as the data"
        yield note("backup", message, "copy it to another machine (deploy/litestream.yml, rsync)")
    else:
        yield passed("backup", last_backup)
