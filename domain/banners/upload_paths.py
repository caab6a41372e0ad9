"""Paths of uploaded files in a campaign folder, and reasons for ignoring other files."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

# The name of a rows file contains its slot, which must match that of a folder 1 to 4.
ROWS_FILE_NAME = re.compile(r"(?:clicks|conversions|impressions)_([1-4])\.csv", re.ASCII)
IMAGE_FILE_NAME = re.compile(r"image_\d{1,19}\.\w{1,5}", re.ASCII)
TARGETS_FILE_NAME = "targets.csv"
SLOT_FOLDER_NAME = re.compile("[1-4]", re.ASCII)
# Files that operating systems and editors leave in folders and archives.
JUNK_FILE_NAME = re.compile(
    r"(?:\.[^.].*|~\$.*|__MACOSX|(?:ehthumbs|Thumbs)\.db|desktop\.ini|Icon\r)",
    re.ASCII | re.IGNORECASE,
)
# Names probably meant for the import, in another case or format.
LIKELY_ROWS_NAME = re.compile(r"(clicks|conversions|impressions)(?:_(\w+))?(\..*)?", re.IGNORECASE)
LIKELY_TARGETS_NAME = re.compile(r"targets(\..*)?", re.IGNORECASE)
LIKELY_IMAGE_NAME = re.compile(r"image.*\.\w+", re.IGNORECASE)
COMPRESSED_SUFFIXES = {".gz", ".bz2", ".xz", ".zst", ".zip", ".7z", ".rar", ".tar", ".tgz"}
SPREADSHEET_SUFFIXES = {".xlsx", ".xls", ".xlsm", ".xlsb", ".ods", ".numbers"}
IMAGE_SUFFIXES = {
    *(".png", ".apng", ".jpg", ".jpeg", ".jfif", ".gif", ".webp", ".svg", ".svgz", ".avif"),
    *(".heic", ".heif", ".bmp", ".ico", ".tif", ".tiff", ".jxl"),
}
TABLE_SUFFIXES = {
    ".csv",
    ".tsv",
    ".tab",
    ".psv",
    ".json",
    ".jsonl",
    ".ndjson",
    ".parquet",
    ".sql",
    ".xml",
}


@dataclass(frozen=True, order=True)
class IgnoredFile:
    """A file that is not imported; `data` is true if it looks like data."""

    name: str
    reason: str
    data: bool = True


def path_in_campaign(path: str) -> str | None:
    """Return the path in the campaign folder for an uploaded path; None if it does not belong."""
    *folders, name = path.replace("\\", "/").split("/")
    slot = next((each for each in reversed(folders) if SLOT_FOLDER_NAME.fullmatch(each)), None)
    if rows := ROWS_FILE_NAME.fullmatch(name):
        return f"{rows[1]}/{name}" if slot in (None, rows[1]) else None
    prefix = f"{slot}/" if slot else ""
    if name == TARGETS_FILE_NAME:
        return prefix + name
    return f"{prefix}images/{name}" if IMAGE_FILE_NAME.fullmatch(name) else None


def is_junk_file(path: str) -> bool:
    """Return whether a file is a by-product of an operating system or an editor."""
    return any(JUNK_FILE_NAME.fullmatch(part) for part in path.replace("\\", "/").split("/"))


def ignored_file(name: str) -> IgnoredFile:
    """Return why the file with the path `name` in the campaign folder is not imported."""
    *folders, file = name.split("/")
    suffixes = {f".{each.lower()}" for each in file.split(".")[1:]}
    rows, targets = LIKELY_ROWS_NAME.fullmatch(file), LIKELY_TARGETS_NAME.fullmatch(file)
    images = bool(suffixes & IMAGE_SUFFIXES)
    data = bool(
        rows
        or targets
        or images
        or suffixes & (COMPRESSED_SUFFIXES | SPREADSHEET_SUFFIXES | TABLE_SUFFIXES)
    )
    return IgnoredFile(
        name, _ignored_reason(folders, file, suffixes, rows, bool(targets), images), data
    )


def _ignored_reason(
    folders: Sequence[str],
    file: str,
    suffixes: set[str],
    rows: re.Match[str] | None,
    targets: bool,
    images: bool,
) -> str:
    if suffixes & COMPRESSED_SUFFIXES:
        return "is compressed: unpack it first"
    if suffixes & SPREADSHEET_SUFFIXES:
        return "is a spreadsheet: export it as CSV"
    if problem := _folder_problem(folders):
        return problem
    slot = folders[0] if folders and folders[0] != "images" else None
    if rows and folders[-1:] != ["images"]:
        return _misnamed_rows_reason(rows[1].lower(), rows[2], slot)
    if targets:
        return f'must be named "{TARGETS_FILE_NAME}"'
    if images and folders[-1:] != ["images"]:
        return 'is an image outside a folder "images"'
    if folders[-1:] == ["images"]:
        return 'must be named "image_<banner_id>.<extension>"'
    return "is no file of an import"


def _misnamed_rows_reason(kind: str, named_slot: str | None, slot: str | None) -> str:
    if slot is None:
        number = named_slot if named_slot and SLOT_FOLDER_NAME.fullmatch(named_slot) else "1–4"
        return f'must be in a folder "{number}", its slot'
    if named_slot and SLOT_FOLDER_NAME.fullmatch(named_slot) and named_slot != slot:
        return f'is of slot {named_slot}, but in the folder "{slot}"'
    return f'must be named "{kind}_{slot}.csv"'


def _folder_problem(folders: Sequence[str]) -> str | None:
    """Return why a folder is not part of an import; None if it is."""
    if not folders or (SLOT_FOLDER_NAME.fullmatch(folders[0]) and folders[1:] in ([], ["images"])):
        return None
    if list(folders) == ["images"]:
        return None
    first = folders[0]
    if first.lower() == "images" != first or folders[-1].lower() == "images" != folders[-1]:
        return 'the folder of images must be named "images"'
    if SLOT_FOLDER_NAME.fullmatch(first) or first == "images":
        return f'the folder "{"/".join(folders)}" is too deep'
    digits = first.strip()
    if digits.isascii() and digits.isdigit():
        if 1 <= int(digits[:9]) <= 4:
            return f'the folder must be named "{int(digits)}", not "{first}"'
        return f'invalid slot "{first}": must be 1–4'
    return f'the folder "{first}" is no slot: must be 1–4'
