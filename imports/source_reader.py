"""Contents of source files, checked to be unchanged since their inspection."""

import hashlib
import logging
from collections.abc import Callable, Iterator, Mapping

from domain.common.csv_rows import DELIMITERS, CsvLayout
from imports.import_scan import SourceFile, SourceFileInfo
from imports.line_reader import LineBatch, read_line_batches
from store.api.errors import StoreRefused

LOG = logging.getLogger("marquee.import")

# Called with the number of bytes done and the total.
ProgressCallback = Callable[[int, int], None]


class SourceReader:
    """Reads source files and reports progress."""

    def __init__(
        self, infos: Mapping[str, SourceFileInfo], total: int, on_progress: ProgressCallback
    ) -> None:
        """`infos` are the inspected files by name, `total` is the number of bytes to read."""
        self._infos = infos
        self._done, self._total = 0, total
        self._on_progress = on_progress
        on_progress(0, total)

    def sha256(self, source: SourceFile) -> bytes:
        """Return the SHA-256 of a file."""
        return self._infos[source.name].sha256

    def layout(self, source: SourceFile) -> CsvLayout:
        """Return the layout of a CSV file."""
        layout = self._infos[source.name].layout
        assert layout is not None
        return layout

    def read_batches(self, source: SourceFile) -> Iterator[LineBatch]:
        """Yield the lines of a file after its header; raise `StoreRefused` if it has changed."""
        digest, layout = hashlib.sha256(), self.layout(source)
        if layout.delimiter != b",":
            LOG.info("%s is separated by %s", source.name, DELIMITERS[layout.delimiter])
        try:
            with source.path.open("rb") as file:
                for batch in read_line_batches(file, source.name, digest):
                    yield batch.after(layout.line)
                    self.advance(batch.size)
        except OSError as error:
            raise StoreRefused(f"{source.name} cannot be read: {error.strerror}") from None
        self._check_unchanged(source, digest.digest())

    def read_image(self, source: SourceFile) -> bytes:
        """Return an image; raise `StoreRefused` if it has changed."""
        try:
            body = source.path.read_bytes()
        except OSError as error:
            raise StoreRefused(f"{source.name} cannot be read: {error.strerror}") from None
        self._check_unchanged(source, hashlib.sha256(body).digest())
        return body

    def advance(self, size: int) -> None:
        """Report `size` more bytes as done."""
        self._done += size
        self._on_progress(self._done, self._total)

    def _check_unchanged(self, source: SourceFile, sha256: bytes) -> None:
        if sha256 != self.sha256(source):
            raise StoreRefused(f"{source.name} changed while it was read: import again")
