"""Restores a backup into a data folder."""

import hashlib
import os
import shutil
import sqlite3
import tarfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

import msgspec

from store.api.errors import StoreError, StoreRefused
from store.sqlite.backup.backup import MANIFEST_FILE, BackupManifest
from store.sqlite.backup.snapshot import CopyProgress, file_sha256, open_read_only
from store.sqlite.core.data_folder import (
    DATABASE_FILE,
    IMAGES_FOLDER,
    INSTALLATION_NAMES,
    RESTORE_FOLDER,
    RESTORE_MARKER_FILE,
    finish_restore,
    mark_restore_ready,
    revert_restore,
)
from store.sqlite.core.folder_lock import FolderLock
from store.sqlite.core.integrity_check import find_integrity_errors
from store.sqlite.core.migrations import check_not_newer

HEX_DIGITS = frozenset("0123456789abcdef")
COPY_CHUNK_BYTES = 1_048_576
# A folder with only these files counts as empty.
IGNORED_FILES = {"lock", "marquee.sock"}


class RestoreResult(msgspec.Struct, frozen=True):
    """The restored events and images, and the folder of the replaced files, if any."""

    events: int
    images: int
    replaced: str | None


def restore_backup(
    source: Path, data: Path, progress: CopyProgress, *, replace: bool = False
) -> RestoreResult:
    """Restore the backup `source` into the folder `data`, which no process may have open.

    `source` is a backup's folder or tar file, or a single database file. With `replace`, existing
    files are moved to a subfolder. Nothing is replaced until the whole backup is copied and
    verified; if interrupted later, the next start finishes the restore. Raises `StoreError`: either
    nothing has changed, or the message says what to do.
    """
    with FolderLock(data):
        _check_target(data, replace=replace)
        try:
            shutil.rmtree(data / RESTORE_FOLDER, ignore_errors=True)
            (data / RESTORE_FOLDER / IMAGES_FOLDER).mkdir(mode=0o700, parents=True)
            (data / RESTORE_FOLDER).chmod(0o700)
            with _open_entries(source) as entries:
                _copy_entries(entries, data / RESTORE_FOLDER, progress)
            events = _verify_backup(source, data / RESTORE_FOLDER)
            images = len(list((data / RESTORE_FOLDER / IMAGES_FOLDER).iterdir()))
            replaced = _swap_folders(data)
        except (OSError, sqlite3.Error, tarfile.TarError) as error:
            raise StoreError(f"{source} is not put back: {error}") from error
        finally:
            if not (
                data / RESTORE_FOLDER / RESTORE_MARKER_FILE
            ).exists():  # otherwise the next start finishes it
                shutil.rmtree(data / RESTORE_FOLDER, ignore_errors=True)
        return RestoreResult(events, images, replaced)


def _check_target(data: Path, *, replace: bool) -> None:
    """Raise `StoreError` if the folder must not or cannot be restored into."""
    there = sorted(each.name for each in data.iterdir() if each.name not in IGNORED_FILES)
    if there and not replace:
        raise StoreRefused(
            f"{data} is not empty (it has {', '.join(there[:3])}): name another folder, or put "
            "what is there aside with --replace"
        )
    mounted = [name for name in INSTALLATION_NAMES if (data / name).is_mount()]
    if mounted:
        raise StoreRefused(
            f"{data / mounted[0]} is a mount point, which cannot be put aside; nothing was "
            "changed: unmount it, or restore into another folder"
        )
    try:
        finish_restore(data)  # of an earlier restore
    except OSError as error:
        raise StoreError(
            f"an earlier restore into {data} was interrupted and cannot be finished: {error}"
        ) from error


BackupEntry = tuple[str, int, IO[bytes]]


@contextmanager
def _open_entries(source: Path) -> Iterator[Iterator[BackupEntry]]:
    """Open a backup and iterate over its files: name, size, content."""
    if source.is_dir():
        if not (source / MANIFEST_FILE).is_file():
            backups = sorted(each.parent.name for each in source.glob(f"*/{MANIFEST_FILE}"))
            hint = f"; the newest of those in it is {source / backups[-1]}" if backups else ""
            raise StoreRefused(f"{source} is no backup, as it has no {MANIFEST_FILE}{hint}")
        yield _folder_entries(source)
    elif source.is_file() and tarfile.is_tarfile(source):
        with tarfile.open(source) as tar:
            yield _tar_entries(tar)
    elif source.is_file():
        yield _file_entry(source)
    else:
        raise StoreRefused(f"{source} is not there")


def _folder_entries(source: Path) -> Iterator[BackupEntry]:
    files = [
        source / MANIFEST_FILE,
        source / DATABASE_FILE,
        *sorted((source / IMAGES_FOLDER).glob("*")),
    ]
    for path in files:
        with path.open("rb") as file:
            yield str(path.relative_to(source)), path.stat().st_size, file


def _tar_entries(tar: tarfile.TarFile) -> Iterator[BackupEntry]:
    for member in tar:
        file = tar.extractfile(member) if member.isreg() else None
        if file is not None:
            yield member.name, member.size, file


def _file_entry(source: Path) -> Iterator[BackupEntry]:
    with source.open("rb") as file:
        yield DATABASE_FILE, source.stat().st_size, file


def _copy_entries(entries: Iterator[BackupEntry], part: Path, progress: CopyProgress) -> None:
    """Copy a backup's files into `part` and sync them; skip unknown files."""
    for name, size, content in entries:
        folder, _, hash_ = name.rpartition("/")
        image = folder == IMAGES_FOLDER and len(hash_) == 64 and set(hash_) <= HEX_DIGITS
        if not image and name not in (MANIFEST_FILE, DATABASE_FILE):
            continue
        digest, copied = hashlib.sha256(), 0
        with os.fdopen(os.open(part / name, os.O_WRONLY | os.O_CREAT, 0o600), "wb") as file:
            while chunk := content.read(COPY_CHUNK_BYTES):
                digest.update(chunk)
                file.write(chunk)
                copied += len(chunk)
                progress(copied, size)
            file.flush()
            os.fsync(file.fileno())
        if image and digest.hexdigest() != hash_:
            raise StoreRefused(f"the backup is damaged: its image {hash_[:12]} is not what it was")


def _verify_backup(source: Path, part: Path) -> int:
    """Verify a backup and give its log a new identity; return its number of events."""
    path = part / DATABASE_FILE
    if not path.is_file():
        raise StoreRefused(f"{source} is no backup: it has no {DATABASE_FILE}")
    if (part / MANIFEST_FILE).is_file():
        try:
            manifest = msgspec.json.decode((part / MANIFEST_FILE).read_bytes(), type=BackupManifest)
        except msgspec.DecodeError as error:
            raise StoreRefused(f"{source} is no backup: its {MANIFEST_FILE}: {error}") from error
        if file_sha256(path) != manifest.sha256:
            raise StoreRefused(f"the backup is damaged: {DATABASE_FILE} is not what was backed up")
    with closing(open_read_only(path, alone=True)) as connection:
        errors = find_integrity_errors(connection)
        if errors:
            raise StoreRefused(f"{source} is no sound database of ours: {'; '.join(errors)}")
        check_not_newer(connection)
        events: int = connection.execute("SELECT count(*) FROM event").fetchone()[0]
    # From here the log diverges: projections of events after the backup must not match it.
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("UPDATE log SET identity = random()")
    return events


def _swap_folders(data: Path) -> str | None:
    """Replace the installation by the copy; return the folder of the old files, if there were any.

    Raises `OSError` if that is not possible; the old files are then back in place.
    """
    aside = data / f"replaced-{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}"
    mark_restore_ready(data, aside.name)
    try:
        finish_restore(data)
    except OSError as error:
        try:
            revert_restore(data)
        except OSError as revert_error:
            raise StoreError(
                f"the restore into {data} failed: {error}; it cannot be reverted either: "
                f"{revert_error}. When that is mended, the next start finishes it"
            ) from error
        raise
    return str(aside) if aside.exists() else None
