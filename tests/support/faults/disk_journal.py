"""Possible contents of a disk after a power loss, from a journal written by disk_journal.c."""

import enum
import random
import struct
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

SECTOR_BYTES = 512
RECORD_HEADER = struct.Struct("=IIQQ")


class RecordKind(enum.IntEnum):
    OPEN = 1
    WRITE = 2
    TRUNCATE = 3
    SYNC = 4
    UNLINK = 5
    RENAME = 6


@dataclass(frozen=True)
class JournalRecord:
    number: int
    kind: RecordKind
    path: str  # relative to the folder; "" is the folder itself
    offset: int
    covers_before: int  # a sync covers the records with a lower number
    data: bytes
    end: int  # offset in the journal after the record


def compile_disk_shim(folder: Path) -> Path:
    """Compile the shim and return its path."""
    library = folder / "disk.so"
    source = Path(__file__).with_suffix(".c")
    command = [
        "gcc",
        "-shared",
        "-fPIC",
        "-O2",
        "-o",
        str(library),
        str(source),
        "-ldl",
        "-lpthread",
    ]
    subprocess.run(command, check=True, timeout=60)
    return library


def read_records(journal: Path) -> Iterator[JournalRecord]:
    """Yield the records of a journal, without an incomplete last one."""
    content = journal.read_bytes()
    position = number = 0
    while position + RECORD_HEADER.size <= len(content):
        kind, length, offset, covers_before = RECORD_HEADER.unpack_from(content, position)
        position += RECORD_HEADER.size + length
        if position <= len(content):
            path, _, data = content[position - length : position].partition(b"\0")
            yield JournalRecord(
                number, RecordKind(kind), path.decode(), offset, covers_before, data, position
            )
        number += 1


@dataclass
class SimulatedFile:
    """A file as programs see it, with the changes that may not be on the disk yet."""

    content: bytearray = field(default_factory=bytearray)
    synced: bytes = b""
    # Versions of each sector and lengths since the sync, oldest first, with their record numbers.
    sectors: dict[int, list[tuple[int, bytes]]] = field(default_factory=dict)
    lengths: list[tuple[int, int]] = field(default_factory=list)

    def write(self, number: int, offset: int, data: bytes) -> None:
        end = offset + len(data)
        if end > len(self.content):
            self.content.extend(bytes(end - len(self.content)))
            self.lengths.append((number, end))
        self.content[offset:end] = data
        for sector in range(offset // SECTOR_BYTES, (end - 1) // SECTOR_BYTES + 1):
            now = bytes(self.content[sector * SECTOR_BYTES : (sector + 1) * SECTOR_BYTES])
            self.sectors.setdefault(sector, []).append((number, now))

    def truncate(self, number: int, length: int) -> None:
        del self.content[length:]
        self.content.extend(bytes(length - len(self.content)))
        self.lengths.append((number, length))
        for sector, versions in self.sectors.items():
            if (sector + 1) * SECTOR_BYTES > length:
                now = bytes(self.content[sector * SECTOR_BYTES : (sector + 1) * SECTOR_BYTES])
                versions.append((number, now))

    def sync(self, covers_before: int) -> None:
        """Make the changes before record `covers_before` durable."""
        # Later changes stay uncertain, on top of this content.
        synced = self._as_of(covers_before)
        self.sectors = _since(self.sectors, covers_before)
        self.lengths = [each for each in self.lengths if each[0] >= covers_before]
        self.synced = synced

    def after_power_loss(self, rng: random.Random, share: float) -> bytes:
        """Return a possible content after a power loss, with a share (0–1) of unsynced changes."""
        lengths = [length for _, length in self.lengths if rng.random() < share]
        found = bytearray(self.synced)
        _resize(found, lengths[-1] if lengths else len(found))
        for sector, versions in self.sectors.items():
            if rng.random() < share:
                data = versions[-1 if share == 1 else rng.randrange(len(versions))][1]
                _put(found, sector, data)
        return bytes(found)

    def _as_of(self, covers_before: int) -> bytes:
        found = bytearray(self.synced)
        for number, length in self.lengths:
            if number < covers_before:
                _resize(found, length)
        for sector, versions in self.sectors.items():
            before = [data for number, data in versions if number < covers_before]
            if before and sector * SECTOR_BYTES < len(found):
                _put(found, sector, before[-1][: len(found) - sector * SECTOR_BYTES])
        return bytes(found)


class SimulatedDisk:
    """A folder on a disk, changed by records of a journal."""

    def __init__(self, before: Mapping[str, bytes]) -> None:
        """`before` holds the durable files."""
        self.files = {name: SimulatedFile(bytearray(data), data) for name, data in before.items()}
        self.durable_names = dict(self.files)  # entries of the folder after its last sync

    def apply(self, record: JournalRecord) -> None:
        """Apply a record; all records of a file may be left out."""
        number, path = record.number, record.path
        if record.kind is RecordKind.OPEN:
            self.files.setdefault(path, SimulatedFile())
        elif record.kind is RecordKind.WRITE:
            self.files[path].write(number, record.offset, record.data)
        elif record.kind is RecordKind.TRUNCATE:
            self.files[path].truncate(number, record.offset)
        elif record.kind is RecordKind.SYNC and path:
            self.files[path].sync(record.covers_before)
        elif record.kind is RecordKind.SYNC:
            self.durable_names = dict(self.files)
        elif record.kind is RecordKind.UNLINK:
            self.files.pop(path, None)
        else:
            self.files[record.data[:-1].decode()] = self.files.pop(path)

    def after_power_loss(self, rng: random.Random, share: float) -> dict[str, bytes]:
        """Return possible files after a power loss, with a share (0–1) of unsynced changes."""
        names = {}
        for name in self.files.keys() | self.durable_names.keys():
            source = self.files if rng.random() < share else self.durable_names
            if name in source:
                names[name] = source[name].after_power_loss(rng, share)
        return names


def _since(
    sectors: dict[int, list[tuple[int, bytes]]], covers_before: int
) -> dict[int, list[tuple[int, bytes]]]:
    later = {
        sector: [each for each in versions if each[0] >= covers_before]
        for sector, versions in sectors.items()
    }
    return {sector: versions for sector, versions in later.items() if versions}


def _resize(data: bytearray, length: int) -> None:
    del data[length:]
    data.extend(bytes(length - len(data)))


def _put(data: bytearray, sector: int, content: bytes) -> None:
    offset = sector * SECTOR_BYTES
    if content and offset + len(content) > len(data):
        _resize(data, offset + len(content))
    data[offset : offset + len(content)] = content
