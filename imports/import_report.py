"""Reports of imports; their fields are the members of the JSON output."""

from dataclasses import dataclass, field

from domain.banners.upload_paths import IgnoredFile
from store.api.import_session import ReplacedStats


@dataclass
class FileImportReport:
    """Row counts of one file; read = stored + duplicate + rejected."""

    name: str
    read: int = 0
    stored: int = 0
    duplicate: int = 0
    rejected: int = 0
    seconds: float = 0.0
    known: bool = False  # imported before; the file has no new rows
    taken: bool = True  # False for a rejected image


@dataclass
class ImportReport:
    """Result of an import, with row counts summed over its files."""

    number: int | None  # None if no file had new rows: nothing was changed then
    files: list[FileImportReport]
    strays: list[IgnoredFile]  # ignored files of the folder
    seconds: float
    replaced: ReplacedStats | None = None  # removed stats of earlier imports
    read: int = field(init=False)
    stored: int = field(init=False)
    duplicate: int = field(init=False)
    rejected: int = field(init=False)
    ok: bool = field(init=False)  # every file that looks like data was imported, now or earlier

    def __post_init__(self) -> None:
        self.read = sum(each.read for each in self.files)
        self.stored = sum(each.stored for each in self.files)
        self.duplicate = sum(each.duplicate for each in self.files)
        self.rejected = sum(each.rejected for each in self.files)
        self.ok = not any(each.data for each in self.strays) and all(
            each.taken for each in self.files
        )
