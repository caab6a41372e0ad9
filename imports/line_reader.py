"""A file's lines, a batch at a time: bounded in memory, whatever the file's size."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, Protocol

from store.api.errors import StoreRefused

CHUNK_BYTES = 128 * 1024
MAX_LINE_BYTES = 1024 * 1024


class HashLike(Protocol):
    """What takes bytes as they are read, such as a hashlib object."""

    def update(self, data: bytes, /) -> None:
        """Take `data`."""


@dataclass(frozen=True, slots=True)
class LineBatch:
    """Some lines without their ends, and the number of the first; counted from 1."""

    first: int
    lines: list[bytes]
    size: int  # bytes read from the file for them

    def after(self, number: int) -> "LineBatch":
        """The batch without lines up to this number."""
        count = max(0, number + 1 - self.first)
        return LineBatch(self.first + count, self.lines[count:], self.size) if count else self


def read_line_batches(file: BinaryIO, name: str, digest: HashLike) -> Iterator[LineBatch]:
    """The lines of `file`, which may end in LF, CRLF or CR; what is read goes into `digest` too.

    Raises `StoreRefused`, by the file's `name`, for a line that is too long to be one.
    """
    first, rest = 1, b""
    while chunk := file.read(CHUNK_BYTES):
        digest.update(chunk)
        data = rest + chunk
        # A CR at the very end may be the first half of a CRLF.
        cut = max(data.rfind(b"\n"), data.rfind(b"\r", 0, -1)) + 1
        lines, rest = data[:cut].splitlines(), data[cut:]
        if len(rest) > MAX_LINE_BYTES:
            raise StoreRefused(
                f"{name} is not a CSV file: its line {first + len(lines)} is longer than "
                f"{MAX_LINE_BYTES} bytes"
            )
        yield LineBatch(first, lines, len(chunk))
        first += len(lines)
    if rest:
        yield LineBatch(first, rest.splitlines(), 0)
