"""Days (UTC) as numbers: 0001-01-01 is the 0th, 9999-12-31 the last."""

import re
from datetime import date

LAST_DAY = date.max.toordinal() - 1
EPOCH_DAY = date(1970, 1, 1).toordinal() - 1
_DATE_PATTERN = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)


class InvalidDate(ValueError):
    """A text that is not a valid date; the message is a predicate such as "is not a date"."""


def parse_day(text: str) -> int:
    """Return the number of a day such as 2021-01-31. Raises `InvalidDate`."""
    if not _DATE_PATTERN.fullmatch(text):
        raise InvalidDate("is not a date such as 2021-01-31")
    try:
        return date.fromisoformat(text).toordinal() - 1
    except ValueError as error:
        raise InvalidDate(f"is not a date: {error}") from None


def day_from_micros(at: int) -> int:
    """Return the day number of a time in µs since 1970."""
    return at // 86_400_000_000 + EPOCH_DAY


def format_day(day: int) -> str:
    """Return a day number as an RFC 3339 date."""
    return date.fromordinal(day + 1).isoformat()
