"""What the data folder has room for, what lies about in it, and how old its last backup is."""

import os
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from checks.finding import Finding, fault, note, well
from settings import call
from store.backup import last_backup
from store.data_folder import (
    DATABASE,
    IMAGES,
    LAST_BACKUP,
    PART,
    READY,
    SOCKET,
    UPLOADS,
    VIEWS,
)

MEGABYTE = 1_048_576
# Below this it may stop for want of room within hours, and below that before anybody looks.
LITTLE, LEAST = 2_048 * MEGABYTE, 256 * MEGABYTE
FEWEST_FILES = 1_000
# Days since the last backup, after which it seems that no more are made.
STALE = 8

BESIDE = ("", "-wal", "-shm")
OURS = {
    *(DATABASE + end for end in BESIDE),
    *(VIEWS + end for end in BESIDE),
    *(f"{VIEWS}-new{end}" for end in BESIDE),
    *(IMAGES, SOCKET, LAST_BACKUP, UPLOADS, "lock", "backups"),
}


def contents(data: Path) -> Iterator[Finding]:
    """All that can be told of what is in a data folder without opening its databases."""
    if data.is_dir():
        yield from _room(data)
        yield from _leftovers(data)
        yield from _backups(data)


def _room(data: Path) -> Iterator[Finding]:
    free = shutil.disk_usage(data).free
    held = sum(path.stat().st_size for path in data.glob("*.db*"))
    files = os.statvfs(data)
    told = f"{free // MEGABYTE:,} MB are free, {held // MEGABYTE:,} MB are in use by the databases"
    more = "make room, give it a larger disk, or keep events for fewer days (--retention-days)"
    if free < LEAST:
        yield fault("room", told, more)
    elif free < max(LITTLE, held):
        yield note("room", f"{told}: little, and none for a backup beside them", more)
    else:
        yield well("room", told)
    if files.f_files and files.f_favail < FEWEST_FILES:
        yield fault("room", f"only {files.f_favail:,} more files can be made", "remove small files")


def _leftovers(data: Path) -> Iterator[Finding]:
    if (data / PART / READY).exists():
        yield fault(
            "leftovers",
            f"{data / PART} is left from an interrupted restore",
            "the next start completes the restore",
        )
    elif (data / PART).exists():
        yield fault(
            "leftovers",
            f"{data / PART} is left of a restore that was cut off",
            "run it again, with --replace, before anything is served from here",
        )
    aside = sorted(path.name for path in data.glob("replaced-*"))
    if aside:
        words = f"a restore put aside what was there: {', '.join(aside)}"
        yield note("leftovers", words, "remove it when all is well")
    parts = [path.name for path in data.glob("backups/.marquee-*.part")]
    if parts:
        yield note("leftovers", f"{len(parts)} cut-off backups", "the next one clears them away")
    known = OURS | {PART, *aside}
    strange = sorted(
        path.name
        for path in data.iterdir()
        if path.name not in known and not path.name.startswith(f".{LAST_BACKUP}")
    )
    if strange:
        words = f"not of Marquee's making: {', '.join(strange[:5])}"
        yield note("leftovers", words, "keep other things elsewhere")


def _backups(data: Path) -> Iterator[Finding]:
    last = last_backup(data)
    if last is None:
        words = "none is known of"
        yield note("backup", words, f"each night (deploy/*.timer): {call('backup --to DIR', data)}")
        return
    age = datetime.now(UTC) - last.at
    told = f"the last one is of {last.at:%Y-%m-%d %H:%M} UTC, at {last.place}"
    place = Path(last.place)
    if age > timedelta(days=STALE):
        words = f"{told}: {age.days} days old"
        yield fault("backup", words, "see why no more are made (systemctl list-timers)")
    elif not place.exists():
        yield fault(
            "backup",
            f"{told}, where it is no more",
            f"make another: {call('backup --to DIR', data)}",
        )
    elif place.stat().st_dev == data.stat().st_dev:
        words = f"{told}: on the same disk as what it is of"
        yield note("backup", words, "copy it to another machine (deploy/litestream.yml, rsync)")
    else:
        yield well("backup", told)
