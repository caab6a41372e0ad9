"""What runs: Python, SQLite and the packages, by what was locked and tested."""

import re
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from commands.doctor.finding import DoctorFinding, fault, note, ok
from store.sqlite.core.integrity_check import SAFE_SQLITE_VERSION, SQLITE_VERSION

MIN_PYTHON = (3, 11)
LOCK_LINE = re.compile(r"(?m)^([\w.-]+)==([\w.!+]+)")


def check_program(
    lock: Path | None,
    python: tuple[int, ...] = sys.version_info[:3],
    sqlite: tuple[int, ...] = SQLITE_VERSION,
) -> Iterator[DoctorFinding]:
    """What is to be said of the program; `lock` names its packages, None if they are built in."""
    told = ".".join(map(str, python))
    if python < MIN_PYTHON:
        yield fault("python", f"it is {told}", "install Python 3.11 or later, then: make install")
    else:
        yield ok("python", told)
    told = ".".join(map(str, sqlite))
    if sqlite < SAFE_SQLITE_VERSION:
        yield note(
            "sqlite",
            f"{told} can harm a database that two connections write at the same instant; Marquee "
            "writes with one",
            "keep other programs out of the data folder; 3.51.3 is the first without this",
        )
    else:
        yield ok("sqlite", told)
    if lock is None:
        yield ok("packages", "they are in the program's one file")
        return
    try:
        locked = LOCK_LINE.findall(lock.read_text())
    except OSError as error:
        words = f"{lock} cannot be read: {error.strerror}"
        yield fault("packages", words, "bring the program's folder back")
        return
    apart = [
        f"{name} is {found or 'missing'} and not {wanted}"
        for name, wanted in locked
        if (found := _installed_version(name)) != wanted
    ]
    if apart:
        yield fault("packages", f"not as locked: {'; '.join(apart)}", "make install")
    else:
        yield ok("packages", f"all {len(locked)} are as locked")


def _installed_version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
