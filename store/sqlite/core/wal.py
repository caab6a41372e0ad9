"""What a write-ahead log says of itself, to be held against what SQLite found of use in it.

SQLite takes a log up to its first frame that does not fit, as the power may have gone there, and
is silent about what follows. As each commit is on disk before the next one is written, what
follows is at most one commit then; where it is more, the disk has changed what it was given.
(sqlite.org/fileformat2.html, "WAL File Format")
"""

import struct
from pathlib import Path

WAL_HEADER = struct.Struct(">6I")  # magic, version, page size, sequence, two salts
WAL_HEADER_BYTES = 32
FRAME_HEADER = struct.Struct(">4I")  # page, pages after the commit or 0, two salts
FRAME_HEADER_BYTES = 24


def read_wal_header(path: Path) -> bytes:
    """The head of the log at `path`, which is another one once the log was begun anew."""
    try:
        with path.open("rb") as file:
            return file.read(WAL_HEADER_BYTES)
    except FileNotFoundError:
        return b""


def commit_frames(path: Path) -> list[int]:
    """The numbers, from 1, of those frames of the log at `path` that end a commit."""
    found: list[int] = []
    try:
        file = path.open("rb")
    except FileNotFoundError:
        return found
    with file:
        head = file.read(WAL_HEADER_BYTES)
        if len(head) < WAL_HEADER_BYTES:
            return found
        *_, size, _, salt, other = WAL_HEADER.unpack_from(head)
        if not size:
            return found
        number = 0
        while len(frame := file.read(FRAME_HEADER_BYTES)) == FRAME_HEADER_BYTES:
            number += 1
            _, pages, *salts = FRAME_HEADER.unpack_from(frame)
            if pages and salts == [salt, other]:
                found.append(number)
            file.seek(size, 1)
    return found


def count_lost_commits(told: list[int], taken: int) -> int:
    """How many of the commits that were `told` are lost, by no power loss, if SQLite took so many
    frames."""
    after = sum(number > taken for number in told)
    return after if after > 1 else 0
