"""What a check has found."""

from typing import Literal

import msgspec

State = Literal["well", "note", "fault"]


class Finding(msgspec.Struct, frozen=True, omit_defaults=True):
    """One thing that was looked at: how it is, and what to do where that is something."""

    check: str
    state: State
    words: str
    remedy: str = ""


def well(check: str, words: str) -> Finding:
    """It is as it should be."""
    return Finding(check, "well", words)


def note(check: str, words: str, remedy: str = "") -> Finding:
    """It may be as it is, and its owner should know."""
    return Finding(check, "note", words, remedy)


def fault(check: str, words: str, remedy: str) -> Finding:
    """It should not stay as it is."""
    return Finding(check, "fault", words, remedy)
