"""Banner images: files named by the SHA-256 of their content."""

import asyncio
import hashlib
import logging
import os
import sqlite3
from dataclasses import dataclass
from pathlib import Path
from tempfile import NamedTemporaryFile

from store.api.errors import StoreError
from store.cache.ttl_cache import LoadingCache
from store.sqlite.core.database import Database

LOG = logging.getLogger("marquee.images")

NEWEST_IMAGE_SQL = """
SELECT sha256, type FROM image WHERE banner = ?
AND import IN (SELECT id FROM import WHERE published_at IS NOT NULL)
ORDER BY import DESC LIMIT 1
"""
IMAGE_CACHE_SECONDS = 60.0


@dataclass(frozen=True)
class StoredImage:
    """An image with its response headers."""

    body: bytes
    type: str
    etag: str


def image_path(folder: Path, sha256: bytes) -> Path:
    """Return the path of the image with this hash."""
    return folder / sha256.hex()


def is_image_intact(folder: Path, sha256: bytes) -> bool:
    """Return whether the file of the image with this hash is readable and unchanged."""
    try:
        with image_path(folder, sha256).open("rb") as file:
            return hashlib.file_digest(file, "sha256").digest() == sha256
    except OSError:
        return False


def write_image(folder: Path, sha256: bytes, body: bytes) -> bool:
    """Write an image's file durably, unless an intact one exists.

    Returns whether it was written. This repairs a missing or damaged file.
    """
    path = image_path(folder, sha256)
    if is_image_intact(folder, sha256):
        return False
    folder.mkdir(mode=0o700, exist_ok=True)
    with NamedTemporaryFile(dir=folder, prefix=".", delete=False) as file:
        try:
            file.write(body)
            file.flush()
            os.fsync(file.fileno())
            Path(file.name).rename(path)
        except BaseException:
            Path(file.name).unlink(missing_ok=True)
            raise
    directory = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
    return True


def _sha256(body: bytes) -> bytes:
    return hashlib.sha256(body).digest()


class ImageStore:
    """Images of banners; recently requested ones are cached in memory."""

    def __init__(self, database: Database, folder: Path, cache_bytes: int) -> None:
        """`folder` contains the files; at most `cache_bytes` of them are cached."""
        self._database = database
        self._folder = folder
        self.cache: LoadingCache[int, StoredImage | None] = LoadingCache(
            self._load,
            size=cache_bytes,
            seconds=IMAGE_CACHE_SECONDS,
            weigh=lambda image: len(image.body) if image else 200,
        )

    async def get(self, banner: int) -> StoredImage | None:
        """Return a banner's image, None if it has none; raise `StoreError` if it is unreadable."""
        return await self.cache.get(banner)

    def clear_cache(self) -> None:
        """Drop cached images; call after an import was published."""
        self.cache.clear()

    async def _load(self, banner: int) -> StoredImage | None:
        def newest(connection: sqlite3.Connection) -> tuple[bytes, str] | None:
            row: tuple[bytes, str] | None = connection.execute(
                NEWEST_IMAGE_SQL, (banner,)
            ).fetchone()
            return row

        found = await self._database.read(newest)
        if found is None:
            return None
        sha256, kind = found
        try:
            body = await asyncio.to_thread(image_path(self._folder, sha256).read_bytes)
        except FileNotFoundError:
            return None
        except OSError as error:
            LOG.error("image cannot be read banner=%d error=%s", banner, error)
            raise StoreError(f"the image cannot be read: {error.strerror}") from error
        # A truncated file must not be cached as the image for a day.
        if await asyncio.to_thread(_sha256, body) != sha256:
            LOG.error(
                "image file is damaged banner=%d file=%s bytes=%d: import the image again",
                banner,
                sha256.hex(),
                len(body),
            )
            return None
        return StoredImage(body, kind, f'"{sha256.hex()[:32]}"')
