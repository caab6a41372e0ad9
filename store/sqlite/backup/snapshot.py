"""Durable, consistent copies of the database and images of a data folder."""

import hashlib
import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from store.sqlite.banners.image_store import image_path

# Pages per step, and bytes between syncs: a single sync at the end would occupy the disk and delay
# the commits of events.
BACKUP_STEP_PAGES, SYNC_INTERVAL_BYTES = 256, 16_777_216
PUBLISHED_IMAGES_SQL = """
SELECT DISTINCT sha256 FROM image
WHERE import IN (SELECT id FROM import WHERE published_at IS NOT NULL)
"""

# Called with the copied and the total bytes.
CopyProgress = Callable[[int, int], object]


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_durably(path: Path, content: bytes) -> None:
    """Write a file with owner-only access and sync it to disk."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def open_read_only(path: Path, *, alone: bool = False) -> sqlite3.Connection:
    """Open a database for reading; with `alone`, nobody writes it, and no -shm file is created."""
    query = "mode=ro&immutable=1" if alone else "mode=ro"
    return sqlite3.connect(f"{path.absolute().as_uri()}?{query}", uri=True, isolation_level=None)


def copy_database(reader: sqlite3.Connection, path: Path, progress: CopyProgress) -> None:
    """Copy one committed state of the reader's database to the new file `path`."""
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    written = 0

    def step(_: int, left: int, whole: int) -> None:
        nonlocal written
        progress((whole - left) * size, whole * size)
        if (whole - left) * size - written > SYNC_INTERVAL_BYTES:
            written = (whole - left) * size
            os.fdatasync(file)

    try:
        with closing(sqlite3.connect(path, isolation_level=None)) as target:
            # The transaction sees a single state, whatever is committed meanwhile.
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
    """Copy a database's published images that `target` lacks; return hashes of missing images."""
    missing = []
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
            missing.append(sha256.hex())
    return sorted(missing)


def banners_with_image(connection: sqlite3.Connection, image: str) -> list[int]:
    """Return the banners with the image of this hash, given in hexadecimal."""
    sql = "SELECT DISTINCT banner FROM image WHERE sha256 = ? ORDER BY banner"
    return [banner for (banner,) in connection.execute(sql, (bytes.fromhex(image),))]


def sync_folder(folder: Path) -> None:
    """Sync a folder's entries to disk."""
    file = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)
