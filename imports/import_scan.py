"""Scan of a folder for files to import.

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
# The header must be within the first bytes of a file.
MAX_HEADER_BYTES = 65_536
# Maximum number of ignored files in a report (a mistyped DIR may be a whole disk) and in an error.
MAX_LISTED_IGNORED, MAX_SHOWN_IGNORED = 10_000, 20
WIDE_BYTE_ORDER_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, codecs.BOM_UTF32_BE)


@dataclass(frozen=True)
class SourceFile:
    """A file to import."""

    path: Path
    name: str  # within the folder
    kind: str  # clicks, conversions, impressions, targets or image
    size: int
    slot: int = 0  # of clicks, conversions and impressions
    banner: int = 0  # of an image


@dataclass(frozen=True)
class SourceFileInfo:
    """A file's SHA-256, and the layout of a CSV file."""

    sha256: bytes
    layout: CsvLayout | None = None


@dataclass
class ImportScan:
    """Files to import, and ignored files except junk such as `.DS_Store`."""

    source_name: str
    sources: list[SourceFile] = field(default_factory=list)
    ignored: list[IgnoredFile] = field(default_factory=list)

    def add_ignored(self, file: IgnoredFile) -> None:
        """Add an ignored file, up to `MAX_LISTED_IGNORED`."""
        if len(self.ignored) < MAX_LISTED_IGNORED:
            self.ignored.append(file)
        elif len(self.ignored) == MAX_LISTED_IGNORED:
            reason = (
                f"there are more than {MAX_LISTED_IGNORED:,} such files; the others are not listed"
            )
            self.ignored.append(IgnoredFile("…", reason))


def scan_folder(folder: Path) -> ImportScan:
    """Scan `folder`; raise `StoreRefused` if it has no files to import."""
    scan = ImportScan(_display_name(folder.resolve()))
    try:
        if not folder.is_dir():
            raise StoreRefused(f"{folder} is not a folder")
        _scan_subfolder(folder, folder, 0, scan)
        for slot in SLOTS:
            _scan_subfolder(folder, folder / str(slot), slot, scan)
    except OSError as error:
        raise StoreRefused(f"{error.filename} cannot be read: {error.strerror}") from None
    scan.ignored.sort()
    if not scan.sources:
        shown = [
            f"{_display_name(Path(each.name))} {each.reason}"
            for each in scan.ignored[:MAX_SHOWN_IGNORED]
        ]
        more = len(scan.ignored) - len(shown)
        raise StoreRefused(
            f"{folder} holds nothing to import: it should have folders 1 to 4 with "
            "impressions_N.csv, clicks_N.csv and conversions_N.csv, or images/ or targets.csv"
            + (f" (not imported: {'; '.join(shown)}{f'; {more} more' * bool(more)})" * bool(shown))
        )
    scan.sources.sort(key=lambda source: source.name)
    return scan


def _scan_subfolder(folder: Path, subfolder: Path, slot: int, scan: ImportScan) -> None:
    """Scan `folder` itself (slot 0) or the subfolder of a slot, and its `images` folder."""
    kinds = {f"{kind}_{slot}.csv": kind for kind in CSV_ROW_KINDS} if slot else {}
    scanned = {"images"} if slot else {"images", *map(str, SLOTS)}
    for path in _folder_entries(subfolder):
        if path.is_dir():
            if path.name not in scanned:
                _skip_folder(folder, path, scan)
        else:
            _add_file(folder, path, kinds.get(path.name), slot, 0, scan)
    for path in _folder_entries(subfolder / "images"):
        image = IMAGE_NAME_PATTERN.fullmatch(path.name)
        banner = int(image[1]) if image else MAX_INT64 + 1
        if path.is_dir():
            _skip_folder(folder, path, scan)
        else:
            _add_file(folder, path, "image" if banner <= MAX_INT64 else None, 0, banner, scan)


def _add_file(
    folder: Path, path: Path, kind: str | None, slot: int, banner: int, scan: ImportScan
) -> None:
    name = _display_name(path.relative_to(folder))
    if path.name == "targets.csv":
        kind = "targets"
    if kind is None:
        scan.add_ignored(ignored_file(name))
    elif path.is_file():
        scan.sources.append(SourceFile(path, name, kind, path.stat().st_size, slot, banner))
    else:
        is_broken = path.is_symlink() and not path.exists()
        scan.add_ignored(
            IgnoredFile(name, "is a broken link" if is_broken else "is not a regular file")
        )


def _skip_folder(folder: Path, skipped: Path, scan: ImportScan) -> None:
    """Add the files of a folder that is not part of the layout to the ignored ones."""

    def add_unreadable(error: OSError) -> None:
        name = _display_name(Path(error.filename).relative_to(folder))
        scan.add_ignored(IgnoredFile(name, f"cannot be read: {error.strerror}"))

    if skipped.is_symlink():
        scan.add_ignored(
            IgnoredFile(
                _display_name(skipped.relative_to(folder)), "is a link to a folder: not followed"
            )
        )
        return
    if skipped.suffix:
        file = ignored_file(_display_name(skipped.relative_to(folder)))
        if file.data:
            scan.add_ignored(IgnoredFile(file.name, "is a folder, not a file"))
    for parent, folders, files in os.walk(skipped, onerror=add_unreadable):
        folders[:] = sorted(each for each in folders if not is_junk_file(each))
        for name in [each for each in folders if Path(parent, each).is_symlink()]:
            path = _display_name(Path(parent, name).relative_to(folder))
            scan.add_ignored(IgnoredFile(path, "is a link to a folder: not followed"))
        for name in sorted(files):
            if not is_junk_file(name):
                scan.add_ignored(
                    ignored_file(_display_name(Path(parent, name).relative_to(folder)))
                )
        if len(scan.ignored) > MAX_LISTED_IGNORED:
            return


def _display_name(path: Path) -> str:
    # A file name may be any bytes; the store and reports need text.
    return path.as_posix().encode(errors="surrogateescape").decode(errors="replace")


def _folder_entries(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return [path for path in sorted(folder.iterdir()) if not is_junk_file(path.name)]


def inspect_file(source: SourceFile) -> SourceFileInfo:
    """Return a file's SHA-256 and layout; raise `StoreRefused` for invalid CSV or header."""
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
