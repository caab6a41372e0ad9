"""What a disk may hold after the power went, from the journal that `disk_journal.c` wrote."""

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
    path: str  # in the folder; "" is the folder itself
    offset: int
    covers_before: int  # a sync covers the records with a lower number
    data: bytes
    end: int  # in the journal


def compile_disk_shim(folder: Path) -> Path:
    """The shim, compiled."""
    made = folder / "disk.so"
    source = Path(__file__).with_suffix(".c")
    words = ["gcc", "-shared", "-fPIC", "-O2", "-o", str(made), str(source), "-ldl", "-lpthread"]
    subprocess.run(words, check=True, timeout=60)
    return made


def read_records(journal: Path) -> Iterator[JournalRecord]:
    """The journal's records; a last one that is not whole is left out."""
    whole = journal.read_bytes()
    place = number = 0
    while place + RECORD_HEADER.size <= len(whole):
        kind, length, offset, begun = RECORD_HEADER.unpack_from(whole, place)
        place += RECORD_HEADER.size + length
        if place <= len(whole):
            path, _, data = whole[place - length : place].partition(b"\0")
            yield JournalRecord(number, RecordKind(kind), path.decode(), offset, begun, data, place)
        number += 1


@dataclass
class SimulatedFile:
    """As programs see it, and what of it may or may not be on the disk yet."""

    content: bytearray = field(default_factory=bytearray)
    synced: bytes = b""
    # What each sector came to be since, oldest first, and the lengths that the file came to have;
    # each with the number of the record that did it.
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

    def sync(self, begun: int) -> None:
        """What was done before the record `begun` is on the disk now."""
        # Later changes stay uncertain; of what they lie on, this is the oldest that may be there.
        settled = self._as_of(begun)
        self.sectors = _since(self.sectors, begun)
        self.lengths = [each for each in self.lengths if each[0] >= begun]
        self.synced = settled

    def after_power_loss(self, rng: random.Random, share: float) -> bytes:
        """What may be there after a power loss, with about this share of what was not synced."""
        lengths = [length for _, length in self.lengths if rng.random() < share]
        found = bytearray(self.synced)
        _resize(found, lengths[-1] if lengths else len(found))
        for sector, versions in self.sectors.items():
            if rng.random() < share:
                data = versions[-1 if share == 1 else rng.randrange(len(versions))][1]
                _put(found, sector, data)
        return bytes(found)

    def _as_of(self, begun: int) -> bytes:
        found = bytearray(self.synced)
        for number, length in self.lengths:
            if number < begun:
                _resize(found, length)
        for sector, versions in self.sectors.items():
            before = [data for number, data in versions if number < begun]
            if before and sector * SECTOR_BYTES < len(found):
                _put(found, sector, before[-1][: len(found) - sector * SECTOR_BYTES])
        return bytes(found)


class SimulatedDisk:
    """A folder of a disk; `apply` takes the records one by one."""

    def __init__(self, before: Mapping[str, bytes]) -> None:
        """`before` is what was there, for certain."""
        self.files = {name: SimulatedFile(bytearray(data), data) for name, data in before.items()}
        self.durable_names = dict(self.files)  # those names that are on the disk for certain

    def apply(self, record: JournalRecord) -> None:
        """Records of one file need not be applied, if none of that file is."""
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
        """What a power loss may leave: nothing unsynced (0), all (1), or some of it."""
        names = {}
        for name in self.files.keys() | self.durable_names.keys():
            source = self.files if rng.random() < share else self.durable_names
            if name in source:
                names[name] = source[name].after_power_loss(rng, share)
        return names


def _since(
    sectors: dict[int, list[tuple[int, bytes]]], begun: int
) -> dict[int, list[tuple[int, bytes]]]:
    later = {
        sector: [each for each in versions if each[0] >= begun]
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
