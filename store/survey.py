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

from rules.placing import Stray, litter, stray
from rules.rows import LARGEST, HeaderError, Layout, layout
from rules.slots import SLOTS
from store.errors import StoreRefused

ROWS = ("clicks", "conversions", "impressions")
IMAGE = re.compile(r"image_(\d{1,19})\.\w+", re.ASCII)
CHUNK = 1024 * 1024
# Bytes at a file's beginning in which its header must be.
HEAD = 65_536
# Files not imported that are listed (a mistyped DIR may be a whole disk), and shown in an error.
LISTED, SHOWN = 10_000, 20
WIDE_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, codecs.BOM_UTF32_BE)


@dataclass(frozen=True)
class Source:
    """A file to be imported."""

    path: Path
    name: str  # within the folder
    kind: str  # clicks, conversions, impressions, targets or image
    size: int
    slot: int = 0  # of clicks, conversions and impressions
    banner: int = 0  # of an image


@dataclass(frozen=True)
class Examined:
    """A file's SHA-256, and of a CSV file where its columns are."""

    sha256: bytes
    layout: Layout | None = None


@dataclass
class Survey:
    """The files to be imported, and all others, but for what programs leave in folders."""

    place: str
    sources: list[Source] = field(default_factory=list)
    strays: list[Stray] = field(default_factory=list)

    def leave(self, found: Stray) -> None:
        """List a file that is not imported."""
        if len(self.strays) < LISTED:
            self.strays.append(found)
        elif len(self.strays) == LISTED:
            words = f"there are more than {LISTED:,} such files; the others are not listed"
            self.strays.append(Stray("…", words))


def survey(folder: Path) -> Survey:
    """What `folder` holds, by name; `StoreRefused` if there is nothing to import."""
    found = Survey(_text(folder.resolve()))
    try:
        if not folder.is_dir():
            raise StoreRefused(f"{folder} is not a folder")
        _look(folder, folder, 0, found)
        for slot in SLOTS:
            _look(folder, folder / str(slot), slot, found)
    except OSError as error:
        raise StoreRefused(f"{error.filename} cannot be read: {error.strerror}") from None
    found.strays.sort()
    if not found.sources:
        some = [f"{_text(Path(each.name))} {each.reason}" for each in found.strays[:SHOWN]]
        more = len(found.strays) - len(some)
        raise StoreRefused(
            f"{folder} holds nothing to import: it should have folders 1 to 4 with "
            "impressions_N.csv, clicks_N.csv and conversions_N.csv, or images/ or targets.csv"
            + (f" (not imported: {'; '.join(some)}{f'; {more} more' * bool(more)})" * bool(some))
        )
    found.sources.sort(key=lambda source: source.name)
    return found


def _look(folder: Path, place: Path, slot: int, found: Survey) -> None:
    """Look at the files of the folder, or of a slot's, and at its images."""
    kinds = {f"{kind}_{slot}.csv": kind for kind in ROWS} if slot else {}
    known = {"images"} if slot else {"images", *map(str, SLOTS)}
    for path in _entries(place):
        if path.is_dir():
            if path.name not in known:
                _pass_over(folder, path, found)
        else:
            _add(folder, path, kinds.get(path.name), slot, 0, found)
    for path in _entries(place / "images"):
        image = IMAGE.fullmatch(path.name)
        banner = int(image[1]) if image else LARGEST + 1
        if path.is_dir():
            _pass_over(folder, path, found)
        else:
            _add(folder, path, "image" if banner <= LARGEST else None, 0, banner, found)


def _add(folder: Path, path: Path, kind: str | None, slot: int, banner: int, found: Survey) -> None:
    name = _text(path.relative_to(folder))
    if path.name == "targets.csv":
        kind = "targets"
    if kind is None:
        found.leave(stray(name))
    elif path.is_file():
        found.sources.append(Source(path, name, kind, path.stat().st_size, slot, banner))
    else:
        gone = path.is_symlink() and not path.exists()
        found.leave(Stray(name, "is a link to nothing" if gone else "is not a regular file"))


def _pass_over(folder: Path, place: Path, found: Survey) -> None:
    """List the files of a folder that is not the import's."""

    def unreadable(error: OSError) -> None:
        name = _text(Path(error.filename).relative_to(folder))
        found.leave(Stray(name, f"cannot be read: {error.strerror}"))

    if place.is_symlink():
        found.leave(Stray(_text(place.relative_to(folder)), "is a link to a folder: not followed"))
        return
    if place.suffix:
        meant = stray(_text(place.relative_to(folder)))
        if meant.data:
            found.leave(Stray(meant.name, "is a folder, not a file"))
    for parent, folders, files in os.walk(place, onerror=unreadable):
        folders[:] = sorted(each for each in folders if not litter(each))
        for name in [each for each in folders if Path(parent, each).is_symlink()]:
            path = _text(Path(parent, name).relative_to(folder))
            found.leave(Stray(path, "is a link to a folder: not followed"))
        for name in sorted(files):
            if not litter(name):
                found.leave(stray(_text(Path(parent, name).relative_to(folder))))
        if len(found.strays) > LISTED:
            return


def _text(path: Path) -> str:
    # A file's name may be any bytes, but what is stored and told is text.
    return path.as_posix().encode(errors="surrogateescape").decode(errors="replace")


def _entries(place: Path) -> list[Path]:
    if not place.is_dir():
        return []
    return [path for path in sorted(place.iterdir()) if not litter(path.name)]


def examine(source: Source) -> Examined:
    """A file's SHA-256 and layout; `StoreRefused` for what is not CSV, or lacks its header."""
    digest, decoder = hashlib.sha256(), codecs.getincrementaldecoder("utf-8")()
    head = b""
    try:
        with source.path.open("rb") as file:
            while chunk := file.read(CHUNK):
                head = head or chunk[:HEAD]
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
        return Examined(digest.digest())
    try:
        return Examined(digest.digest(), layout(head, source.kind))
    except HeaderError as error:
        raise StoreRefused(f"{source.name} {error}") from None


def _check_text(source: Source, head: bytes, chunk: bytes) -> None:
    if head.startswith(WIDE_MARKS):
        raise StoreRefused(
            f"{source.name} is UTF-16 or UTF-32 text: save it as UTF-8 (in Excel: CSV UTF-8)"
        )
    if b"\0" in chunk:
        raise StoreRefused(f"{source.name} is not a CSV file: it holds NUL bytes")
