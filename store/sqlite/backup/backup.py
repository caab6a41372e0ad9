"""Backs up a data folder while the server runs.

A separate process copies one committed state page by page. It neither writes nor checkpoints, and
the writer never waits for it; meanwhile the WAL grows. A backup is a folder or a tar file with
`marquee.db`, `images/` and `backup.json`; views.db is not included, as it is derived from the log.
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
# Publishing an import during the copy may delete images; then the copy is repeated.
MAX_COPY_ATTEMPTS = 3


class BackupManifest(msgspec.Struct, frozen=True):
    """Content of a backup."""

    at: datetime  # of the copied state
    events: int
    bytes: int  # size of the database
    sha256: str  # of the database
    images: int
    lacking: list[str]  # hashes of images missing in the data folder
    lacking_of: dict[str, list[int]] = {}  # banners of each missing image


class LastBackup(msgspec.Struct, frozen=True):
    """Time and path of the last backup."""

    at: datetime
    place: str


def create_backup(
    data: Path, to: Path, progress: CopyProgress, keep: int = 0
) -> tuple[Path, BackupManifest]:
    """Back up the folder `data`; return the backup's path and manifest.

    The backup is a new folder in `to`, or the file `to` if that ends in ".tar". Of the backups in
    `to`, only the newest `keep` remain; all remain if `keep` is 0, or if this backup lacks an
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
            manifest = _copy_data(data, part, progress)
            (_pack_tar(part) if single else part).rename(final)
            sync_folder(final.parent)
        if keep and not single and not manifest.lacking:
            _delete_old_backups(to, keep)
        _write_last_backup(data, LastBackup(manifest.at, str(final.resolve())))
    except sqlite3.Error as error:
        raise StoreError(f"{source} cannot be copied: {error}") from error
    except OSError as error:
        raise StoreError(f"no backup was made: {error}") from error
    return final, manifest


def read_last_backup(data: Path) -> LastBackup | None:
    """Return the last backup of a data folder; None if unknown."""
    try:
        return msgspec.json.decode((data / LAST_BACKUP_FILE).read_bytes(), type=LastBackup)
    except (FileNotFoundError, msgspec.DecodeError):
        return None


def _copy_data(data: Path, part: Path, progress: CopyProgress) -> BackupManifest:
    """Copy the data into the folder `part`; return the manifest."""
    (part / IMAGES_FOLDER).mkdir(mode=0o700)
    with closing(open_read_only(data / DATABASE_FILE)) as reader:
        for _ in range(MAX_COPY_ATTEMPTS):
            lost = copy_images(reader, data / IMAGES_FOLDER, part / IMAGES_FOLDER)
            (part / DATABASE_FILE).unlink(missing_ok=True)
            at = datetime.now(UTC)
            copy_database(reader, part / DATABASE_FILE, progress)
            with closing(open_read_only(part / DATABASE_FILE, alone=True)) as copied:
                lacking = copy_images(copied, data / IMAGES_FOLDER, part / IMAGES_FOLDER)
            if set(lacking) <= set(lost):
                break
    with closing(open_read_only(part / DATABASE_FILE, alone=True)) as copied:
        if errors := find_integrity_errors(copied):
            raise StoreError(
                f"no backup was made, as {DATABASE_FILE} is not sound: {'; '.join(errors)}"
            )
        events = copied.execute("SELECT count(*) FROM event").fetchone()[0]
        banners = {name: banners_with_image(copied, name) for name in lacking}
    manifest = BackupManifest(
        at,
        events,
        (part / DATABASE_FILE).stat().st_size,
        file_sha256(part / DATABASE_FILE),
        len(list((part / IMAGES_FOLDER).iterdir())),
        lacking,
        banners,
    )
    write_durably(part / MANIFEST_FILE, msgspec.json.format(msgspec.json.encode(manifest)) + b"\n")
    sync_folder(part / IMAGES_FOLDER)
    sync_folder(part)
    return manifest


@contextmanager
def _partial_backup_folder(folder: Path, name: str, data: Path) -> Iterator[Path]:
    """Create a temporary folder in `folder`; delete it on exit unless it was renamed.

    A lock allows one backup at a time, so existing temporary folders are leftovers and deleted.
    """
    if folder.samefile(data):  # the server holds the lock of this folder
        file = os.open(data / f".{LAST_BACKUP_FILE}.lock", os.O_RDWR | os.O_CREAT, 0o600)
    else:
        file = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        flock(file, LOCK_EX | LOCK_NB)
        for leftover in folder.glob(".marquee-*.part"):
            shutil.rmtree(leftover)
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
    """Pack the folder's content into a tar file in it."""
    path = part / "whole.tar"
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        with tarfile.open(fileobj=file, mode="w") as tar:
            for name in (MANIFEST_FILE, DATABASE_FILE, IMAGES_FOLDER):
                tar.add(part / name, name)
        file.flush()
        os.fsync(file.fileno())
    return path


def _delete_old_backups(folder: Path, keep: int) -> None:
    backups = sorted(each.parent for each in folder.glob(f"marquee-*Z/{MANIFEST_FILE}"))
    for old in backups[:-keep]:
        # Renamed first, so that a partly deleted backup does not look like a backup.
        removed = old.rename(old.with_name(f".{old.name}.part"))
        shutil.rmtree(removed)


def _write_last_backup(data: Path, backup: LastBackup) -> None:
    temporary = data / f".{LAST_BACKUP_FILE}.{os.getpid()}"
    write_durably(temporary, msgspec.json.encode(backup))
    temporary.rename(data / LAST_BACKUP_FILE)
