"""The machine: files, memory and cores that it gives, and what it cannot tell of its disk."""

import os
import resource
from collections.abc import Iterator
from pathlib import Path

from checks.finding import Finding, fault, note, well
from settings import Settings

# Files that are open besides connections: databases, sockets, libraries.
BESIDES = 384
BACKLOG = 1_024
MEGABYTE = 1_048_576
PROC = Path("/proc")
CGROUP = Path("/sys/fs/cgroup/memory.max")
LOCALTIME = Path("/etc/localtime")


def machine(
    settings: Settings, proc: Path = PROC, cgroup: Path = CGROUP, localtime: Path = LOCALTIME
) -> Iterator[Finding]:
    """What the machine gives to a server with these settings."""
    yield from _files(settings)
    yield from _memory(settings, proc, cgroup)
    cores = len(os.sched_getaffinity(0))
    if cores < 2:
        words = "one core: folding and acknowledging take turns"
        yield note("cores", words, "two serve some twice as many events")
    else:
        yield well("cores", f"{cores}")
    backlog = _number(proc / "sys/net/core/somaxconn")
    if backlog is not None and backlog < BACKLOG:
        words = f"only {backlog:,} connections may wait to be accepted"
        yield note("backlog", words, f"sysctl net.core.somaxconn={BACKLOG}")
    yield from _zone(settings, localtime)
    yield note(
        "disk",
        "whether it keeps what it says is written cannot be told from here: a 202 trusts its word",
        "use no disk that lies about its cache, and no filesystem mounted with nobarrier",
    )


def _files(settings: Settings) -> Iterator[Finding]:
    # The soft limit is raised to the hard one at the start.
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    refused = min(512, max(64, settings.max_connections // 8))
    wanted = settings.max_connections + refused + BESIDES
    if hard != resource.RLIM_INFINITY and hard < wanted:
        yield fault(
            "files",
            f"{hard:,} may be open, and max_connections is {settings.max_connections:,}",
            f"LimitNOFILE={wanted} in the unit (ulimit -Hn), or --max-connections {_fitting(hard)}",
        )
    else:
        yield well("files", "as many may be open as connections are taken")


def _fitting(hard: int) -> int:
    files = hard - BESIDES
    return max(1, min(files * 8 // 9, files - 64))


def _memory(settings: Settings, proc: Path, cgroup: Path) -> Iterator[Finding]:
    held = settings.queue_bytes + settings.image_cache
    bounds = [_number(cgroup), _total(proc / "meminfo")]
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
        yield well("memory", f"{there // MEGABYTE:,} MB")


def _zone(settings: Settings, localtime: Path) -> Iterator[Finding]:
    target = str(localtime.resolve()) if localtime.is_symlink() else ""
    name = target.partition("zoneinfo/")[2]
    same = {"UTC", "Etc/UTC", "Etc/UCT", "Universal", "Zulu", ""}
    if settings.tz != name and not {settings.tz, name} <= same:
        words = f"the slots follow {settings.tz}, and this machine's clock {name}"
        yield note("tz", words, f"if they should follow it: --tz {name}")
    else:
        yield well("tz", settings.tz)


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):  # "max" is none
        return None


def _total(path: Path) -> int | None:
    try:
        first = path.read_text().split()
        return int(first[first.index("MemTotal:") + 1]) * 1_024
    except (OSError, ValueError, IndexError):
        return None
