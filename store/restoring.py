"""A backup, put back into a data folder."""

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

from store.backup import MANIFEST, Backup
from store.data_folder import DATABASE, IMAGES, PART, READY, STATE, finish, go_back, mark_ready
from store.errors import StoreError, StoreRefused
from store.lock import Lock
from store.migrations import refuse_newer
from store.snapshot import Told, digest, read_only
from store.soundness import faults

HEX = frozenset("0123456789abcdef")
CHUNK = 1_048_576
# A folder in which only these are has nothing to lose.
IDLE = {"lock", "marquee.sock"}


class Restored(msgspec.Struct, frozen=True):
    """What was put back, and where that is which was there before."""

    events: int
    images: int
    replaced: str | None


def restore(source: Path, data: Path, told: Told, *, replace: bool = False) -> Restored:
    """Put the backup `source` into the folder `data`, which nobody else may have in use.

    `source` is a backup's folder or tar file, or a lone database. With `replace`, what is in the
    folder is put aside in it. Nothing changes before all of the backup is here and found to be
    whole; cut off after that, it is finished by the next start. Raises `StoreError`; then all is
    as it was, or the message says what to do.
    """
    with Lock(data):
        _check(data, replace=replace)
        try:
            shutil.rmtree(data / PART, ignore_errors=True)
            (data / PART / IMAGES).mkdir(mode=0o700, parents=True)
            (data / PART).chmod(0o700)
            with _opened(source) as entries:
                _fetch(entries, data / PART, told)
            events = _look_over(source, data / PART)
            images = len(list((data / PART / IMAGES).iterdir()))
            replaced = _swap(data)
        except (OSError, sqlite3.Error, tarfile.TarError) as error:
            raise StoreError(f"{source} is not put back: {error}") from error
        finally:
            if not (data / PART / READY).exists():  # or it is still to be finished
                shutil.rmtree(data / PART, ignore_errors=True)
        return Restored(events, images, replaced)


def _check(data: Path, *, replace: bool) -> None:
    """Raise `StoreError` if the folder must not or cannot be restored into."""
    there = sorted(each.name for each in data.iterdir() if each.name not in IDLE)
    if there and not replace:
        raise StoreRefused(
            f"{data} is not empty (it has {', '.join(there[:3])}): name another folder, or put "
            "what is there aside with --replace"
        )
    mounted = [name for name in STATE if (data / name).is_mount()]
    if mounted:
        raise StoreRefused(
            f"{data / mounted[0]} is a mount point, which cannot be put aside; nothing was "
            "changed: unmount it, or restore into another folder"
        )
    try:
        finish(data)  # of an earlier restore
    except OSError as error:
        raise StoreError(
            f"an earlier restore into {data} was interrupted and cannot be finished: {error}"
        ) from error


Entry = tuple[str, int, IO[bytes]]


@contextmanager
def _opened(source: Path) -> Iterator[Iterator[Entry]]:
    """The files of a backup: name, size, content."""
    if source.is_dir():
        if not (source / MANIFEST).is_file():
            whole = sorted(each.parent.name for each in source.glob(f"*/{MANIFEST}"))
            hint = f"; the newest of those in it is {source / whole[-1]}" if whole else ""
            raise StoreRefused(f"{source} is no backup, as it has no {MANIFEST}{hint}")
        yield _of_folder(source)
    elif source.is_file() and tarfile.is_tarfile(source):
        with tarfile.open(source) as tar:
            yield _of_tar(tar)
    elif source.is_file():
        yield _of_file(source)
    else:
        raise StoreRefused(f"{source} is not there")


def _of_folder(source: Path) -> Iterator[Entry]:
    files = [source / MANIFEST, source / DATABASE, *sorted((source / IMAGES).glob("*"))]
    for path in files:
        with path.open("rb") as file:
            yield str(path.relative_to(source)), path.stat().st_size, file


def _of_tar(tar: tarfile.TarFile) -> Iterator[Entry]:
    for member in tar:
        file = tar.extractfile(member) if member.isreg() else None
        if file is not None:
            yield member.name, member.size, file


def _of_file(source: Path) -> Iterator[Entry]:
    with source.open("rb") as file:
        yield DATABASE, source.stat().st_size, file


def _fetch(entries: Iterator[Entry], part: Path, told: Told) -> None:
    """Write a backup's files into `part`, on disk when this returns; others are passed over."""
    for name, size, content in entries:
        folder, _, hash_ = name.rpartition("/")
        image = folder == IMAGES and len(hash_) == 64 and set(hash_) <= HEX
        if not image and name not in (MANIFEST, DATABASE):
            continue
        summed, done = hashlib.sha256(), 0
        with os.fdopen(os.open(part / name, os.O_WRONLY | os.O_CREAT, 0o600), "wb") as file:
            while chunk := content.read(CHUNK):
                summed.update(chunk)
                file.write(chunk)
                done += len(chunk)
                told(done, size)
            file.flush()
            os.fsync(file.fileno())
        if image and summed.hexdigest() != hash_:
            raise StoreRefused(f"the backup is damaged: its image {hash_[:12]} is not what it was")


def _look_over(source: Path, part: Path) -> int:
    """Find a backup whole, and give its log a new identity; how many events it has."""
    path = part / DATABASE
    if not path.is_file():
        raise StoreRefused(f"{source} is no backup: it has no {DATABASE}")
    if (part / MANIFEST).is_file():
        try:
            said = msgspec.json.decode((part / MANIFEST).read_bytes(), type=Backup)
        except msgspec.DecodeError as error:
            raise StoreRefused(f"{source} is no backup: its {MANIFEST}: {error}") from error
        if digest(path) != said.sha256:
            raise StoreRefused(f"the backup is damaged: {DATABASE} is not what was backed up")
    with closing(read_only(path, alone=True)) as connection:
        wrong = faults(connection)
        if wrong:
            raise StoreRefused(f"{source} is no sound database of ours: {'; '.join(wrong)}")
        refuse_newer(connection)
        events: int = connection.execute("SELECT count(*) FROM event").fetchone()[0]
    # Views of what the log came to after the backup are of no use to what it comes to from here.
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("UPDATE log SET identity = random()")
    return events


def _swap(data: Path) -> str | None:
    """Let what was fetched take the place of what is there; where that is then, if there was any.

    Raises `OSError` where that is not possible; then all is where it was.
    """
    aside = data / f"replaced-{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}"
    mark_ready(data, aside.name)
    try:
        finish(data)
    except OSError as error:
        try:
            go_back(data)
        except OSError as worse:
            raise StoreError(
                f"the restore into {data} failed: {error}; it cannot be reverted either: "
                f"{worse}. When that is mended, the next start finishes it"
            ) from error
        raise
    return str(aside) if aside.exists() else None
