"""Lines of a file in batches of bounded size."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, Protocol

from store.api.errors import StoreRefused

CHUNK_BYTES = 128 * 1024
MAX_LINE_BYTES = 1024 * 1024


class HashLike(Protocol):
    """An object with the interface of a hashlib hash."""

    def update(self, data: bytes, /) -> None:
        """Add `data`."""


@dataclass(frozen=True, slots=True)
class LineBatch:
    """Lines without line ends, and the number of the first, counted from 1."""

    first: int
    lines: list[bytes]
    size: int  # bytes read from the file for them

    def after(self, number: int) -> "LineBatch":
        """Return the batch without the lines up to this number."""
        count = max(0, number + 1 - self.first)
        return LineBatch(self.first + count, self.lines[count:], self.size) if count else self


def read_line_batches(file: BinaryIO, name: str, digest: HashLike) -> Iterator[LineBatch]:
    """Yield the lines of `file`, which end in LF, CRLF or CR, and add all bytes to `digest`.

    Raises `StoreRefused` with the file's `name` for a line of more than `MAX_LINE_BYTES`.
    """
    first, rest = 1, b""
    while chunk := file.read(CHUNK_BYTES):
        digest.update(chunk)
        data = rest + chunk
        # A CR at the very end may be the first half of a CRLF.
        end = max(data.rfind(b"\n"), data.rfind(b"\r", 0, -1)) + 1
        lines, rest = data[:end].splitlines(), data[end:]
        if len(rest) > MAX_LINE_BYTES:
            raise StoreRefused(
                f"{name} is not a CSV file: its line {first + len(lines)} is longer than "
                f"{MAX_LINE_BYTES} bytes"
            )
        yield LineBatch(first, lines, len(chunk))
        first += len(lines)
    if rest:
        yield LineBatch(first, rest.splitlines(), 0)
