"""Machine: open files, memory, cores, listen backlog, time zone and disk."""

import os
import resource
from collections.abc import Iterator
from pathlib import Path

from app.settings import Settings
from commands.doctor.finding import DoctorFinding, note, passed, problem

# Open files besides connections: databases, sockets, libraries.
RESERVED_FILES = 384
MIN_LISTEN_BACKLOG = 1_024
MEGABYTE = 1_048_576
PROC = Path("/proc")
CGROUP_MEMORY_MAX = Path("/sys/fs/cgroup/memory.max")
LOCALTIME = Path("/etc/localtime")


def check_machine(
    settings: Settings,
    proc: Path = PROC,
    cgroup: Path = CGROUP_MEMORY_MAX,
    localtime: Path = LOCALTIME,
) -> Iterator[DoctorFinding]:
    """Check the machine's resources for a server with these settings."""
    yield from _open_files(settings)
    yield from _memory(settings, proc, cgroup)
    cores = len(os.sched_getaffinity(0))
    if cores < 2:
        message = "one core: projections and ingest share it"
        yield note("cores", message, "two cores ingest about twice as many events")
    else:
        yield passed("cores", f"{cores}")
    backlog = _read_number(proc / "sys/net/core/somaxconn")
    if backlog is not None and backlog < MIN_LISTEN_BACKLOG:
        message = f"the kernel queues only {backlog:,} new connections"
        yield note("backlog", message, f"sysctl net.core.somaxconn={MIN_LISTEN_BACKLOG}")
    yield from _time_zone(settings, localtime)
    yield note(
        "disk",
        "durability cannot be checked: a 202 response relies on fsync",
        "use a disk with an honest write cache, and do not mount with nobarrier",
    )


def _open_files(settings: Settings) -> Iterator[DoctorFinding]:
    # The server raises the soft limit to the hard limit when it starts.
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    refused = min(512, max(64, settings.max_connections // 8))
    wanted = settings.max_connections + refused + RESERVED_FILES
    if hard != resource.RLIM_INFINITY and hard < wanted:
        yield problem(
            "files",
            f"limit of {hard:,} open files, but max_connections is {settings.max_connections:,}",
            f"LimitNOFILE={wanted} in the unit (ulimit -Hn), or "
            f"--max-connections {_fitting_connections(hard)}",
        )
    else:
        yield passed("files", "the limit of open files allows max_connections")


def _fitting_connections(hard: int) -> int:
    files = hard - RESERVED_FILES
    return max(1, min(files * 8 // 9, files - 64))


def _memory(settings: Settings, proc: Path, cgroup: Path) -> Iterator[DoctorFinding]:
    held = settings.queue_bytes + settings.image_cache
    limits = [_read_number(cgroup), _total_memory(proc / "meminfo")]
    available = min((each for each in limits if each), default=None)
    if available is None:
        yield note("memory", "unknown")
    elif held > available // 2:
        yield problem(
            "memory",
            f"queue_bytes and image_cache may use {held // MEGABYTE:,} MB of "
            f"{available // MEGABYTE:,} MB",
            "lower them, or add memory",
        )
    else:
        yield passed("memory", f"{available // MEGABYTE:,} MB")


def _time_zone(settings: Settings, localtime: Path) -> Iterator[DoctorFinding]:
    target = str(localtime.resolve()) if localtime.is_symlink() else ""
    name = target.partition("zoneinfo/")[2]
    same = {"UTC", "Etc/UTC", "Etc/UCT", "Universal", "Zulu", ""}
    if settings.tz != name and not {settings.tz, name} <= same:
        message = f"slots use {settings.tz}, but this machine uses {name}"
        yield note("tz", message, f"to use the machine's: --tz {name}")
    else:
        yield passed("tz", settings.tz)


def _read_number(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):  # "max" means no limit
        return None


def _total_memory(path: Path) -> int | None:
    try:
        first = path.read_text().split()
        return int(first[first.index("MemTotal:") + 1]) * 1_024
    except (OSError, ValueError, IndexError):
        return None
