"""Zip bombs: an archive costs no more than the upload limit, whatever its content.

These tests upload archives to a server. tests/imports/test_upload_folder.py tests wrong values in
each part of an archive.
"""

import contextlib
import io
import os
import struct
import zipfile
from collections.abc import Iterator

import pytest

from tests.support.audience.audience_site import wait_for
from tests.support.web.admin_session import page_text
from tests.support.web.attack_target import AttackTarget, zip_files

# `--max-upload` of the servers, for packed and unpacked bytes.
MAX_UPLOAD_BYTES = 2_000_000
CSV_ROW = b"1,1,1\n"
CSV_HEADER = b"click_id,banner_id,campaign_id\n"


def highly_compressed(times: int) -> bytes:
    """Return an archive that unpacks to `times` the upload limit, a thousand times its size."""
    return zip_files(
        [("1/clicks_1.csv", CSV_HEADER + CSV_ROW * (times * MAX_UPLOAD_BYTES // len(CSV_ROW)))]
    )


def many_files() -> bytes:
    return zip_files((f"x/{number}", b"") for number in range(20_001))


def many_medium_files() -> bytes:
    return zip_files((f"images/image_{number}.png", b"x" * 2_000) for number in range(1_500))


def nested(depth: int = 6) -> bytes:
    """Return nested archives, each with sixteen copies of the next."""
    inner = zip_files([("1/clicks_1.csv", b"0" * 100_000)])
    for _ in range(depth):
        inner = zip_files((f"{number}.zip", inner) for number in range(16))
    return inner


def zip_in_csv() -> bytes:
    """Return an archive in which a CSV file is an archive."""
    return zip_files([("1/clicks_1.csv", highly_compressed(1))])


def overlapping() -> bytes:
    """Return an archive with many directory entries of the same file."""
    packed = zip_files([("images/image_1.png", b"0" * 500_000)])
    end, start = packed.rindex(b"PK\5\6"), packed.index(b"PK\1\2")
    entries = b""
    for number in range(200):
        entry = packed[start:end].replace(b"image_1.png", b"image_%d.png" % (1_000 + number))
        extra = len(b"image_%d.png" % (1_000 + number)) - len(b"image_1.png")
        entries += entry[:28] + struct.pack("<H", 18 + extra) + entry[30:]
    tail = bytearray(packed[end:])
    struct.pack_into("<HHII", tail, 8, 200, 200, len(entries), start)
    return packed[:start] + entries + bytes(tail)


def wrong_size() -> bytes:
    packed = highly_compressed(3)
    size = struct.pack("<I", len(CSV_HEADER) + 3 * MAX_UPLOAD_BYTES // len(CSV_ROW) * len(CSV_ROW))
    assert packed.count(size) == 2
    return packed.replace(size, struct.pack("<I", 10))


def encrypted() -> bytes:
    packed = bytearray(zip_files([("1/clicks_1.csv", b"secret")]))
    for mark, at in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        packed[packed.index(mark) + at] |= 1
    return bytes(packed)


def unknown_method() -> bytes:
    packed = bytearray(zip_files([("1/clicks_1.csv", b"x")]))
    for mark, at in ((b"PK\3\4", 8), (b"PK\1\2", 10)):
        struct.pack_into("<H", packed, packed.index(mark) + at, 99)
    return bytes(packed)


def huge_lzma_dictionary() -> bytes:
    """Return an archive that declares an LZMA dictionary of 4 GiB."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("1/clicks_1.csv", b"0" * (3 * MAX_UPLOAD_BYTES))
    packed = bytearray(content.getvalue())
    # The dictionary size follows version, length and literal settings of the LZMA properties.
    offset = packed.index(b"clicks_1.csv") + len(b"clicks_1.csv") + 5
    struct.pack_into("<I", packed, offset, 0xFFFFFFFF)
    return bytes(packed)


def bzip2() -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_BZIP2) as archive:
        archive.writestr("1/clicks_1.csv", b"0" * (20 * MAX_UPLOAD_BYTES))
    return content.getvalue()


def zip64() -> bytes:
    """Return an archive with a ZIP64 end record, which allows any number of files."""
    packed = zip_files([("1/clicks_1.csv", b"x")])
    end = packed.rindex(b"PK\5\6")
    locator = b"PK\6\7" + struct.pack("<IQI", 0, 0, 1)
    return packed[:end] + locator + packed[end:]


def huge_names() -> bytes:
    return zip_files((f"{'x' * 60_000}{number}", b"") for number in range(80))


def long_comment() -> bytes:
    content = io.BytesIO(zip_files([("1/clicks_1.csv", CSV_HEADER)]))
    with zipfile.ZipFile(content, "a") as archive:
        archive.comment = b"PK\5\6" * 16_000
    return content.getvalue()


def truncated() -> bytes:
    packed = zip_files([("1/clicks_1.csv", os.urandom(50_000))])
    return packed[: len(packed) // 2] + packed[packed.rindex(b"PK\1\2") :]


def corrupt_stream() -> bytes:
    packed = bytearray(zip_files([("1/clicks_1.csv", os.urandom(50_000))]))
    packed[60:40_000] = os.urandom(39_940)
    return bytes(packed)


def duplicate_names() -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("a/clicks_1.csv", CSV_HEADER)
        archive.writestr("b/clicks_1.csv", CSV_HEADER)
    return content.getvalue()


# Archives with alternatives of the error message.
REJECTED_ARCHIVES = [
    (lambda: highly_compressed(2), "larger than 2,000,000 bytes"),
    (lambda: highly_compressed(50), "larger than 2,000,000 bytes"),
    (many_files, "more than 20,000 files"),
    (many_medium_files, "larger than 2,000,000 bytes"),
    (overlapping, "larger than|cannot be read"),
    (wrong_size, "cannot be read|larger than"),
    (encrypted, "cannot be unpacked"),
    (unknown_method, "cannot be unpacked"),
    (huge_lzma_dictionary, "cannot be unpacked"),
    (bzip2, "cannot be unpacked"),
    (zip64, "more than 20,000 files"),
    (huge_names, "larger than"),
    (long_comment, "cannot be read"),
    (truncated, "cannot be read"),
    (corrupt_stream, "cannot be read"),
    (duplicate_names, "uploaded twice"),
]
IDS = [each.__name__ if each.__name__ != "<lambda>" else "ratio" for each, _ in REJECTED_ARCHIVES]


def peak_memory_mib(target: AttackTarget) -> int:
    """Return the peak memory of the server in MiB."""
    with open(f"/proc/{target.server.process.pid}/status") as status:
        line = next(line for line in status if line.startswith("VmHWM"))
    return int(line.split()[1]) // 1024


def upload_bytes_on_disk(target: AttackTarget) -> int:
    """Return the bytes of uploaded files on disk."""
    total = 0
    for folder, _, names in os.walk(target.server.data / "uploads"):
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                total += os.stat(os.path.join(folder, name)).st_size
    return total


@pytest.fixture(scope="module")
def measured_target(target) -> Iterator[AttackTarget]:
    """Check that the memory of the server does not grow with the uploads."""
    before = peak_memory_mib(target)
    yield target
    assert peak_memory_mib(target) - before < 80


@pytest.mark.parametrize(("make_archive", "message"), REJECTED_ARCHIVES, ids=IDS)
def test_costly_archive_is_rejected_with_reason(measured_target, make_archive, message):
    response = measured_target.upload(("a.zip", make_archive()))
    text = page_text(
        response if response.status == 422 else measured_target.wait_for_upload(response)
    )
    assert any(each in text for each in message.split("|")), text
    assert measured_target.server.request("/healthz").status == 200
    wait_for(lambda: upload_bytes_on_disk(measured_target) == 0)


@pytest.mark.parametrize("make_archive", [nested, zip_in_csv])
def test_nested_archive_is_not_unpacked(measured_target, make_archive):
    page = measured_target.wait_for_upload(measured_target.upload(("a.zip", make_archive())))
    assert "Published" not in page_text(page)
    wait_for(lambda: upload_bytes_on_disk(measured_target) == 0)


def test_upload_beyond_limit_is_rejected(measured_target):
    for files in (
        [("1/clicks_1.csv", b"0" * (MAX_UPLOAD_BYTES + 1))],
        [(f"images/image_{number}.png", b"0" * 100_000) for number in range(30)],
        [("x" * 100_000, b"0")],
    ):
        assert measured_target.upload(*files).status == 422
    wait_for(lambda: upload_bytes_on_disk(measured_target) == 0)


def test_unprotected_server_unpacks_bomb(unprotected):
    packed = zip_files([("images/image_1.png", b"0" * (10 * MAX_UPLOAD_BYTES))])
    assert len(packed) < MAX_UPLOAD_BYTES / 50
    response = unprotected.upload(("a.zip", packed))
    wait_for(lambda: upload_bytes_on_disk(unprotected) > 5 * MAX_UPLOAD_BYTES)
    assert "larger than 2" not in page_text(unprotected.wait_for_upload(response))
