"""Images: what their bytes say, where they lie, and how they come back."""

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
    counts,
    imported,
    lay,
    with_database,
)
from tests.support.file_descriptors import descriptors


def test_an_image_comes_back_typed_and_tagged_and_from_memory(tmp_path: Path) -> None:
    imported(tmp_path, lay(tmp_path / "set", {"images/image_5.png": JPEG}))
    files = list((tmp_path / "images").iterdir())
    assert [file.stat().st_mode & 0o777 for file in files] == [0o600]
    assert (tmp_path / "images").stat().st_mode & 0o777 == 0o700

    async def use(database: Database) -> None:
        images = ImageStore(database, tmp_path / "images", 1_000_000)
        picture = await images.picture(5)
        assert picture is not None
        assert (picture.body, picture.type) == (JPEG, "image/jpeg")
        assert picture.etag.startswith('"') and picture.etag.endswith('"')
        files[0].unlink()
        assert await images.picture(5) is picture
        images.forget()
        # Its file is gone: as good as none.
        assert await images.picture(5) is None
        assert await images.picture(6) is None

    with_database(tmp_path, use)


def test_an_image_that_cannot_be_read_now_is_not_taken_for_none(tmp_path: Path) -> None:
    imported(tmp_path, lay(tmp_path / "set", {"images/image_5.png": JPEG}))

    async def use(database: Database) -> None:
        images = ImageStore(database, tmp_path / "images", 1_000_000)
        with descriptors(0), pytest.raises(StoreError, match=r"marquee\.db cannot be used: unable"):
            await images.picture(5)
        await images.picture(6)  # the reader has its files open from now on
        with descriptors(0), pytest.raises(StoreError, match="cannot be read: Too many open files"):
            await images.picture(5)
        picture = await images.picture(5)
        assert picture is not None and picture.body == JPEG

    with_database(tmp_path, use)


def test_an_import_that_is_published_shows_its_images_once_told(tmp_path: Path) -> None:
    async def use(database: Database) -> None:
        from store.sqlite.imports.import_staging import ImportStaging

        images = ImageStore(database, tmp_path / "images", 1_000_000)
        staging = ImportStaging(database, tmp_path / "images")
        seen: list[Any] = []
        for body in (PNG, GIF):
            await staging.begin("here")
            await staging.image(5, body)
            images.forget()
            seen.append(await images.picture(5))
            await staging.publish()
            images.forget()
            seen.append(await images.picture(5))
        assert [it and it.type for it in seen] == [None, "image/png", "image/png", "image/gif"]

    with_database(tmp_path, use)


def test_an_image_that_lies_there_already_is_not_written_again(tmp_path: Path) -> None:
    name = hashlib.sha256(b"body").digest()
    assert write_image(tmp_path, name, b"body")
    made = image_path(tmp_path, name).stat()
    assert not write_image(tmp_path, name, b"body")
    assert image_path(tmp_path, name).stat() == made
    assert [path.name for path in tmp_path.iterdir()] == [name.hex()]


def test_an_image_that_cannot_be_written_leaves_no_half(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: Path, target: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "rename", full)
    with pytest.raises(OSError, match="No space left"):
        write_image(tmp_path, b"\x01", b"body")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("harm", ["truncated", "changed", "missing"])
def test_a_damaged_image_is_not_served_and_importing_it_again_repairs_it(
    tmp_path: Path, harm: str
) -> None:
    source = lay(tmp_path / "set", {"images/image_5.png": PNG})
    imported(tmp_path, source)
    (file,) = (tmp_path / "images").iterdir()
    if harm == "truncated":
        os.truncate(file, len(PNG) // 2)
    elif harm == "changed":
        file.write_bytes(PNG[:-1] + b"x")
    else:
        file.unlink()

    async def picture(database: Database) -> Any:
        return await ImageStore(database, tmp_path / "images", 1_000_000).picture(5)

    assert with_database(tmp_path, picture) is None
    # It counts as stored, so that a server that runs shows it at once.
    assert counts(imported(tmp_path, source)) == (1, 1, 0, 0)
    assert with_database(tmp_path, picture).body == PNG
    assert counts(imported(tmp_path, source)) == (1, 0, 1, 0)
