"""Banner images: stored, cached, damaged and repaired."""

import hashlib
import os
from pathlib import Path
from typing import Any

import pytest

from store.api.errors import StoreError
from store.sqlite.banners.image_store import ImageStore, image_path, write_image
from store.sqlite.core.database import Database
from tests.support.banners.campaign_files import (
    GIF,
    JPEG,
    PNG,
    import_in_process,
    row_counts,
    with_database,
    write_files,
)
from tests.support.file_descriptors import limit_free_descriptors


def test_image_has_type_and_etag_and_is_cached(tmp_path: Path) -> None:
    import_in_process(tmp_path, write_files(tmp_path / "set", {"images/image_5.png": JPEG}))
    files = list((tmp_path / "images").iterdir())
    assert [file.stat().st_mode & 0o777 for file in files] == [0o600]
    assert (tmp_path / "images").stat().st_mode & 0o777 == 0o700

    async def use(database: Database) -> None:
        images = ImageStore(database, tmp_path / "images", 1_000_000)
        image = await images.get(5)
        assert image is not None
        assert (image.body, image.type) == (JPEG, "image/jpeg")
        assert image.etag.startswith('"') and image.etag.endswith('"')
        files[0].unlink()
        assert await images.get(5) is image
        images.clear_cache()
        assert await images.get(5) is None
        assert await images.get(6) is None

    with_database(tmp_path, use)


def test_unreadable_image_raises_instead_of_counting_as_missing(tmp_path: Path) -> None:
    import_in_process(tmp_path, write_files(tmp_path / "set", {"images/image_5.png": JPEG}))

    async def use(database: Database) -> None:
        images = ImageStore(database, tmp_path / "images", 1_000_000)
        with (
            limit_free_descriptors(0),
            pytest.raises(StoreError, match=r"marquee\.db cannot be used: unable"),
        ):
            await images.get(5)
        await images.get(6)  # the reader has its files open from now on
        with (
            limit_free_descriptors(0),
            pytest.raises(StoreError, match="cannot be read: Too many open files"),
        ):
            await images.get(5)
        image = await images.get(5)
        assert image is not None and image.body == JPEG

    with_database(tmp_path, use)


def test_published_image_is_visible_after_the_cache_is_cleared(tmp_path: Path) -> None:
    async def use(database: Database) -> None:
        from store.sqlite.imports.import_staging import ImportStaging

        images = ImageStore(database, tmp_path / "images", 1_000_000)
        staging = ImportStaging(database, tmp_path / "images")
        seen: list[Any] = []
        for body in (PNG, GIF):
            await staging.begin("here")
            await staging.add_image(5, body)
            images.clear_cache()
            seen.append(await images.get(5))
            await staging.publish()
            images.clear_cache()
            seen.append(await images.get(5))
        assert [it and it.type for it in seen] == [None, "image/png", "image/png", "image/gif"]

    with_database(tmp_path, use)


def test_existing_image_file_is_not_written_again(tmp_path: Path) -> None:
    name = hashlib.sha256(b"body").digest()
    assert write_image(tmp_path, name, b"body")
    before = image_path(tmp_path, name).stat()
    assert not write_image(tmp_path, name, b"body")
    assert image_path(tmp_path, name).stat() == before
    assert [path.name for path in tmp_path.iterdir()] == [name.hex()]


def test_failed_write_of_an_image_leaves_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: Path, target: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "rename", full)
    with pytest.raises(OSError, match="No space left"):
        write_image(tmp_path, b"\x01", b"body")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("damage", ["truncated", "changed", "missing"])
def test_damaged_image_is_not_served_and_is_repaired_by_importing_it_again(
    tmp_path: Path, damage: str
) -> None:
    source = write_files(tmp_path / "set", {"images/image_5.png": PNG})
    import_in_process(tmp_path, source)
    (file,) = (tmp_path / "images").iterdir()
    if damage == "truncated":
        os.truncate(file, len(PNG) // 2)
    elif damage == "changed":
        file.write_bytes(PNG[:-1] + b"x")
    else:
        file.unlink()

    async def image(database: Database) -> Any:
        return await ImageStore(database, tmp_path / "images", 1_000_000).get(5)

    assert with_database(tmp_path, image) is None
    # The repair counts as stored, so that a running server reloads the image.
    assert row_counts(import_in_process(tmp_path, source)) == (1, 1, 0, 0)
    assert with_database(tmp_path, image).body == PNG
    assert row_counts(import_in_process(tmp_path, source)) == (1, 0, 1, 0)
