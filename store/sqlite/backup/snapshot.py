"""Copies of what is in a data folder, as a reader sees it: of one state, and on disk in the end."""

import hashlib
import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from store.sqlite.banners.image_store import image_path

# Pages of a step, and bytes after which the copy is written out: all at once, it would hold up the
# disk, and with it the commits of events.
BACKUP_STEP_PAGES, SYNC_INTERVAL_BYTES = 256, 16_777_216
PUBLISHED_IMAGES_SQL = """
SELECT DISTINCT sha256 FROM image
WHERE import IN (SELECT id FROM import WHERE published_at IS NOT NULL)
"""

# Hears how many bytes of how many are done.
CopyProgress = Callable[[int, int], object]


def file_sha256(path: Path) -> str:
    """A file's SHA-256."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_durably(path: Path, content: bytes) -> None:
    """Write a file for its owner alone, on disk when this returns."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def open_read_only(path: Path, *, alone: bool = False) -> sqlite3.Connection:
    """A reader of a database; `alone`: of one that nobody writes, without a trace beside it."""
    query = "mode=ro&immutable=1" if alone else "mode=ro"
    return sqlite3.connect(f"{path.absolute().as_uri()}?{query}", uri=True, isolation_level=None)


def copy_database(reader: sqlite3.Connection, path: Path, told: CopyProgress) -> None:
    """Make `path` a copy of the reader's database, of one committed state."""
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    written = 0

    def step(_: int, left: int, whole: int) -> None:
        nonlocal written
        told((whole - left) * size, whole * size)
        if (whole - left) * size - written > SYNC_INTERVAL_BYTES:
            written = (whole - left) * size
            os.fdatasync(file)

    try:
        with closing(sqlite3.connect(path, isolation_level=None)) as target:
            # What was begun goes on seeing one state, whatever is committed meanwhile.
            reader.execute("BEGIN")
            try:
                size = reader.execute("PRAGMA page_size").fetchone()[0]
                reader.execute("SELECT 1 FROM sqlite_schema").fetchone()
                reader.backup(target, pages=BACKUP_STEP_PAGES, progress=step)
            finally:
                reader.execute("ROLLBACK")
        os.fsync(file)
    finally:
        os.close(file)


def copy_images(connection: sqlite3.Connection, images: Path, target: Path) -> list[str]:
    """Copy the images that a database names and that are not there; those that could not be."""
    lacking = []
    for (sha256,) in connection.execute(PUBLISHED_IMAGES_SQL).fetchall():
        copy = image_path(target, sha256)
        if copy.exists():
            continue
        try:
            body = image_path(images, sha256).read_bytes()
        except FileNotFoundError:
            body = b""
        if hashlib.sha256(body).digest() == sha256:
            write_durably(copy, body)
        else:
            lacking.append(sha256.hex())
    return sorted(lacking)


def banners_with_image(connection: sqlite3.Connection, image: str) -> list[int]:
    """Return the banners that have the image with this hash, in hexadecimals."""
    sql = "SELECT DISTINCT banner FROM image WHERE sha256 = ? ORDER BY banner"
    return [banner for (banner,) in connection.execute(sql, (bytes.fromhex(image),))]


def sync_folder(folder: Path) -> None:
    """See that the names in a folder are on disk."""
    file = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)
