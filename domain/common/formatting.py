"""Format numbers, times and untrusted text for people."""

import unicodedata
from datetime import UTC, datetime, timedelta

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# Not printable but legitimate in text: line breaks, tabs, joiners, direction marks, soft hyphens.
HARMLESS_CHARACTERS = "\n\r\t\u00ad\u200c\u200d\u200e\u200f"
SIZE_UNITS = ("bytes", "KB", "MB", "GB", "TB")


def escape_for_terminal(text: str) -> str:
    """Escape all unprintable characters: untrusted text must not send terminal control codes."""
    return "".join(
        each if each.isprintable() else each.encode("unicode_escape").decode() for each in text
    )


def escape_control(text: str) -> str:
    """Escape control characters, most of which HTML cannot represent.

    Control, format and unassigned characters become escapes (`\\x00`), as fonts lack the symbols
    of U+2400; spaces and `HARMLESS_CHARACTERS` are unchanged.
    """
    if text.isprintable():
        return text
    return "".join(map(_escape_character, text))


def _escape_character(each: str) -> str:
    if each.isprintable() or each in HARMLESS_CHARACTERS or unicodedata.category(each) == "Zs":
        return each
    return each.encode("unicode_escape").decode()


def format_moment(at: int | None) -> str:
    """Return a time in µs since 1970 as date and time (UTC), to the second."""
    if at is None:
        return "never"
    return (EPOCH + timedelta(microseconds=at)).isoformat(" ", "seconds")[:19]


def shorten_timestamp(text: str) -> str:
    """Truncate a timestamp of `format_timestamp` to milliseconds, with a space for the T."""
    return text.replace("T", " ")[:23]


def format_number(value: float) -> str:
    """Return a number with thousands separators; up to 2 decimals below 10, 1 below 100."""
    if value and abs(value) < 10:
        return f"{value:.2f}".rstrip("0").rstrip(".")
    return f"{value:,.1f}" if abs(value) < 100 and value % 1 else f"{value:,.0f}"


def format_size(count: float) -> str:
    """Return a size in bytes with a decimal unit (1 KB = 1000 bytes)."""
    for unit in SIZE_UNITS:
        if count < 1000 or unit == SIZE_UNITS[-1]:
            return (
                f"{count:,.0f} {unit}" if count >= 100 or unit == "bytes" else f"{count:.1f} {unit}"
            )
        count /= 1000
    raise AssertionError


def format_duration(value: float) -> str:
    """Return a duration in seconds with a unit from ms to hours."""
    if value < 1:
        return f"{value * 1000:.0f} ms" if value >= 0.01 else f"{value * 1000:.1f} ms"
    if value < 120:
        return f"{value:.0f} s"
    return f"{value / 60:.0f} minutes" if value < 7200 else f"{value / 3600:.0f} hours"


def format_count(count: int, one: str, many: str | None = None) -> str:
    """Return a count with its noun in the singular or plural."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"
