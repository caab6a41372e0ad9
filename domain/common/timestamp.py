"""Convert between timestamps as text and microseconds since 1970 (UTC).

The parser accepts RFC 3339 and similar output of databases and languages: a date, a T or a space,
a time with or without a fraction, then Z, an offset (+01:00, +0100 or +01), or nothing (UTC). It
rounds fractions to microseconds, half up. A leap second (23:59:60 UTC) becomes the second after
it, as in POSIX, which has no number for it.
"""

import re
from datetime import UTC, datetime, timedelta

_TIMESTAMP_PATTERN = re.compile(
    r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:)(\d\d)(?:\.(\d{1,30}))?"
    r"(?:[Zz]|([+-])([01]\d|2[0-3])(?::?([0-5]\d))?)?",
    re.ASCII,
)
_DATE_PATTERN = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_EPOCH = datetime(1970, 1, 1)
_EPOCH_UTC = _EPOCH.replace(tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
MICROS_PER_SECOND = 1_000_000
MIN_TIMESTAMP_MICROS = (datetime(1, 1, 1) - _EPOCH) // _MICROSECOND
MAX_TIMESTAMP_MICROS = (datetime(9999, 12, 31, 23, 59, 59, 999_999) - _EPOCH) // _MICROSECOND


class InvalidTimestamp(ValueError):
    """An invalid timestamp; the message is a predicate such as "is not a string"."""


def parse_timestamp(text: str) -> int:
    """Return the microseconds of a timestamp. Raises `InvalidTimestamp`."""
    match = _TIMESTAMP_PATTERN.fullmatch(text)
    if match is None:
        raise InvalidTimestamp("is not a date and time such as 2021-01-01T09:15:27.243860Z")
    date, minute, second, fraction, sign, hours, minutes = match.groups()
    leap = second == "60"
    try:
        moment = datetime.fromisoformat(f"{date}T{minute}{'59' if leap else second}")
    except ValueError as error:
        raise InvalidTimestamp(f"is not a moment: {error}") from None
    offset = (int(hours or 0) * 60 + int(minutes or 0)) * 60 * MICROS_PER_SECOND
    at = (moment - _EPOCH) // _MICROSECOND - (-offset if sign == "-" else offset)
    if leap:
        if at % (86_400 * MICROS_PER_SECOND) != 86_399 * MICROS_PER_SECOND:
            raise InvalidTimestamp("is not a moment: a leap second is the last of a day in UTC")
        at += MICROS_PER_SECOND
    if fraction:
        at += int(fraction[:6].ljust(6, "0")) + (fraction[6:7] >= "5")
    return check_timestamp_range(at)


def parse_day_or_timestamp(text: str) -> int:
    """Return the microseconds of a timestamp or a day's start. Raises `InvalidTimestamp`."""
    return parse_timestamp(f"{text}T00:00:00Z" if _DATE_PATTERN.fullmatch(text) else text)


def micros_from_datetime(moment: datetime) -> int:
    """Return the microseconds of a datetime (UTC if naive). Raises `InvalidTimestamp`."""
    elapsed = moment - (_EPOCH if moment.tzinfo is None else _EPOCH_UTC)
    at = (elapsed.days * 86_400 + elapsed.seconds) * 1_000_000 + elapsed.microseconds
    return at if MIN_TIMESTAMP_MICROS <= at <= MAX_TIMESTAMP_MICROS else check_timestamp_range(at)


def check_timestamp_range(at: int) -> int:
    """Return `at` (µs) if it is in the years 1 to 9999 (UTC). Raises `InvalidTimestamp`."""
    if MIN_TIMESTAMP_MICROS <= at <= MAX_TIMESTAMP_MICROS:
        return at
    raise InvalidTimestamp("is not in the years 1 to 9999")


def format_timestamp(at: int) -> str:
    """Return microseconds since 1970 as RFC 3339 in UTC, with six decimals and Z."""
    return (_EPOCH + timedelta(microseconds=at)).isoformat(timespec="microseconds") + "Z"
