"""What a check has found."""

from typing import Literal

import msgspec

FindingState = Literal["well", "note", "fault"]


class DoctorFinding(msgspec.Struct, frozen=True, omit_defaults=True):
    """One thing that was looked at: how it is, and what to do where that is something."""

    check: str
    state: FindingState
    words: str
    remedy: str = ""


def ok(check: str, words: str) -> DoctorFinding:
    """It is as it should be."""
    return DoctorFinding(check, "well", words)


def note(check: str, words: str, remedy: str = "") -> DoctorFinding:
    """It may be as it is, and its owner should know."""
    return DoctorFinding(check, "note", words, remedy)


def fault(check: str, words: str, remedy: str) -> DoctorFinding:
    """It should not stay as it is."""
    return DoctorFinding(check, "fault", words, remedy)
