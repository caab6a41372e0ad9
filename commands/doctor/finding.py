"""The result of a check."""

from typing import Literal

import msgspec

FindingState = Literal["ok", "note", "problem"]


class DoctorFinding(msgspec.Struct, frozen=True, omit_defaults=True):
    """A result of a check with a remedy for a problem."""

    check: str
    state: FindingState
    message: str
    remedy: str = ""


def passed(check: str, message: str) -> DoctorFinding:
    """Return a finding that needs no action."""
    return DoctorFinding(check, "ok", message)


def note(check: str, message: str, remedy: str = "") -> DoctorFinding:
    """Return a finding to be aware of; it does not affect the exit status."""
    return DoctorFinding(check, "note", message, remedy)


def problem(check: str, message: str, remedy: str) -> DoctorFinding:
    """Return a problem to be fixed; the exit status is 1."""
    return DoctorFinding(check, "problem", message, remedy)
