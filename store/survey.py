"""What there is to import in a folder, and whether it can be read at all.

DIR/N/impressions_N.csv  DIR/N/clicks_N.csv  DIR/N/conversions_N.csv     for slots N = 1..4
images/image_<banner>.<ext> and targets.csv in DIR, in DIR/images, in DIR/N, in DIR/N/images
"""

import codecs
import hashlib
import re
from dataclasses import dataclass, field
from pathlib import Path

from rules.rows import HEADERS, LARGEST, is_header
from rules.slots import SLOTS
from store.errors import StoreRefused

ROWS = ("clicks", "conversions", "impressions")
IMAGE = re.compile(r"image_(\d{1,19})\.\w+", re.ASCII)
KNOWN = {".csv", ".png", ".jpg", ".jpeg", ".gif", ".webp", ".svg", ".avif"}
CHUNK = 1024 * 1024


@dataclass(frozen=True)
class Source:
    """A file to be imported."""

    path: Path
    name: str  # within the folder
    kind: str  # clicks, conversions, impressions, targets or image
    size: int
    slot: int = 0  # of clicks, conversions and impressions
    banner: int = 0  # of an image


@dataclass
class Survey:
    """What was found; `strays` are CSV files and images not taken for their name, place or kind."""

    place: str
    sources: list[Source] = field(default_factory=list)
    strays: list[str] = field(default_factory=list)


def survey(folder: Path) -> Survey:
    """What `folder` holds, by name; `StoreRefused` if there is nothing to import."""
    found = Survey(_text(folder.resolve()))
    try:
        if not folder.is_dir():
            raise StoreRefused(f"{folder} is not a folder")
        _look(folder, folder, 0, found)
        for slot in SLOTS:
            if (folder / str(slot)).is_dir():
                _look(folder, folder / str(slot), slot, found)
    except OSError as error:
        raise StoreRefused(f"{error.filename} cannot be read: {error.strerror}") from None
    if not found.sources:
        raise StoreRefused(
            f"{folder} holds nothing to import: it should have folders 1 to 4 with "
            "impressions_N.csv, clicks_N.csv and conversions_N.csv, or images/ or targets.csv"
            + (f" (not known: {', '.join(found.strays)})" if found.strays else "")
        )
    found.sources.sort(key=lambda source: source.name)
    return found


def _look(folder: Path, place: Path, slot: int, found: Survey) -> None:
    kinds = {f"{kind}_{slot}.csv": kind for kind in ROWS} if slot else {}
    for path in _entries(place):
        _add(folder, path, kinds.get(path.name), slot, 0, found)
    for path in _entries(place / "images"):
        image = IMAGE.fullmatch(path.name)
        banner = int(image[1]) if image else LARGEST + 1
        _add(folder, path, "image" if banner <= LARGEST else None, 0, banner, found)


def _add(folder: Path, path: Path, kind: str | None, slot: int, banner: int, found: Survey) -> None:
    name = _text(path.relative_to(folder))
    if path.name == "targets.csv":
        kind = "targets"
    # A link to what is gone has a name that says something, and yet nothing to read.
    if kind and path.is_file():
        found.sources.append(Source(path, name, kind, path.stat().st_size, slot, banner))
    elif path.suffix.lower() in KNOWN:
        found.strays.append(name)


def _text(path: Path) -> str:
    # A file's name may be any bytes, but what is stored and told is text.
    return path.as_posix().encode(errors="surrogateescape").decode(errors="replace")


def _entries(place: Path) -> list[Path]:
    if not place.is_dir():
        return []
    return [path for path in sorted(place.iterdir()) if not path.name.startswith(".")]


def examine(source: Source) -> bytes:
    """A file's SHA-256; `StoreRefused` for what should be CSV and isn't, or lacks its header."""
    digest, decoder = hashlib.sha256(), codecs.getincrementaldecoder("utf-8")()
    head = b""
    try:
        with source.path.open("rb") as file:
            while chunk := file.read(CHUNK):
                head = head or chunk[:4096]
                digest.update(chunk)
                if source.kind != "image":
                    if b"\0" in chunk:
                        raise StoreRefused(f"{source.name} is not a CSV file: it holds NUL bytes")
                    decoder.decode(chunk)
            decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        raise StoreRefused(f"{source.name} is not a CSV file: it is not UTF-8 text") from None
    except OSError as error:
        raise StoreRefused(f"{source.name} cannot be read: {error.strerror}") from None
    if source.kind != "image":
        _check_header(source, head)
    return digest.digest()


def _check_header(source: Source, head: bytes) -> None:
    if not head:
        raise StoreRefused(f"{source.name} is empty; it lacks even its header")
    first = head.splitlines()[0]
    if not is_header(first, source.kind):
        raise StoreRefused(
            f"{source.name} lacks its header: its first line should be "
            f"{','.join(HEADERS[source.kind])}, and is {first[:80].decode(errors='replace')!r}"
        )
