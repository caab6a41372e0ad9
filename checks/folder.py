"""The data folder: where it lies, whose it is, and who may read it."""

import os
import re
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

from checks.finding import Finding, fault, note, well
from settings import call

MOUNTS = Path("/proc/self/mountinfo")
NETWORK = re.compile(r"nfs\d?|cifs|smb\d?|smbfs|9p|afs|ceph|gluster.*|lustre|ocfs2|vboxsf|fuse\..+")
FLEETING = {"tmpfs", "devtmpfs", "ramfs"}
LAYERS = {"overlay", "aufs"}


def folder(data: Path, mounts: Path = MOUNTS) -> Iterator[Finding]:
    """Whether the folder can be used, and kept."""
    if not data.exists():
        yield fault(
            "data",
            f"there is no folder {data}",
            f"name yours (--data, MARQUEE_DATA); a new one is made by: {call('serve', data)}",
        )
        return
    if not data.is_dir():
        yield fault("data", f"{data} is no folder", "name another one with --data")
        return
    yield well("data", f"{data.resolve()}")
    yield from _writable(data)
    yield from _kind(data, mounts)
    yield from _owner(data)


def _writable(data: Path) -> Iterator[Finding]:
    try:
        with tempfile.TemporaryFile(dir=data) as file:
            file.write(b"\0")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        yield fault(
            "writable",
            f"{data} cannot be written to: {error.strerror}",
            "mount its filesystem for writing, or give the folder to the user who serves",
        )
    else:
        yield well("writable", "it can be written to")


def _kind(data: Path, mounts: Path) -> Iterator[Finding]:
    kind = filesystem(data, mounts)
    where = "move the data folder to a local disk"
    if kind is None:
        yield note("filesystem", "which one it lies on cannot be told here")
    elif NETWORK.fullmatch(kind):
        words = f"it lies on {kind}, whose locks and syncs SQLite cannot trust"
        yield fault("filesystem", words, where)
    elif kind in FLEETING:
        yield fault("filesystem", f"it lies on {kind}: in memory, and gone with it", where)
    elif kind in LAYERS:
        words = f"it lies on {kind}: in the container's own layer, and gone with it"
        yield fault("filesystem", words, "mount a volume there (docker run -v marquee:/data)")
    else:
        yield well("filesystem", kind)


def filesystem(path: Path, mounts: Path) -> str | None:
    """The kind of filesystem that `path` lies on (proc_pid_mountinfo(5)), None if unknown."""
    try:
        lines = mounts.read_text().splitlines()
    except OSError:
        return None
    longest, kind = -1, None
    for line in lines:
        left, _, right = line.partition(" - ")
        point = re.sub(r"\\(\d{3})", lambda it: chr(int(it[1], 8)), left.split(" ")[4])
        # Of several at one point, the last is the one that is seen.
        if path.resolve().is_relative_to(point) and len(point) >= longest:
            longest, kind = len(point), right.split(" ")[0]
    return kind


def _owner(data: Path) -> Iterator[Finding]:
    found = list(_permissions(data))
    yield from found or [well("permissions", "it is for its owner alone")]


def _permissions(data: Path) -> Iterator[Finding]:
    owner, ours = _owner_of(data.resolve()), os.geteuid()
    if owner != ours:
        yield fault(
            "permissions",
            f"{data} belongs to user {owner}, and this is user {ours}: files that it makes there "
            "are not for the server",
            f"be that user: sudo -u '#{owner}' …",
        )
    open_ = [
        path
        for path in (data, *sorted(data.iterdir()))
        if stat.S_IMODE(path.lstat().st_mode) & 0o077 and not path.is_symlink()
    ]
    # What the folder keeps from others, it keeps from them whatever its files say.
    if data in open_:
        modes = ", ".join(f"{path.name} {stat.S_IMODE(path.stat().st_mode):o}" for path in open_)
        yield fault(
            "permissions",
            f"others of this machine may read what is in it ({modes})",
            f"chmod -R go= {data}",
        )
    strange = [path.name for path in sorted(data.iterdir()) if _owner_of(path) not in (owner, ours)]
    if strange:
        yield fault(
            "permissions",
            f"not its owner's: {', '.join(strange)}",
            f"chown -R --reference={data} {data}",
        )


def _owner_of(path: Path) -> int:
    return path.lstat().st_uid
