"""The data folder: where it lies, whose it is, and who may read it."""

import os
import re
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

from app.settings import command_line
from commands.doctor.finding import DoctorFinding, fault, note, ok

MOUNTINFO = Path("/proc/self/mountinfo")
NETWORK_FILESYSTEMS = re.compile(
    r"nfs\d?|cifs|smb\d?|smbfs|9p|afs|ceph|gluster.*|lustre|ocfs2|vboxsf|fuse\..+"
)
MEMORY_FILESYSTEMS = {"tmpfs", "devtmpfs", "ramfs"}
CONTAINER_FILESYSTEMS = {"overlay", "aufs"}


def check_data_folder(data: Path, mounts: Path = MOUNTINFO) -> Iterator[DoctorFinding]:
    """Whether the folder can be used, and kept."""
    if not data.exists():
        yield fault(
            "data",
            f"there is no folder {data}",
            f"name yours (--data, MARQUEE_DATA), or make one: {command_line('serve', data)}",
        )
        return
    if not data.is_dir():
        yield fault("data", f"{data} is no folder", "name another one with --data")
        return
    yield ok("data", f"{data.resolve()}")
    yield from _check_writable(data)
    yield from _check_filesystem(data, mounts)
    yield from _check_permissions(data)


def _check_writable(data: Path) -> Iterator[DoctorFinding]:
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
        yield ok("writable", "it can be written to")


def _check_filesystem(data: Path, mounts: Path) -> Iterator[DoctorFinding]:
    kind = filesystem_type(data, mounts)
    where = "move the data folder to a local disk"
    if kind is None:
        yield note("filesystem", "which one it lies on cannot be told here")
    elif NETWORK_FILESYSTEMS.fullmatch(kind):
        words = f"it lies on {kind}, whose locks and syncs SQLite cannot trust"
        yield fault("filesystem", words, where)
    elif kind in MEMORY_FILESYSTEMS:
        yield fault("filesystem", f"it lies on {kind}: in memory, and gone with it", where)
    elif kind in CONTAINER_FILESYSTEMS:
        words = f"it lies on {kind}: in the container's own layer, and gone with it"
        yield fault("filesystem", words, "mount a volume there (docker run -v marquee:/data)")
    else:
        yield ok("filesystem", kind)


def filesystem_type(path: Path, mounts: Path) -> str | None:
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


def _check_permissions(data: Path) -> Iterator[DoctorFinding]:
    found = list(_permission_faults(data))
    yield from found or [ok("permissions", "it is for its owner alone")]


def _permission_faults(data: Path) -> Iterator[DoctorFinding]:
    owner, ours = _owner_id(data.resolve()), os.geteuid()
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
    strange = [path.name for path in sorted(data.iterdir()) if _owner_id(path) not in (owner, ours)]
    if strange:
        yield fault(
            "permissions",
            f"not its owner's: {', '.join(strange)}",
            f"chown -R --reference={data} {data}",
        )


def _owner_id(path: Path) -> int:
    return path.lstat().st_uid
