"""Versions of Python, SQLite and the packages."""

import re
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from commands.doctor.finding import DoctorFinding, note, passed, problem
from store.sqlite.core.integrity_check import SAFE_SQLITE_VERSION, SQLITE_VERSION

MIN_PYTHON = (3, 11)
LOCK_LINE = re.compile(r"(?m)^([\w.-]+)==([\w.!+]+)")


def check_program(
    lock: Path | None,
    python: tuple[int, ...] = sys.version_info[:3],
    sqlite: tuple[int, ...] = SQLITE_VERSION,
) -> Iterator[DoctorFinding]:
    """Check the versions; `lock` lists the packages, None for the single executable."""
    python_version = ".".join(map(str, python))
    if python < MIN_PYTHON:
        yield problem(
            "python",
            f"version {python_version}",
            "install Python 3.11 or later, then: make install",
        )
    else:
        yield passed("python", python_version)
    sqlite_version = ".".join(map(str, sqlite))
    if sqlite < SAFE_SQLITE_VERSION:
        yield note(
            "sqlite",
            f"{sqlite_version} can corrupt a database with two concurrent writers; Marquee has one "
            "writer",
            "let no other program write to the data folder; 3.51.3 has the fix",
        )
    else:
        yield passed("sqlite", sqlite_version)
    if lock is None:
        yield passed("packages", "included in the executable")
        return
    try:
        locked = LOCK_LINE.findall(lock.read_text())
    except OSError as error:
        message = f"{lock} cannot be read: {error.strerror}"
        yield problem("packages", message, "reinstall the program")
        return
    differing = [
        f"{name} is {found or 'missing'} instead of {wanted}"
        for name, wanted in locked
        if (found := _installed_version(name)) != wanted
    ]
    if differing:
        yield problem(
            "packages", f"differ from requirements.lock: {'; '.join(differing)}", "make install"
        )
    else:
        yield passed("packages", f"all {len(locked)} match requirements.lock")


def _installed_version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
