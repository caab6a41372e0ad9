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

from store.api.errors import StoreBusy, StoreError
from store.sqlite.backup.snapshot import (
    CopyProgress,
    banners_with_image,
    copy_database,
    copy_images,
    file_sha256,
    open_read_only,
    sync_folder,
    write_durably,
)
from store.sqlite.core.data_folder import DATABASE_FILE, IMAGES_FOLDER, LAST_BACKUP_FILE
from store.sqlite.core.integrity_check import find_integrity_errors

MANIFEST_FILE = "backup.json"
# An import that is published amid a backup may take images away; then it begins anew.
MAX_COPY_ATTEMPTS = 3


class BackupManifest(msgspec.Struct, frozen=True):
    """What a backup holds."""

    at: datetime  # of the state that it is of
    events: int
    bytes: int  # of the database,
    sha256: str  # and its hash
    images: int
    lacking: list[str]  # images that the data folder itself had lost, by their hashes,
    lacking_of: dict[str, list[int]] = {}  # and of which banners


class LastBackup(msgspec.Struct, frozen=True):
    """When the last backup was, and where it is."""

    at: datetime
    place: str


def create_backup(
    data: Path, to: Path, told: CopyProgress, keep: int = 0
) -> tuple[Path, BackupManifest]:
    """Back the folder `data` up; where the backup is, and what it holds.

    It goes into a folder of its own in `to`, or becomes the file `to` if that ends in ".tar". Of
    backups in that folder the newest `keep` stay; with 0, all, and also where this one lacks an
    image, which older ones may have. Raises `StoreError`.
    """
    source = data / DATABASE_FILE
    if not source.is_file():
        raise StoreError(f"{data} has no {DATABASE_FILE} to back up")
    at = datetime.now(UTC)
    single = to.suffix == ".tar"
    name = f"marquee-{at:%Y%m%dT%H%M%S}.{at.microsecond:06d}Z"
    final = to if single else to / name
    try:
        final.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _partial_backup_folder(final.parent, name, data) as part:
            made = _copy_data(data, part, told)
            (_pack_tar(part) if single else part).rename(final)
            sync_folder(final.parent)
        if keep and not single and not made.lacking:
            _delete_old_backups(to, keep)
        _write_last_backup(data, LastBackup(made.at, str(final.resolve())))
    except sqlite3.Error as error:
        raise StoreError(f"{source} cannot be copied: {error}") from error
    except OSError as error:
        raise StoreError(f"no backup was made: {error}") from error
    return final, made


def read_last_backup(data: Path) -> LastBackup | None:
    """The folder's last backup, None if none is known of."""
    try:
        return msgspec.json.decode((data / LAST_BACKUP_FILE).read_bytes(), type=LastBackup)
    except (FileNotFoundError, msgspec.DecodeError):
        return None


def _copy_data(data: Path, part: Path, told: CopyProgress) -> BackupManifest:
    """Fill the folder `part`; what is in it then."""
    (part / IMAGES_FOLDER).mkdir(mode=0o700)
    with closing(open_read_only(data / DATABASE_FILE)) as reader:
        for _ in range(MAX_COPY_ATTEMPTS):
            lost = copy_images(reader, data / IMAGES_FOLDER, part / IMAGES_FOLDER)
            (part / DATABASE_FILE).unlink(missing_ok=True)
            at = datetime.now(UTC)
            copy_database(reader, part / DATABASE_FILE, told)
            with closing(open_read_only(part / DATABASE_FILE, alone=True)) as copied:
                lacking = copy_images(copied, data / IMAGES_FOLDER, part / IMAGES_FOLDER)
            if set(lacking) <= set(lost):
                break
    with closing(open_read_only(part / DATABASE_FILE, alone=True)) as copied:
        if wrong := find_integrity_errors(copied):
            raise StoreError(
                f"no backup was made, as {DATABASE_FILE} is not sound: {'; '.join(wrong)}"
            )
        events = copied.execute("SELECT count(*) FROM event").fetchone()[0]
        banners = {name: banners_with_image(copied, name) for name in lacking}
    made = BackupManifest(
        at,
        events,
        (part / DATABASE_FILE).stat().st_size,
        file_sha256(part / DATABASE_FILE),
        len(list((part / IMAGES_FOLDER).iterdir())),
        lacking,
        banners,
    )
    write_durably(part / MANIFEST_FILE, msgspec.json.format(msgspec.json.encode(made)) + b"\n")
    sync_folder(part / IMAGES_FOLDER)
    sync_folder(part)
    return made


@contextmanager
def _partial_backup_folder(folder: Path, name: str, data: Path) -> Iterator[Path]:
    """A folder to fill beside the backups, which is gone in the end if it was not renamed.

    One at a time, so that what is found of others was cut off: it is removed.
    """
    if folder.samefile(data):  # which the server has locked
        file = os.open(data / f".{LAST_BACKUP_FILE}.lock", os.O_RDWR | os.O_CREAT, 0o600)
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


def _pack_tar(part: Path) -> Path:
    """The folder's content as one file in it."""
    path = part / "whole.tar"
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        with tarfile.open(fileobj=file, mode="w") as tar:
            for name in (MANIFEST_FILE, DATABASE_FILE, IMAGES_FOLDER):
                tar.add(part / name, name)
        file.flush()
        os.fsync(file.fileno())
    return path


def _delete_old_backups(folder: Path, keep: int) -> None:
    whole = sorted(each.parent for each in folder.glob(f"marquee-*Z/{MANIFEST_FILE}"))
    for old in whole[:-keep]:
        # From then on it is no backup, however far its removal comes.
        gone = old.rename(old.with_name(f".{old.name}.part"))
        shutil.rmtree(gone)


def _write_last_backup(data: Path, note: LastBackup) -> None:
    beside = data / f".{LAST_BACKUP_FILE}.{os.getpid()}"
    write_durably(beside, msgspec.json.encode(note))
    beside.rename(data / LAST_BACKUP_FILE)
