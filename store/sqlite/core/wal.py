"""Reads the commits in a WAL file, for comparison with those that SQLite recovers.

SQLite recovers a WAL up to the first invalid frame and silently ignores the rest. After a power
failure the rest is at most one commit, because each commit is on disk before the next is written.
If more commits follow, the disk has corrupted data.
(sqlite.org/fileformat2.html, "WAL File Format")
"""

import struct
from pathlib import Path

WAL_HEADER = struct.Struct(">6I")  # magic, version, page size, sequence, two salts
WAL_HEADER_BYTES = 32
FRAME_HEADER = struct.Struct(">4I")  # page, pages after the commit or 0, two salts
FRAME_HEADER_BYTES = 24


def read_wal_header(path: Path) -> bytes:
    """Return the WAL's header, which changes when SQLite restarts the WAL; empty if missing."""
    try:
        with path.open("rb") as file:
            return file.read(WAL_HEADER_BYTES)
    except FileNotFoundError:
        return b""


def commit_frames(path: Path) -> list[int]:
    """Return the numbers, from 1, of the WAL frames that end a commit."""
    found: list[int] = []
    try:
        file = path.open("rb")
    except FileNotFoundError:
        return found
    with file:
        header = file.read(WAL_HEADER_BYTES)
        if len(header) < WAL_HEADER_BYTES:
            return found
        *_, size, _, salt1, salt2 = WAL_HEADER.unpack_from(header)
        if not size:
            return found
        number = 0
        while len(frame := file.read(FRAME_HEADER_BYTES)) == FRAME_HEADER_BYTES:
            number += 1
            _, pages, *salts = FRAME_HEADER.unpack_from(frame)
            if pages and salts == [salt1, salt2]:
                found.append(number)
            file.seek(size, 1)
    return found


def count_lost_commits(commits: list[int], recovered: int) -> int:
    """Return how many `commits` (by last frame) a disk lost, given SQLite's recovered frames.

    A single one counts as none, because a power failure explains it.
    """
    lost = sum(frame > recovered for frame in commits)
    return lost if lost > 1 else 0
