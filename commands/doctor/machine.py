"""The machine: files, memory and cores that it gives, and what it cannot tell of its disk."""

import os
import resource
from collections.abc import Iterator
from pathlib import Path

from app.settings import Settings
from commands.doctor.finding import DoctorFinding, fault, note, ok

# Files that are open besides connections: databases, sockets, libraries.
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
    """What the machine gives to a server with these settings."""
    yield from _open_files(settings)
    yield from _memory(settings, proc, cgroup)
    cores = len(os.sched_getaffinity(0))
    if cores < 2:
        words = "one core: folding and acknowledging take turns"
        yield note("cores", words, "two serve some twice as many events")
    else:
        yield ok("cores", f"{cores}")
    backlog = _read_number(proc / "sys/net/core/somaxconn")
    if backlog is not None and backlog < MIN_LISTEN_BACKLOG:
        words = f"only {backlog:,} connections may wait to be accepted"
        yield note("backlog", words, f"sysctl net.core.somaxconn={MIN_LISTEN_BACKLOG}")
    yield from _time_zone(settings, localtime)
    yield note(
        "disk",
        "whether it keeps what it says is written cannot be told from here: a 202 trusts its word",
        "use no disk that lies about its cache, and no filesystem mounted with nobarrier",
    )


def _open_files(settings: Settings) -> Iterator[DoctorFinding]:
    # The soft limit is raised to the hard one at the start.
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    refused = min(512, max(64, settings.max_connections // 8))
    wanted = settings.max_connections + refused + RESERVED_FILES
    if hard != resource.RLIM_INFINITY and hard < wanted:
        yield fault(
            "files",
            f"{hard:,} may be open, and max_connections is {settings.max_connections:,}",
            f"LimitNOFILE={wanted} in the unit (ulimit -Hn), or "
            f"--max-connections {_fitting_connections(hard)}",
        )
    else:
        yield ok("files", "as many may be open as connections are taken")


def _fitting_connections(hard: int) -> int:
    files = hard - RESERVED_FILES
    return max(1, min(files * 8 // 9, files - 64))


def _memory(settings: Settings, proc: Path, cgroup: Path) -> Iterator[DoctorFinding]:
    held = settings.queue_bytes + settings.image_cache
    bounds = [_read_number(cgroup), _total_memory(proc / "meminfo")]
    there = min((each for each in bounds if each), default=None)
    if there is None:
        yield note("memory", "how much there is cannot be told here")
    elif held > there // 2:
        yield fault(
            "memory",
            f"queue_bytes and image_cache may hold {held // MEGABYTE:,} MB of "
            f"{there // MEGABYTE:,} MB",
            "lower them, or give the machine more",
        )
    else:
        yield ok("memory", f"{there // MEGABYTE:,} MB")


def _time_zone(settings: Settings, localtime: Path) -> Iterator[DoctorFinding]:
    target = str(localtime.resolve()) if localtime.is_symlink() else ""
    name = target.partition("zoneinfo/")[2]
    same = {"UTC", "Etc/UTC", "Etc/UCT", "Universal", "Zulu", ""}
    if settings.tz != name and not {settings.tz, name} <= same:
        words = f"the slots follow {settings.tz}, and this machine's clock {name}"
        yield note("tz", words, f"if they should follow it: --tz {name}")
    else:
        yield ok("tz", settings.tz)


def _read_number(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):  # "max" is none
        return None


def _total_memory(path: Path) -> int | None:
    try:
        first = path.read_text().split()
        return int(first[first.index("MemTotal:") + 1]) * 1_024
    except (OSError, ValueError, IndexError):
        return None
