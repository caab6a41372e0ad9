"""What became of an import."""

from dataclasses import dataclass, field

from domain.banners.upload_paths import IgnoredFile
from store.api.import_session import ReplacedStats


@dataclass
class FileImportReport:
    """What became of one file; read = stored + duplicate + rejected, in rows."""

    name: str
    read: int = 0
    stored: int = 0
    duplicate: int = 0
    rejected: int = 0
    seconds: float = 0.0
    known: bool = False  # imported before, and nothing in it is new
    taken: bool = True  # also if known; some rows may have been rejected


@dataclass
class ImportReport:
    """What became of an import, and of all its files in sum."""

    number: int | None  # None if there was nothing new: nothing has changed then
    files: list[FileImportReport]
    strays: list[IgnoredFile]  # files of the folder that are not imported
    seconds: float
    replaced: ReplacedStats | None = None  # figures of earlier imports that were removed
    read: int = field(init=False)
    stored: int = field(init=False)
    duplicate: int = field(init=False)
    rejected: int = field(init=False)
    ok: bool = field(init=False)  # every file that looks like data was imported, now or before

    def __post_init__(self) -> None:
        self.read = sum(each.read for each in self.files)
        self.stored = sum(each.stored for each in self.files)
        self.duplicate = sum(each.duplicate for each in self.files)
        self.rejected = sum(each.rejected for each in self.files)
        self.ok = not any(each.data for each in self.strays) and all(
            each.taken for each in self.files
        )
