"""Data folder: existence, file system, ownership and permissions."""

import os
import re
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

from app.settings import command_line
from commands.doctor.finding import DoctorFinding, note, passed, problem

MOUNTINFO = Path("/proc/self/mountinfo")
NETWORK_FILESYSTEMS = re.compile(
    r"nfs\d?|cifs|smb\d?|smbfs|9p|afs|ceph|gluster.*|lustre|ocfs2|vboxsf|fuse\..+"
)
MEMORY_FILESYSTEMS = {"tmpfs", "devtmpfs", "ramfs"}
CONTAINER_FILESYSTEMS = {"overlay", "aufs"}


def check_data_folder(data: Path, mounts: Path = MOUNTINFO) -> Iterator[DoctorFinding]:
    """Check that the folder is usable, durable and private."""
    if not data.exists():
        yield problem(
            "data",
            f"folder {data} does not exist",
            f"set another one (--data, MARQUEE_DATA), or create it: {command_line('serve', data)}",
        )
        return
    if not data.is_dir():
        yield problem("data", f"{data} is not a folder", "set another one with --data")
        return
    yield passed("data", f"{data.resolve()}")
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
        yield problem(
            "writable",
            f"{data} is not writable: {error.strerror}",
            "mount the file system read-write, or make the user of the server its owner",
        )
    else:
        yield passed("writable", "writable")


def _check_filesystem(data: Path, mounts: Path) -> Iterator[DoctorFinding]:
    kind = filesystem_type(data, mounts)
    remedy = "move the data folder to a local disk"
    if kind is None:
        yield note("filesystem", "unknown")
    elif NETWORK_FILESYSTEMS.fullmatch(kind):
        message = f"on {kind}: SQLite needs reliable locks and syncs"
        yield problem("filesystem", message, remedy)
    elif kind in MEMORY_FILESYSTEMS:
        yield problem("filesystem", f"on {kind}: in memory, lost at a restart", remedy)
    elif kind in CONTAINER_FILESYSTEMS:
        message = f"on {kind}: in the container's layer, lost with the container"
        yield problem("filesystem", message, "mount a volume there (docker run -v marquee:/data)")
    else:
        yield passed("filesystem", kind)


def filesystem_type(path: Path, mounts: Path) -> str | None:
    """Return the type of a path's file system (proc_pid_mountinfo(5)); None if unknown."""
    try:
        lines = mounts.read_text().splitlines()
    except OSError:
        return None
    longest, kind = -1, None
    for line in lines:
        left, _, right = line.partition(" - ")
        point = re.sub(r"\\(\d{3})", lambda it: chr(int(it[1], 8)), left.split(" ")[4])
        # Of several mounts at one point, the last one is visible.
        if path.resolve().is_relative_to(point) and len(point) >= longest:
            longest, kind = len(point), right.split(" ")[0]
    return kind


def _check_permissions(data: Path) -> Iterator[DoctorFinding]:
    problems = list(_permission_problems(data))
    yield from problems or [passed("permissions", "only the owner has access")]


def _permission_problems(data: Path) -> Iterator[DoctorFinding]:
    owner, ours = _owner_id(data.resolve()), os.geteuid()
    if owner != ours:
        yield problem(
            "permissions",
            f"{data} belongs to user {owner}, but this is user {ours}: the server cannot use files "
            "that this user creates",
            f"run as that user: sudo -u '#{owner}' …",
        )
    readable = [
        path
        for path in (data, *sorted(data.iterdir()))
        if stat.S_IMODE(path.lstat().st_mode) & 0o077 and not path.is_symlink()
    ]
    # The folder's mode protects its files, whatever their modes.
    if data in readable:
        modes = ", ".join(f"{path.name} {stat.S_IMODE(path.stat().st_mode):o}" for path in readable)
        yield problem(
            "permissions",
            f"other users can read it ({modes})",
            f"chmod -R go= {data}",
        )
    foreign = [path.name for path in sorted(data.iterdir()) if _owner_id(path) not in (owner, ours)]
    if foreign:
        yield problem(
            "permissions",
            f"files of another owner: {', '.join(foreign)}",
            f"chown -R --reference={data} {data}",
        )


def _owner_id(path: Path) -> int:
    return path.lstat().st_uid
