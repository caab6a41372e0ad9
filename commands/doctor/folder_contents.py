"""What the data folder has room for, what lies about in it, and how old its last backup is."""

import os
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from app.settings import command_line
from commands.doctor.finding import DoctorFinding, fault, note, ok
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
# Below this it may stop for want of room within hours, and below that before anybody looks.
LOW_FREE_BYTES, MIN_FREE_BYTES = 2_048 * MEGABYTE, 256 * MEGABYTE
MIN_FREE_INODES = 1_000
# Days since the last backup, after which it seems that no more are made.
MAX_BACKUP_AGE_DAYS = 8

DATABASE_FILE_SUFFIXES = ("", "-wal", "-shm")
KNOWN_NAMES = {
    *(DATABASE_FILE + end for end in DATABASE_FILE_SUFFIXES),
    *(PROJECTIONS_FILE + end for end in DATABASE_FILE_SUFFIXES),
    *(f"{PROJECTIONS_FILE}-new{end}" for end in DATABASE_FILE_SUFFIXES),
    *(IMAGES_FOLDER, CONTROL_SOCKET, LAST_BACKUP_FILE, UPLOADS_FOLDER, "lock", "backups"),
}


def check_folder_contents(data: Path) -> Iterator[DoctorFinding]:
    """All that can be told of what is in a data folder without opening its databases."""
    if data.is_dir():
        yield from _free_space(data)
        yield from _leftovers(data)
        yield from _backups(data)


def _free_space(data: Path) -> Iterator[DoctorFinding]:
    free = shutil.disk_usage(data).free
    held = sum(path.stat().st_size for path in data.glob("*.db*"))
    files = os.statvfs(data)
    told = f"{free // MEGABYTE:,} MB are free, {held // MEGABYTE:,} MB are in use by the databases"
    more = "make room, give it a larger disk, or keep events for fewer days (--retention-days)"
    if free < MIN_FREE_BYTES:
        yield fault("room", told, more)
    elif free < max(LOW_FREE_BYTES, held):
        yield note("room", f"{told}: little, and none for a backup beside them", more)
    else:
        yield ok("room", told)
    if files.f_files and files.f_favail < MIN_FREE_INODES:
        yield fault("room", f"only {files.f_favail:,} more files can be made", "remove small files")


def _leftovers(data: Path) -> Iterator[DoctorFinding]:
    if (data / RESTORE_FOLDER / RESTORE_MARKER_FILE).exists():
        yield fault(
            "leftovers",
            f"{data / RESTORE_FOLDER} is left from an interrupted restore",
            "the next start completes the restore",
        )
    elif (data / RESTORE_FOLDER).exists():
        yield fault(
            "leftovers",
            f"{data / RESTORE_FOLDER} is left of a restore that was cut off",
            "run it again, with --replace, before anything is served from here",
        )
    aside = sorted(path.name for path in data.glob("replaced-*"))
    if aside:
        words = f"a restore put aside what was there: {', '.join(aside)}"
        yield note("leftovers", words, "remove it when all is well")
    parts = [path.name for path in data.glob("backups/.marquee-*.part")]
    if parts:
        yield note("leftovers", f"{len(parts)} cut-off backups", "the next one clears them away")
    known = KNOWN_NAMES | {RESTORE_FOLDER, *aside}
    strange = sorted(
        path.name
        for path in data.iterdir()
        if path.name not in known and not path.name.startswith(f".{LAST_BACKUP_FILE}")
    )
    if strange:
        words = f"not of Marquee's making: {', '.join(strange[:5])}"
        yield note("leftovers", words, "keep other things elsewhere")


def _backups(data: Path) -> Iterator[DoctorFinding]:
    last = read_last_backup(data)
    if last is None:
        words = "none is known of"
        yield note(
            "backup", words, f"each night (deploy/*.timer): {command_line('backup --to DIR', data)}"
        )
        return
    age = datetime.now(UTC) - last.at
    told = f"the last one is of {last.at:%Y-%m-%d %H:%M} UTC, at {last.place}"
    place = Path(last.place)
    if age > timedelta(days=MAX_BACKUP_AGE_DAYS):
        words = f"{told}: {age.days} days old"
        yield fault("backup", words, "see why no more are made (systemctl list-timers)")
    elif not place.exists():
        yield fault(
            "backup",
            f"{told}, where it is no more",
            f"make another: {command_line('backup --to DIR', data)}",
        )
    elif place.stat().st_dev == data.stat().st_dev:
        words = f"{told}: on the same disk as what it is of"
        yield note("backup", words, "copy it to another machine (deploy/litestream.yml, rsync)")
    else:
        yield ok("backup", told)
