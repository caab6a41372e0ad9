"""A copy of a data folder, taken while events come in.

A reader of its own process holds one committed state and copies it page by page: it neither writes
nor checkpoints, and the writer never waits for it (meanwhile the WAL grows). A backup is a folder,
or one tar file, of `marquee.db`, `images/` and `backup.json`; views.db is made anew from the log.
"""

import os
import shutil
import sqlite3
import tarfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from fcntl import LOCK_EX, LOCK_NB, flock
from pathlib import Path

import msgspec

from store.data_folder import DATABASE, IMAGES, LAST_BACKUP
from store.errors import StoreBusy, StoreError
from store.snapshot import (
    Told,
    banners_of,
    copy_images,
    copy_pages,
    digest,
    read_only,
    sync,
    write_out,
)
from store.soundness import faults

MANIFEST = "backup.json"
# An import that is published amid a backup may take images away; then it begins anew.
ATTEMPTS = 3


class Backup(msgspec.Struct, frozen=True):
    """What a backup holds."""

    at: datetime  # of the state that it is of
    events: int
    bytes: int  # of the database,
    sha256: str  # and its hash
    images: int
    lacking: list[str]  # images that the data folder itself had lost, by their hashes,
    lacking_of: dict[str, list[int]] = {}  # and of which banners


class Note(msgspec.Struct, frozen=True):
    """When the last backup was, and where it is."""

    at: datetime
    place: str


def back_up(data: Path, to: Path, told: Told, keep: int = 0) -> tuple[Path, Backup]:
    """Back the folder `data` up; where the backup is, and what it holds.

    It goes into a folder of its own in `to`, or becomes the file `to` if that ends in ".tar". Of
    backups in that folder the newest `keep` stay; with 0, all, and also where this one lacks an
    image, which older ones may have. Raises `StoreError`.
    """
    source = data / DATABASE
    if not source.is_file():
        raise StoreError(f"{data} has no {DATABASE} to back up")
    at = datetime.now(UTC)
    single = to.suffix == ".tar"
    name = f"marquee-{at:%Y%m%dT%H%M%S}.{at.microsecond:06d}Z"
    final = to if single else to / name
    try:
        final.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _beside(final.parent, name, data) as part:
            made = _copy(data, part, told)
            (_as_tar(part) if single else part).rename(final)
            sync(final.parent)
        if keep and not single and not made.lacking:
            _thin(to, keep)
        _note(data, Note(made.at, str(final.resolve())))
    except sqlite3.Error as error:
        raise StoreError(f"{source} cannot be copied: {error}") from error
    except OSError as error:
        raise StoreError(f"no backup was made: {error}") from error
    return final, made


def last_backup(data: Path) -> Note | None:
    """The folder's last backup, None if none is known of."""
    try:
        return msgspec.json.decode((data / LAST_BACKUP).read_bytes(), type=Note)
    except (FileNotFoundError, msgspec.DecodeError):
        return None


def _copy(data: Path, part: Path, told: Told) -> Backup:
    """Fill the folder `part`; what is in it then."""
    (part / IMAGES).mkdir(mode=0o700)
    with closing(read_only(data / DATABASE)) as reader:
        for _ in range(ATTEMPTS):
            lost = copy_images(reader, data / IMAGES, part / IMAGES)
            (part / DATABASE).unlink(missing_ok=True)
            at = datetime.now(UTC)
            copy_pages(reader, part / DATABASE, told)
            with closing(read_only(part / DATABASE, alone=True)) as copied:
                lacking = copy_images(copied, data / IMAGES, part / IMAGES)
            if set(lacking) <= set(lost):
                break
    with closing(read_only(part / DATABASE, alone=True)) as copied:
        if wrong := faults(copied):
            raise StoreError(f"no backup was made, as {DATABASE} is not sound: {'; '.join(wrong)}")
        events = copied.execute("SELECT count(*) FROM event").fetchone()[0]
        banners = {name: banners_of(copied, name) for name in lacking}
    made = Backup(
        at,
        events,
        (part / DATABASE).stat().st_size,
        digest(part / DATABASE),
        len(list((part / IMAGES).iterdir())),
        lacking,
        banners,
    )
    write_out(part / MANIFEST, msgspec.json.format(msgspec.json.encode(made)) + b"\n")
    sync(part / IMAGES)
    sync(part)
    return made


@contextmanager
def _beside(folder: Path, name: str, data: Path) -> Iterator[Path]:
    """A folder to fill beside the backups, which is gone in the end if it was not renamed.

    One at a time, so that what is found of others was cut off: it is removed.
    """
    if folder.samefile(data):  # which the server has locked
        file = os.open(data / f".{LAST_BACKUP}.lock", os.O_RDWR | os.O_CREAT, 0o600)
    else:
        file = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        flock(file, LOCK_EX | LOCK_NB)
        for rest in folder.glob(".marquee-*.part"):
            shutil.rmtree(rest)
        part = folder / f".{name}.part"
        part.mkdir(mode=0o700)
        try:
            yield part
        finally:
            shutil.rmtree(part, ignore_errors=True)
    except BlockingIOError:
        raise StoreBusy(f"another backup is being made in {folder}: wait for its end") from None
    finally:
        os.close(file)


def _as_tar(part: Path) -> Path:
    """The folder's content as one file in it."""
    path = part / "whole.tar"
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        with tarfile.open(fileobj=file, mode="w") as tar:
            for name in (MANIFEST, DATABASE, IMAGES):
                tar.add(part / name, name)
        file.flush()
        os.fsync(file.fileno())
    return path


def _thin(folder: Path, keep: int) -> None:
    whole = sorted(each.parent for each in folder.glob(f"marquee-*Z/{MANIFEST}"))
    for old in whole[:-keep]:
        # From then on it is no backup, however far its removal comes.
        gone = old.rename(old.with_name(f".{old.name}.part"))
        shutil.rmtree(gone)


def _note(data: Path, note: Note) -> None:
    beside = data / f".{LAST_BACKUP}.{os.getpid()}"
    write_out(beside, msgspec.json.encode(note))
    beside.rename(data / LAST_BACKUP)
