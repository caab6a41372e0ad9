"""Import sessions: one interface for the own database and for a running server."""

from typing import Literal, Protocol

import msgspec

# Maximum size of an image.
MAX_IMAGE_BYTES = 10 * 1024 * 1024

StagingOutcome = Literal["stored", "duplicate", "conflict"]
# Campaign and banner of the click of a stored conversion, or why it was not stored.
ConversionOutcome = tuple[int, int] | Literal["duplicate", "unknown"]
# slot, campaign, banner, impressions, clicks, conversions, revenue in micros
StatsRow = tuple[int, int, int, int, int, int, int]


class RowRejection(msgspec.Struct, array_like=True, frozen=True):
    """A rejected row with its original text; line 0 stands for the whole file."""

    file: str
    line: int
    reason: str
    row: str


class ReplacedStats(msgspec.Struct, array_like=True, frozen=True):
    """Totals of earlier imports that a replacement removed."""

    impressions: int
    clicks: int
    conversions: int


class StagedFile(msgspec.Struct, array_like=True, frozen=True):
    """An imported file: its hash, and the number of its rows by outcome."""

    name: str
    sha256: bytes
    read: int
    stored: int
    duplicate: int
    rejected: int


class ImportSession(Protocol):
    """One import: `publish` makes all its rows visible at once, `abort` removes them.

    Each method raises a `StoreError` when it fails; the caller must then abort.
    """

    async def begin(self, source: str) -> int:
        """Begin an import; return its number. Raises `StoreBusy` while another one is active."""

    async def find_imported(self, files: list[tuple[bytes, str]]) -> list[int | None]:
        """Return the number of rows of each imported file, None for a new file.

        A file is identified by its SHA-256 and its name without folders, which determines its kind
        and slot.
        """

    async def replace(self, slots: list[int], campaigns: list[int]) -> ReplacedStats:
        """Stage the removal of all stats of these slots and campaigns."""

    async def undo(self, number: int) -> str:
        """Stage the undo of import `number`; return its source."""

    async def add_clicks(self, slot: int, rows: list[tuple[int, int, int]]) -> list[int]:
        """Stage (click, banner, campaign); return the positions of rows whose id exists."""

    async def add_conversions(
        self, slot: int, rows: list[tuple[int, int, int]]
    ) -> list[ConversionOutcome]:
        """Stage (conversion, click, revenue in micros); return the outcome of each row."""

    async def add_stats(self, rows: list[StatsRow]) -> None:
        """Add to the import's stats."""

    async def add_targets(self, rows: list[tuple[int, str]]) -> list[StagingOutcome]:
        """Stage (banner, URL); "conflict" if this import has another target for the banner."""

    async def add_image(self, banner: int, body: bytes) -> StagingOutcome:
        """Stage a banner's image; "conflict" if this import has another one for the banner."""

    async def add_rejections(self, rows: list[RowRejection]) -> None:
        """Store rejected rows."""

    async def add_file(self, file: StagedFile) -> None:
        """Record a file as imported."""

    async def publish(self) -> None:
        """Make the import's rows visible."""

    async def abort(self) -> None:
        """Remove all rows of the import; do nothing if none is active."""
