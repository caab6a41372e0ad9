"""Figures and moments as people read them."""

import unicodedata
from datetime import UTC, datetime, timedelta

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# Not printable but legitimate in text: line breaks, tabs, joiners, direction marks, soft hyphens.
HARMLESS_CHARACTERS = "\n\r\t\u00ad\u200c\u200d\u200e\u200f"
SIZE_UNITS = ("bytes", "KB", "MB", "GB", "TB")


def escape_for_terminal(said: str) -> str:
    """What others said, in a line for a terminal: what would steer it stands there escaped."""
    return "".join(
        each if each.isprintable() else each.encode("unicode_escape").decode() for each in said
    )


def escape_control(said: str) -> str:
    """Return text with escapes for control characters, most of which HTML cannot represent.

    Control, format and unassigned characters become their escapes (`\\x00`), as fonts lack the
    pictures of U+2400; what is harmless stays.
    """
    if said.isprintable():
        return said
    return "".join(map(_escape_character, said))


def _escape_character(each: str) -> str:
    if each.isprintable() or each in HARMLESS_CHARACTERS or unicodedata.category(each) == "Zs":
        return each
    return each.encode("unicode_escape").decode()


def format_moment(at: int | None) -> str:
    """A moment in µs as day and second, UTC."""
    if at is None:
        return "never"
    return (EPOCH + timedelta(microseconds=at)).isoformat(" ", "seconds")[:19]


def shorten_timestamp(said: str) -> str:
    """A moment as RFC 3339 has it (`domain/common/timestamp.py`), to the millisecond."""
    return said.replace("T", " ")[:23]


def format_number(value: float) -> str:
    """A number with its thousands apart, and of decimals what can be made out."""
    if value and abs(value) < 10:
        return f"{value:.2f}".rstrip("0").rstrip(".")
    return f"{value:,.1f}" if abs(value) < 100 and value % 1 else f"{value:,.0f}"


def format_size(count: float) -> str:
    """A number of bytes."""
    for unit in SIZE_UNITS:
        if count < 1000 or unit == SIZE_UNITS[-1]:
            return (
                f"{count:,.0f} {unit}" if count >= 100 or unit == "bytes" else f"{count:.1f} {unit}"
            )
        count /= 1000
    raise AssertionError


def format_duration(value: float) -> str:
    """A length of time."""
    if value < 1:
        return f"{value * 1000:.0f} ms" if value >= 0.01 else f"{value * 1000:.1f} ms"
    if value < 120:
        return f"{value:.0f} s"
    return f"{value / 60:.0f} minutes" if value < 7200 else f"{value / 3600:.0f} hours"


def format_count(count: int, one: str, many: str | None = None) -> str:
    """So many of them."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"
