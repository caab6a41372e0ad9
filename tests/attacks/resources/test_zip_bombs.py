"""Zip bombs: an archive costs no more than an upload may, whatever it says or unpacks to.

Here a real server takes them, and goes on. What each part of an archive can lie about stands in
tests/imports/test_upload_folder.py.
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

# Bytes that an upload may have, packed and unpacked: `--max-upload` of these servers.
MOST = 2_000_000
ROW = b"1,1,1\n"
HEAD = b"click_id,banner_id,campaign_id\n"


def ratio(times: int) -> bytes:
    """One file of `times` what may be unpacked, from a thousandth of that."""
    return zip_files([("1/clicks_1.csv", HEAD + ROW * (times * MOST // len(ROW)))])


def many_files() -> bytes:
    return zip_files((f"x/{number}", b"") for number in range(20_001))


def many_within_bounds() -> bytes:
    return zip_files((f"images/image_{number}.png", b"x" * 2_000) for number in range(1_500))


def nested(depth: int = 6) -> bytes:
    """A zip within a zip within …: each holds sixteen of the next."""
    inner = zip_files([("1/clicks_1.csv", b"0" * 100_000)])
    for _ in range(depth):
        inner = zip_files((f"{number}.zip", inner) for number in range(16))
    return inner


def itself() -> bytes:
    """A zip whose member's bytes are those of a zip, under a name of rows."""
    return zip_files([("1/clicks_1.csv", ratio(1))])


def overlapping() -> bytes:
    """A list of many files that all are the same bytes."""
    packed = zip_files([("images/image_1.png", b"0" * 500_000)])
    end, start = packed.rindex(b"PK\5\6"), packed.index(b"PK\1\2")
    entries = b""
    for number in range(200):
        entry = packed[start:end].replace(b"image_1.png", b"image_%d.png" % (1_000 + number))
        grown = len(b"image_%d.png" % (1_000 + number)) - len(b"image_1.png")
        entries += entry[:28] + struct.pack("<H", 18 + grown) + entry[30:]
    tail = bytearray(packed[end:])
    struct.pack_into("<HHII", tail, 8, 200, 200, len(entries), start)
    return packed[:start] + entries + bytes(tail)


def lying_about_its_size() -> bytes:
    packed = ratio(3)
    said = struct.pack("<I", len(HEAD) + 3 * MOST // len(ROW) * len(ROW))
    assert packed.count(said) == 2
    return packed.replace(said, struct.pack("<I", 10))


def encrypted() -> bytes:
    packed = bytearray(zip_files([("1/clicks_1.csv", b"secret")]))
    for mark, at in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        place = packed.index(mark) + at
        packed[place] |= 1
    return bytes(packed)


def a_method_that_is_none() -> bytes:
    packed = bytearray(zip_files([("1/clicks_1.csv", b"x")]))
    for mark, at in ((b"PK\3\4", 8), (b"PK\1\2", 10)):
        struct.pack_into("<H", packed, packed.index(mark) + at, 99)
    return bytes(packed)


def lzma_of_gigabytes() -> bytes:
    """A method that takes memory as an archive says."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("1/clicks_1.csv", b"0" * (3 * MOST))
    packed = bytearray(made.getvalue())
    # Version, length and literals of its properties, then the size of the dictionary.
    place = packed.index(b"clicks_1.csv") + len(b"clicks_1.csv") + 5
    struct.pack_into("<I", packed, place, 0xFFFFFFFF)
    return bytes(packed)


def bzip() -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_BZIP2) as archive:
        archive.writestr("1/clicks_1.csv", b"0" * (20 * MOST))
    return made.getvalue()


def zip64() -> bytes:
    """An end that tells of any number of files."""
    packed = zip_files([("1/clicks_1.csv", b"x")])
    end = packed.rindex(b"PK\5\6")
    locator = b"PK\6\7" + struct.pack("<IQI", 0, 0, 1)
    return packed[:end] + locator + packed[end:]


def huge_names() -> bytes:
    return zip_files((f"{'x' * 60_000}{number}", b"") for number in range(80))


def long_comment() -> bytes:
    made = io.BytesIO(zip_files([("1/clicks_1.csv", HEAD)]))
    with zipfile.ZipFile(made, "a") as archive:
        archive.comment = b"PK\5\6" * 16_000
    return made.getvalue()


def cut_off() -> bytes:
    packed = zip_files([("1/clicks_1.csv", os.urandom(50_000))])
    return packed[: len(packed) // 2] + packed[packed.rindex(b"PK\1\2") :]


def noise_for_a_stream() -> bytes:
    packed = bytearray(zip_files([("1/clicks_1.csv", os.urandom(50_000))]))
    packed[60:40_000] = os.urandom(39_940)
    return bytes(packed)


def twice_the_same() -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        archive.writestr("a/clicks_1.csv", HEAD)
        archive.writestr("b/clicks_1.csv", HEAD)
    return made.getvalue()


# Each with words of what an owner is told.
REFUSED = [
    (lambda: ratio(2), "larger than 2,000,000 bytes"),
    (lambda: ratio(50), "larger than 2,000,000 bytes"),
    (many_files, "more than 20,000 files"),
    (many_within_bounds, "larger than 2,000,000 bytes"),
    (overlapping, "larger than|cannot be read"),
    (lying_about_its_size, "cannot be read|larger than"),
    (encrypted, "cannot be unpacked"),
    (a_method_that_is_none, "cannot be unpacked"),
    (lzma_of_gigabytes, "cannot be unpacked"),
    (bzip, "cannot be unpacked"),
    (zip64, "more than 20,000 files"),
    (huge_names, "larger than"),
    (long_comment, "cannot be read"),
    (cut_off, "cannot be read"),
    (noise_for_a_stream, "cannot be read"),
    (twice_the_same, "came twice"),
]
IDS = [each.__name__ if each.__name__ != "<lambda>" else "ratio" for each, _ in REFUSED]


def memory(target: AttackTarget) -> int:
    """The most that the server ever had, in MiB."""
    with open(f"/proc/{target.server.process.pid}/status") as status:
        line = next(line for line in status if line.startswith("VmHWM"))
    return int(line.split()[1]) // 1024


def lies(target: AttackTarget) -> int:
    """Bytes of uploads on disk."""
    found = 0
    for folder, _, names in os.walk(target.server.data / "uploads"):
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                found += os.stat(os.path.join(folder, name)).st_size
    return found


@pytest.fixture(scope="module")
def watched(target) -> Iterator[AttackTarget]:
    """The memory that it takes does not grow with what is sent."""
    before = memory(target)
    yield target
    assert memory(target) - before < 80


@pytest.mark.parametrize(("made", "said"), REFUSED, ids=IDS)
def test_an_archive_that_is_a_burden_is_refused_in_words(watched, made, said):
    response = watched.upload(("a.zip", made()))
    told = page_text(response if response.status == 422 else watched.wait_for_upload(response))
    assert any(each in told for each in said.split("|")), told
    assert watched.server.request("/healthz").status == 200
    wait_for(lambda: lies(watched) == 0)


@pytest.mark.parametrize("made", [nested, itself])
def test_what_is_packed_within_is_not_unpacked(watched, made):
    page = watched.wait_for_upload(watched.upload(("a.zip", made())))
    assert "Published" not in page_text(page)
    wait_for(lambda: lies(watched) == 0)


def test_a_form_with_more_than_may_come_is_cut_off(watched):
    for files in (
        [("1/clicks_1.csv", b"0" * (MOST + 1))],
        [(f"images/image_{number}.png", b"0" * 100_000) for number in range(30)],
        [("x" * 100_000, b"0")],
    ):
        assert watched.upload(*files).status == 422
    wait_for(lambda: lies(watched) == 0)


def test_without_the_guard_a_bomb_goes_off(weakened):
    packed = zip_files([("images/image_1.png", b"0" * (10 * MOST))])
    assert len(packed) < MOST / 50
    response = weakened.upload(("a.zip", packed))
    wait_for(lambda: lies(weakened) > 5 * MOST)
    assert "larger than 2" not in page_text(weakened.wait_for_upload(response))
