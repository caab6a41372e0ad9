"""What comes from browsers: forms with files, and zips."""

import contextlib
import io
import random
import struct
import zipfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from imports.upload_folder import MAX_UPLOAD_FILES, UploadFolder, UploadForm, remove_stale_uploads
from store.api.errors import StoreError, StoreRefused
from store.sqlite.core.data_folder import UPLOADS_FOLDER

KIND = 'multipart/form-data; boundary="edge"'
MANY = 10_000_000


def form(*files: tuple[str, bytes]) -> bytes:
    parts = [
        f'--edge\r\nContent-Disposition: form-data; name="files"; filename="{name}"\r\n'
        "Content-Type: application/octet-stream\r\n\r\n".encode()
        + body
        + b"\r\n"
        for name, body in files
    ]
    return b"".join(parts) + b"--edge--\r\n"


def zipped(*files: tuple[str, bytes], **options) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED, **options) as archive:
        for name, body in files:
            archive.writestr(name, body)
    return made.getvalue()


def take(data: Path, body: bytes, most: int = MANY, step: int = 1_000) -> UploadFolder:
    upload = UploadFolder(data, most)
    reading = UploadForm(KIND, upload)
    try:
        for start in range(0, len(body), step):
            reading.write(body[start : start + step])
        reading.end()
        upload.unpack()
    finally:
        reading.close()
    return upload


def lies(upload: UploadFolder) -> dict[str, bytes]:
    """What lies in its folder."""
    return {
        str(path.relative_to(upload.folder)): path.read_bytes()
        for path in upload.folder.rglob("*")
        if path.is_file()
    }


def test_files_lie_where_an_import_finds_them(tmp_path: Path) -> None:
    upload = take(
        tmp_path,
        form(
            ("campaigns/1/clicks_1.csv", b"a,b\r\n1,2\r\n"),
            ("image_7.png", b"\x89PNG\r\n--edge-but-not-quite"),
            ("../../evil.sh", b"rm"),
            (".DS_Store", b"x"),
            ("", b""),
        ),
    )
    assert lies(upload) == {
        "1/clicks_1.csv": b"a,b\r\n1,2\r\n",
        "images/image_7.png": b"\x89PNG\r\n--edge-but-not-quite",
    }
    assert upload.ignored == ["../../evil.sh"]
    assert {path.name for path in tmp_path.iterdir()} == {UPLOADS_FOLDER}
    assert upload.folder.stat().st_mode & 0o077 == 0
    upload.remove()
    assert not upload.folder.exists()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
@given(st.binary(max_size=300), st.integers(1, 50))
def test_any_content_comes_through_in_any_pieces(tmp_path: Path, body: bytes, step: int) -> None:
    if b"--edge" in body:
        return
    upload = take(tmp_path, form(("clicks_1.csv", body), ("targets.csv", b"x")), step=step)
    assert lies(upload) == {"1/clicks_1.csv": body, "targets.csv": b"x"}


def test_a_zip_lies_unpacked(tmp_path: Path) -> None:
    packed = zipped(
        ("campaigns/1/clicks_1.csv", b"x" * 100_000),
        ("campaigns/images/image_7.png", b"y"),
        ("campaigns/", b""),
        ("__MACOSX/._clicks_1.csv", b"z"),
        ("../../../tmp/targets.csv", b"t"),
        ("/etc/passwd", b"root"),
        ("inner.zip", b"PK"),
    )
    upload = take(tmp_path, form(("campaigns.ZIP", packed)))
    assert lies(upload) == {
        "1/clicks_1.csv": b"x" * 100_000,
        "images/image_7.png": b"y",
        "targets.csv": b"t",
    }
    assert upload.ignored == ["/etc/passwd", "inner.zip"]
    assert upload.size == 100_002


def test_a_bomb_is_refused_by_what_comes_out_of_it(tmp_path: Path) -> None:
    packed = zipped(("1/clicks_1.csv", b"0" * 5_000_000))
    assert len(packed) < 10_000
    # The sizes that it tells are lies as well.
    lying = packed.replace(struct.pack("<I", 5_000_000), struct.pack("<I", 10))
    for each in (packed, lying):
        with pytest.raises(StoreError):
            take(tmp_path, form(("a.zip", each)), most=1_000_000)
    assert sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file()) < 3_000_000


def test_a_bomb_whose_files_overlap_is_refused(tmp_path: Path) -> None:
    """Many entries of the list that lead to the same bytes."""
    packed = zipped(("targets.csv", b"0" * 900_000))
    end = packed.rindex(b"PK\5\6")
    start = packed.index(b"PK\1\2")
    many = packed[start:end] * 3
    tail = bytearray(packed[end:])
    struct.pack_into("<HHII", tail, 8, 3, 3, len(many), start)
    with pytest.raises(StoreRefused):
        take(tmp_path, form(("a.zip", packed[:start] + many + bytes(tail))), most=1_000_000)


def test_a_list_of_files_that_is_a_burden_itself_is_refused(tmp_path: Path) -> None:
    packed = bytearray(zipped(*((f"x/{number}", b"") for number in range(50))))
    end = packed.rindex(b"PK\5\6")
    struct.pack_into("<HH", packed, end + 8, 65_000, 65_000)
    with pytest.raises(StoreRefused, match="more than"):
        take(tmp_path, form(("a.zip", bytes(packed))))


@pytest.mark.parametrize("body", [b"", b"PK\5\6", b"PK\3\4" + b"x" * 500, b"no zip at all"])
def test_what_is_no_zip_is_refused_in_words(tmp_path: Path, body: bytes) -> None:
    with pytest.raises(StoreRefused, match="zip"):
        take(tmp_path, form(("a.zip", body)))


def test_a_damaged_zip_is_refused_whatever_the_damage(tmp_path: Path) -> None:
    packed = zipped(
        ("1/clicks_1.csv", random.Random(1).randbytes(5_000)), ("targets.csv", b"x" * 99)
    )
    chance = random.Random(2)
    for _ in range(150):
        spoilt = bytearray(packed)
        for _ in range(3):
            spoilt[chance.randrange(len(spoilt))] = chance.randrange(256)
        with contextlib.suppress(StoreRefused):
            take(tmp_path, form(("a.zip", bytes(spoilt)))).remove()


def test_no_more_than_the_bound_is_written(tmp_path: Path) -> None:
    with pytest.raises(StoreRefused, match="larger"):
        take(tmp_path, form(("clicks_1.csv", b"x" * 20_000)), most=10_000)
    assert sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file()) <= 10_000


def test_two_files_for_one_place_are_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreRefused, match="twice"):
        take(tmp_path, form(("a/clicks_1.csv", b"x"), ("b/clicks_1.csv", b"y")))


def test_more_files_than_may_come_are_refused(tmp_path: Path) -> None:
    upload = UploadFolder(tmp_path, MANY)
    upload.files = MAX_UPLOAD_FILES
    with pytest.raises(StoreRefused, match="at most"):
        upload.open("x.csv")


@pytest.mark.parametrize(
    "body", [b"", b"--edge\r\n", form(("clicks_1.csv", b"x"))[:-12], b"x" * 99]
)
def test_a_form_that_breaks_off_is_refused(tmp_path: Path, body: bytes) -> None:
    with pytest.raises(StoreRefused):
        take(tmp_path, body)


@pytest.mark.parametrize(
    "kind", ["", "text/csv", "multipart/form-data", "multipart/form-data; boundary="]
)
def test_another_type_is_refused(tmp_path: Path, kind: str) -> None:
    with pytest.raises(StoreRefused):
        UploadForm(kind, UploadFolder(tmp_path, MANY))


def test_what_a_stop_cut_off_is_cleared_away(tmp_path: Path) -> None:
    take(tmp_path, form(("clicks_1.csv", b"x")))
    (tmp_path / "marquee.db").write_text("kept")
    remove_stale_uploads(tmp_path)
    remove_stale_uploads(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["marquee.db"]


def test_what_is_removed_while_it_is_written_ends(tmp_path: Path) -> None:
    upload = UploadFolder(tmp_path, MANY)
    file = upload.open("clicks_1.csv")
    assert file is not None
    upload.remove()
    with pytest.raises(StoreRefused):
        upload.write(file, b"x")
    file.close()
