"""What there is to import in a folder, and whether it can be read at all.

DIR/N/impressions_N.csv  DIR/N/clicks_N.csv  DIR/N/conversions_N.csv     for slots N = 1..4
images/image_<banner>.<ext> and targets.csv in DIR, in DIR/images, in DIR/N, in DIR/N/images
"""

import codecs
import hashlib
import os
import re
from dataclasses import dataclass, field
from pathlib import Path

from domain.banners.slots import SLOTS
from domain.banners.upload_paths import IgnoredFile, ignored_file, is_junk_file
from domain.common.csv_rows import MAX_INT64, CsvHeaderError, CsvLayout, detect_layout
from store.api.errors import StoreRefused

CSV_ROW_KINDS = ("clicks", "conversions", "impressions")
IMAGE_NAME_PATTERN = re.compile(r"image_(\d{1,19})\.\w+", re.ASCII)
READ_CHUNK_BYTES = 1024 * 1024
# Bytes at a file's beginning in which its header must be.
MAX_HEADER_BYTES = 65_536
# Files not imported that are listed (a mistyped DIR may be a whole disk), and shown in an error.
MAX_LISTED_SKIPPED, MAX_SHOWN_SKIPPED = 10_000, 20
WIDE_BYTE_ORDER_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, codecs.BOM_UTF32_BE)


@dataclass(frozen=True)
class SourceFile:
    """A file to be imported."""

    path: Path
    name: str  # within the folder
    kind: str  # clicks, conversions, impressions, targets or image
    size: int
    slot: int = 0  # of clicks, conversions and impressions
    banner: int = 0  # of an image


@dataclass(frozen=True)
class SourceFileInfo:
    """A file's SHA-256, and of a CSV file where its columns are."""

    sha256: bytes
    layout: CsvLayout | None = None


@dataclass
class ImportScan:
    """The files to be imported, and all others, but for what programs leave in folders."""

    place: str
    sources: list[SourceFile] = field(default_factory=list)
    strays: list[IgnoredFile] = field(default_factory=list)

    def leave(self, found: IgnoredFile) -> None:
        """List a file that is not imported."""
        if len(self.strays) < MAX_LISTED_SKIPPED:
            self.strays.append(found)
        elif len(self.strays) == MAX_LISTED_SKIPPED:
            words = (
                f"there are more than {MAX_LISTED_SKIPPED:,} such files; the others are not listed"
            )
            self.strays.append(IgnoredFile("…", words))


def scan_folder(folder: Path) -> ImportScan:
    """What `folder` holds, by name; `StoreRefused` if there is nothing to import."""
    found = ImportScan(_display_name(folder.resolve()))
    try:
        if not folder.is_dir():
            raise StoreRefused(f"{folder} is not a folder")
        _scan_subfolder(folder, folder, 0, found)
        for slot in SLOTS:
            _scan_subfolder(folder, folder / str(slot), slot, found)
    except OSError as error:
        raise StoreRefused(f"{error.filename} cannot be read: {error.strerror}") from None
    found.strays.sort()
    if not found.sources:
        some = [
            f"{_display_name(Path(each.name))} {each.reason}"
            for each in found.strays[:MAX_SHOWN_SKIPPED]
        ]
        more = len(found.strays) - len(some)
        raise StoreRefused(
            f"{folder} holds nothing to import: it should have folders 1 to 4 with "
            "impressions_N.csv, clicks_N.csv and conversions_N.csv, or images/ or targets.csv"
            + (f" (not imported: {'; '.join(some)}{f'; {more} more' * bool(more)})" * bool(some))
        )
    found.sources.sort(key=lambda source: source.name)
    return found


def _scan_subfolder(folder: Path, place: Path, slot: int, found: ImportScan) -> None:
    """Look at the files of the folder, or of a slot's, and at its images."""
    kinds = {f"{kind}_{slot}.csv": kind for kind in CSV_ROW_KINDS} if slot else {}
    known = {"images"} if slot else {"images", *map(str, SLOTS)}
    for path in _folder_entries(place):
        if path.is_dir():
            if path.name not in known:
                _skip_folder(folder, path, found)
        else:
            _add_file(folder, path, kinds.get(path.name), slot, 0, found)
    for path in _folder_entries(place / "images"):
        image = IMAGE_NAME_PATTERN.fullmatch(path.name)
        banner = int(image[1]) if image else MAX_INT64 + 1
        if path.is_dir():
            _skip_folder(folder, path, found)
        else:
            _add_file(folder, path, "image" if banner <= MAX_INT64 else None, 0, banner, found)


def _add_file(
    folder: Path, path: Path, kind: str | None, slot: int, banner: int, found: ImportScan
) -> None:
    name = _display_name(path.relative_to(folder))
    if path.name == "targets.csv":
        kind = "targets"
    if kind is None:
        found.leave(ignored_file(name))
    elif path.is_file():
        found.sources.append(SourceFile(path, name, kind, path.stat().st_size, slot, banner))
    else:
        gone = path.is_symlink() and not path.exists()
        found.leave(IgnoredFile(name, "is a link to nothing" if gone else "is not a regular file"))


def _skip_folder(folder: Path, place: Path, found: ImportScan) -> None:
    """List the files of a folder that is not the import's."""

    def unreadable(error: OSError) -> None:
        name = _display_name(Path(error.filename).relative_to(folder))
        found.leave(IgnoredFile(name, f"cannot be read: {error.strerror}"))

    if place.is_symlink():
        found.leave(
            IgnoredFile(
                _display_name(place.relative_to(folder)), "is a link to a folder: not followed"
            )
        )
        return
    if place.suffix:
        meant = ignored_file(_display_name(place.relative_to(folder)))
        if meant.data:
            found.leave(IgnoredFile(meant.name, "is a folder, not a file"))
    for parent, folders, files in os.walk(place, onerror=unreadable):
        folders[:] = sorted(each for each in folders if not is_junk_file(each))
        for name in [each for each in folders if Path(parent, each).is_symlink()]:
            path = _display_name(Path(parent, name).relative_to(folder))
            found.leave(IgnoredFile(path, "is a link to a folder: not followed"))
        for name in sorted(files):
            if not is_junk_file(name):
                found.leave(ignored_file(_display_name(Path(parent, name).relative_to(folder))))
        if len(found.strays) > MAX_LISTED_SKIPPED:
            return


def _display_name(path: Path) -> str:
    # A file's name may be any bytes, but what is stored and told is text.
    return path.as_posix().encode(errors="surrogateescape").decode(errors="replace")


def _folder_entries(place: Path) -> list[Path]:
    if not place.is_dir():
        return []
    return [path for path in sorted(place.iterdir()) if not is_junk_file(path.name)]


def inspect_file(source: SourceFile) -> SourceFileInfo:
    """A file's SHA-256 and layout; `StoreRefused` for what is not CSV, or lacks its header."""
    digest, decoder = hashlib.sha256(), codecs.getincrementaldecoder("utf-8")()
    head = b""
    try:
        with source.path.open("rb") as file:
            while chunk := file.read(READ_CHUNK_BYTES):
                head = head or chunk[:MAX_HEADER_BYTES]
                digest.update(chunk)
                if source.kind != "image":
                    _check_text(source, head, chunk)
                    decoder.decode(chunk)
            decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        raise StoreRefused(
            f"{source.name} is not a CSV file: it is not UTF-8 text; save it as UTF-8"
        ) from None
    except OSError as error:
        raise StoreRefused(f"{source.name} cannot be read: {error.strerror}") from None
    if source.kind == "image":
        return SourceFileInfo(digest.digest())
    try:
        return SourceFileInfo(digest.digest(), detect_layout(head, source.kind))
    except CsvHeaderError as error:
        raise StoreRefused(f"{source.name} {error}") from None


def _check_text(source: SourceFile, head: bytes, chunk: bytes) -> None:
    if head.startswith(WIDE_BYTE_ORDER_MARKS):
        raise StoreRefused(
            f"{source.name} is UTF-16 or UTF-32 text: save it as UTF-8 (in Excel: CSV UTF-8)"
        )
    if b"\0" in chunk:
        raise StoreRefused(f"{source.name} is not a CSV file: it holds NUL bytes")
