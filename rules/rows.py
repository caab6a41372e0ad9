"""What makes a row of an imported CSV file right.

A row is one physical line: no field of ours may hold a line break, so that a stray quote costs
one line and not the rest of the file.
"""

import csv
import re
from collections.abc import Callable
from decimal import ROUND_HALF_EVEN, Context, Decimal, InvalidOperation
from typing import Any, NamedTuple
from urllib.parse import urlsplit

HEADERS = {
    "impressions": ("banner_id", "campaign_id"),
    "clicks": ("click_id", "banner_id", "campaign_id"),
    "conversions": ("conversion_id", "click_id", "revenue"),
    "targets": ("banner_id", "url"),
}
# Delimiters and their names.
DELIMITERS = {b",": "commas", b";": "semicolons", b"\t": "tabs", b"|": "vertical bars"}
BLANK = b' \t\r\n\f,;|"'
SEPARATOR = re.compile(rb'"?sep=.?"?,*', re.IGNORECASE)
LARGEST = 2**63 - 1
MICROS = 1_000_000
LONGEST_URL = 4_000
WHOLE = re.compile(rb"[+-]?[0-9]+")
NUMBER = re.compile(rb"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
NOT_FINITE = re.compile(rb"[+-]?(nan|inf|infinity)", re.IGNORECASE)
MICRO = Decimal("0.000001")
# Enough for any revenue that is not too large, with all its micros.
EXACT = Context(prec=40, rounding=ROUND_HALF_EVEN)


class RowError(ValueError):
    """A row that is not taken; the message is the reason."""


class HeaderError(ValueError):
    """A file without a header that names its columns; the message ends a sentence about it."""


class Layout(NamedTuple):
    """Positions of the columns of a file, from its header."""

    delimiter: bytes
    columns: tuple[int, ...]  # the position of each column of the file's kind
    width: int  # how many columns the header has
    line: int  # the header's, counted from 1


def layout(head: bytes, kind: str) -> Layout:
    """Find the header in the beginning of a file, and return where its columns are.

    Columns may come in any order and beside others, with any of `DELIMITERS` between them. Blank
    lines and Excel's `sep=;` may stand ahead. Raises `HeaderError`.
    """
    wanted = HEADERS[kind]
    for number, raw in enumerate(head.removeprefix(b"\xef\xbb\xbf").splitlines(), 1):
        if is_blank(raw) or SEPARATOR.fullmatch(raw):
            continue
        found = [(delimiter, column_names(raw, delimiter)) for delimiter in DELIMITERS]
        # The delimiter that shows most of the columns, and of these the one that splits most.
        delimiter, names = max(found, key=lambda it: (len({*it[1]} & {*wanted}), len(it[1])))
        return Layout(delimiter, _positions(names, wanted, raw), len(names), number)
    raise HeaderError("is empty: it lacks its header")


def is_blank(line: bytes) -> bool:
    """Return whether a line has only space and delimiters, as spreadsheets write empty rows."""
    return not line.strip(BLANK)


def column_names(line: bytes, delimiter: bytes) -> list[str]:
    """Return the names in a header in lower case, [] if it cannot be read with this delimiter."""
    try:
        names = [
            name.strip().lower().decode("utf-8", "replace") for name in fields(line, delimiter)
        ]
    except (RowError, UnicodeDecodeError):
        return []
    while names and not names[-1]:
        names.pop()
    return names


def _positions(names: list[str], wanted: tuple[str, ...], line: bytes) -> tuple[int, ...]:
    missing = [name for name in wanted if name not in names]
    if missing:
        shown = line[:80].decode("utf-8", "replace")
        raise HeaderError(
            f"lacks its header: its first line must name the columns {', '.join(wanted)} with "
            f"commas, semicolons, tabs or vertical bars between them; {', '.join(missing)} "
            f"{'is' if len(missing) == 1 else 'are'} missing in {shown!r}"
        )
    for name in wanted:
        if names.count(name) > 1:
            raise HeaderError(f"has the column {name} twice in its header")
    return tuple(map(names.index, wanted))


def fields(line: bytes, delimiter: bytes = b",") -> list[bytes]:
    """A line's fields; quotes as in RFC 4180."""
    if b'"' not in line:
        return line.split(delimiter)
    try:
        (row,) = csv.reader([line.decode()], delimiter=delimiter.decode(), strict=True)
    except csv.Error as error:
        raise RowError(f"its quotes are wrong: {error}") from None
    return [field.encode() for field in row]


def parser(kind: str, layout: Layout) -> Callable[[bytes], tuple[Any, ...]]:
    """Return what parses a row of a file of this kind and layout."""
    parse, count = OF_FIELDS[kind], len(HEADERS[kind])
    delimiter, columns, width, _ = layout
    if (delimiter, columns, width) == (b",", tuple(range(count)), count):
        return PARSERS[kind]  # without a call and a list more for each row

    def parse_moved(line: bytes) -> tuple[Any, ...]:
        found = _columns(line, width, delimiter)
        return parse([found[position] for position in columns])

    return parse_moved


def impression(line: bytes) -> tuple[int, int]:
    """(banner, campaign); `RowError` if it is not right."""
    return _impression(_columns(line, 2))


def click(line: bytes) -> tuple[int, int, int]:
    """(click, banner, campaign); `RowError` if it is not right."""
    return _click(_columns(line, 3))


def conversion(line: bytes) -> tuple[int, int, int]:
    """(conversion, click, revenue in micros); `RowError` if it is not right."""
    return _conversion(_columns(line, 3))


def target(line: bytes) -> tuple[int, str]:
    """(banner, address); `RowError` if it is not right."""
    return _target(_columns(line, 2))


def _impression(found: list[bytes]) -> tuple[int, int]:
    banner, campaign = found
    return _id(banner, "banner_id"), _id(campaign, "campaign_id")


def _click(found: list[bytes]) -> tuple[int, int, int]:
    number, banner, campaign = found
    return _id(number, "click_id"), _id(banner, "banner_id"), _id(campaign, "campaign_id")


def _conversion(found: list[bytes]) -> tuple[int, int, int]:
    number, click, revenue = found
    return _id(number, "conversion_id"), _id(click, "click_id"), micros(revenue)


def _target(found: list[bytes]) -> tuple[int, str]:
    banner, url = found
    return _id(banner, "banner_id"), _address(url.strip().decode())


PARSERS: dict[str, Callable[[bytes], tuple[Any, ...]]] = {
    "impressions": impression,
    "clicks": click,
    "conversions": conversion,
    "targets": target,
}
OF_FIELDS: dict[str, Callable[[list[bytes]], tuple[Any, ...]]] = {
    "impressions": _impression,
    "clicks": _click,
    "conversions": _conversion,
    "targets": _target,
}


def micros(text: bytes) -> int:
    """A revenue in micros, exactly; what is finer is rounded, half to even."""
    whole, _, part = text.partition(b".")
    if whole.isdigit() and part.isdigit() and len(whole) <= 12 and len(part) <= 6:
        return int(whole) * MICROS + int(part.ljust(6, b"0"))
    text = text.strip()
    if NOT_FINITE.fullmatch(text):
        raise RowError("revenue is not finite")
    if not NUMBER.fullmatch(text):
        comma = ": write decimals with a point, not a comma" if b"," in text else ""
        raise RowError(f"revenue is not a number{comma}")
    try:
        exact = Decimal(text.decode())
    except InvalidOperation:  # its exponent alone has too many digits
        raise RowError("revenue is out of range") from None
    if not exact:
        return 0
    if exact.is_signed():
        raise RowError("revenue is negative")
    # By the exponent first: 1e999999999 must not become that many digits.
    if exact.adjusted() > 13:
        raise RowError("revenue is too large")
    amount = int(exact.quantize(MICRO, context=EXACT).scaleb(6))
    if amount > LARGEST:
        raise RowError("revenue is too large")
    return amount


def _columns(line: bytes, count: int, delimiter: bytes = b",") -> list[bytes]:
    found = line.split(delimiter) if b'"' not in line else fields(line, delimiter)
    if len(found) != count:
        # A delimiter at the end of a line does not begin another column.
        if len(found) > count and not any(map(bytes.strip, found[count:])):
            return found[:count]
        columns = "column" if len(found) == 1 else "columns"
        raise RowError(f"{len(found)} {columns} instead of {count}")
    return found


def _id(text: bytes, name: str) -> int:
    if text.isdigit() and len(text) < 19:
        return int(text)
    text = text.strip()
    if not WHOLE.fullmatch(text):
        kind = "whole number" if NUMBER.fullmatch(text) else "number"
        raise RowError(f"{name} is not a {kind}")
    digits = text.lstrip(b"+-").lstrip(b"0") or b"0"
    if text.startswith(b"-") and digits != b"0":
        raise RowError(f"{name} is negative")
    if len(digits) > 19 or int(digits) > LARGEST:
        raise RowError(f"{name} is beyond 64 bits")
    return int(digits)


def _address(url: str) -> str:
    if len(url) > LONGEST_URL:
        raise RowError(f"url is longer than {LONGEST_URL} characters")
    if not url.isprintable() or " " in url or "\\" in url:
        raise RowError("url holds a character that an address cannot")
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise RowError("url is not an address") from None
    if parts.scheme not in {"http", "https"}:
        raise RowError("url is neither http nor https")
    if not host:
        raise RowError("url names no host")
    return url
