"""Where an import's rows go: the same words for our own store and for a running server's."""

import inspect
from typing import Any, Literal, Protocol, get_type_hints

import msgspec

# An image larger than this is not taken, in bytes.
MAX_IMAGE_BYTES = 10 * 1024 * 1024

StagingOutcome = Literal["stored", "duplicate", "conflict"]
# A stored conversion's click's campaign and banner.
ConversionOutcome = tuple[int, int] | Literal["duplicate", "unknown"]
# slot, campaign, banner, impressions, clicks, conversions, revenue in micros
StatsRow = tuple[int, int, int, int, int, int, int]


class RowRejection(msgspec.Struct, array_like=True, frozen=True):
    """A row that was not taken, as it came; line 0 is the file as a whole."""

    file: str
    line: int
    reason: str
    row: str


class ReplacedStats(msgspec.Struct, array_like=True, frozen=True):
    """Figures of earlier imports that a replacement removed."""

    impressions: int
    clicks: int
    conversions: int


class StagedFile(msgspec.Struct, array_like=True, frozen=True):
    """A file that was taken: its hash, and what became of its rows."""

    name: str
    sha256: bytes
    read: int
    stored: int
    duplicate: int
    rejected: int


class ImportSession(Protocol):
    """One import: nothing of it counts before `publish`, and nothing is left after `abort`.

    Each call raises a `StoreError` when it fails; the import is then to be aborted.
    """

    async def begin(self, source: str) -> int:
        """Begin an import from `source`; its number. `StoreBusy` while another is under way."""

    async def known(self, files: list[tuple[bytes, str]]) -> list[int | None]:
        """Return how many rows each file had when it was imported, None if it was not.

        A file is known by its SHA-256 and by its name without folders, which tells kind and slot.
        """

    async def replace(self, slots: list[int], campaigns: list[int]) -> ReplacedStats:
        """Stage the removal of all figures of these slots and campaigns."""

    async def undo(self, number: int) -> str:
        """Stage the undo of another import; return its source."""

    async def clicks(self, slot: int, rows: list[tuple[int, int, int]]) -> list[int]:
        """Stage (click, banner, campaign); the positions of those whose id is known."""

    async def conversions(
        self, slot: int, rows: list[tuple[int, int, int]]
    ) -> list[ConversionOutcome]:
        """Stage (conversion, click, revenue in micros); for each where it landed."""

    async def figures(self, rows: list[StatsRow]) -> None:
        """Add to the import's figures."""

    async def targets(self, rows: list[tuple[int, str]]) -> list[StagingOutcome]:
        """Stage (banner, address); "conflict" where this import has another for that banner."""

    async def image(self, banner: int, body: bytes) -> StagingOutcome:
        """Stage a banner's image; "conflict" where this import has another for that banner."""

    async def rejects(self, rows: list[RowRejection]) -> None:
        """Keep rows that were not taken."""

    async def file(self, taken: StagedFile) -> None:
        """Remember a file as imported."""

    async def publish(self) -> None:
        """Put the import in force."""

    async def abort(self) -> None:
        """Leave nothing of the import; without one, do nothing."""


class ImportCallTypes:
    """How one of an intake's calls travels: the types of its arguments, and of its answer."""

    def __init__(self, name: str) -> None:
        method = getattr(ImportSession, name)
        hints = get_type_hints(method)
        names = list(inspect.signature(method).parameters)[1:]
        self.arguments: Any = tuple[tuple(hints[each] for each in names)]  # type: ignore[misc]
        self.answer: Any = hints["return"]


IMPORT_CALLS = {
    name: ImportCallTypes(name) for name in vars(ImportSession) if not name.startswith("_")
}
