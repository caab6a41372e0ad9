"""Parse and validate rows of imported CSV files.

A row is one physical line: no field may contain a line break, so that a stray quote invalidates
one line and not the rest of the file.
"""

import csv
import re
from collections.abc import Callable
from decimal import ROUND_HALF_EVEN, Context, Decimal, InvalidOperation
from typing import Any, NamedTuple
from urllib.parse import urlsplit

REQUIRED_COLUMNS = {
    "impressions": ("banner_id", "campaign_id"),
    "clicks": ("click_id", "banner_id", "campaign_id"),
    "conversions": ("conversion_id", "click_id", "revenue"),
    "targets": ("banner_id", "url"),
}
# Delimiters and their names in messages.
DELIMITERS = {b",": "commas", b";": "semicolons", b"\t": "tabs", b"|": "vertical bars"}
BLANK_CHARACTERS = b' \t\r\n\f,;|"'
EXCEL_SEP_LINE = re.compile(rb'"?sep=.?"?,*', re.IGNORECASE)
MAX_INT64 = 2**63 - 1
MICROS_PER_UNIT = 1_000_000
MAX_URL_LENGTH = 4_000
INTEGER_PATTERN = re.compile(rb"[+-]?[0-9]+")
NUMBER_PATTERN = re.compile(rb"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
NOT_FINITE_PATTERN = re.compile(rb"[+-]?(nan|inf|infinity)", re.IGNORECASE)
ONE_MICRO = Decimal("0.000001")
# Enough digits for the largest revenue in micros.
REVENUE_CONTEXT = Context(prec=40, rounding=ROUND_HALF_EVEN)


class CsvRowError(ValueError):
    """An invalid row; the message is the reason."""


class CsvHeaderError(ValueError):
    """A missing or invalid header; the message is a predicate whose subject is the file."""


class CsvLayout(NamedTuple):
    """Positions of the columns of a file, from its header."""

    delimiter: bytes
    columns: tuple[int, ...]  # position of each required column
    width: int  # number of columns in the header
    line: int  # line number of the header, from 1


def detect_layout(head: bytes, kind: str) -> CsvLayout:
    """Find the header in the first bytes of a file, and return its layout.

    Accepts the columns in any order, additional columns, and any of `DELIMITERS`. Skips blank
    lines and Excel's `sep=;` before the header. Raises `CsvHeaderError`.
    """
    wanted = REQUIRED_COLUMNS[kind]
    for number, raw in enumerate(head.removeprefix(b"\xef\xbb\xbf").splitlines(), 1):
        if is_blank(raw) or EXCEL_SEP_LINE.fullmatch(raw):
            continue
        headers = [(delimiter, column_names(raw, delimiter)) for delimiter in DELIMITERS]
        # Prefer the delimiter that yields most required columns, then most columns.
        delimiter, names = max(headers, key=lambda it: (len({*it[1]} & {*wanted}), len(it[1])))
        return CsvLayout(delimiter, _column_positions(names, wanted, raw), len(names), number)
    raise CsvHeaderError("is empty: it lacks its header")


def is_blank(line: bytes) -> bool:
    """Return whether a line has only white space, quotes and delimiters: an empty row."""
    return not line.strip(BLANK_CHARACTERS)


def column_names(line: bytes, delimiter: bytes) -> list[str]:
    """Return the column names of a header in lower case; [] if the delimiter does not fit."""
    try:
        names = [
            name.strip().lower().decode("utf-8", "replace")
            for name in split_fields(line, delimiter)
        ]
    except (CsvRowError, UnicodeDecodeError):
        return []
    while names and not names[-1]:
        names.pop()
    return names


def _column_positions(names: list[str], wanted: tuple[str, ...], line: bytes) -> tuple[int, ...]:
    missing = [name for name in wanted if name not in names]
    if missing:
        shown = line[:80].decode("utf-8", "replace")
        raise CsvHeaderError(
            f"lacks its header: its first line must name the columns {', '.join(wanted)} with "
            f"commas, semicolons, tabs or vertical bars between them; {', '.join(missing)} "
            f"{'is' if len(missing) == 1 else 'are'} missing in {shown!r}"
        )
    for name in wanted:
        if names.count(name) > 1:
            raise CsvHeaderError(f"has the column {name} twice in its header")
    return tuple(map(names.index, wanted))


def split_fields(line: bytes, delimiter: bytes = b",") -> list[bytes]:
    """Split a line into fields, quoted as in RFC 4180. Raises `CsvRowError`."""
    if b'"' not in line:
        return line.split(delimiter)
    try:
        (row,) = csv.reader([line.decode()], delimiter=delimiter.decode(), strict=True)
    except csv.Error as error:
        raise CsvRowError(f"its quotes are wrong: {error}") from None
    return [field.encode() for field in row]


def row_parser(kind: str, layout: CsvLayout) -> Callable[[bytes], tuple[Any, ...]]:
    """Return the parser of rows of this kind and layout; it raises `CsvRowError`."""
    parse, count = FIELD_PARSERS[kind], len(REQUIRED_COLUMNS[kind])
    delimiter, columns, width, _ = layout
    if (delimiter, columns, width) == (b",", tuple(range(count)), count):
        return LINE_PARSERS[kind]  # saves a call and a list per row

    def parse_reordered(line: bytes) -> tuple[Any, ...]:
        found = _split_columns(line, width, delimiter)
        return parse([found[position] for position in columns])

    return parse_reordered


def parse_impression(line: bytes) -> tuple[int, int]:
    """Return (banner, campaign). Raises `CsvRowError`."""
    return _impression_from_fields(_split_columns(line, 2))


def parse_click(line: bytes) -> tuple[int, int, int]:
    """Return (click, banner, campaign). Raises `CsvRowError`."""
    return _click_from_fields(_split_columns(line, 3))


def parse_conversion(line: bytes) -> tuple[int, int, int]:
    """Return (conversion, click, revenue in micros). Raises `CsvRowError`."""
    return _conversion_from_fields(_split_columns(line, 3))


def parse_target(line: bytes) -> tuple[int, str]:
    """Return (banner, URL). Raises `CsvRowError`."""
    return _target_from_fields(_split_columns(line, 2))


def _impression_from_fields(fields: list[bytes]) -> tuple[int, int]:
    banner, campaign = fields
    return _parse_id(banner, "banner_id"), _parse_id(campaign, "campaign_id")


def _click_from_fields(fields: list[bytes]) -> tuple[int, int, int]:
    click, banner, campaign = fields
    return (
        _parse_id(click, "click_id"),
        _parse_id(banner, "banner_id"),
        _parse_id(campaign, "campaign_id"),
    )


def _conversion_from_fields(fields: list[bytes]) -> tuple[int, int, int]:
    conversion, click, revenue = fields
    return (
        _parse_id(conversion, "conversion_id"),
        _parse_id(click, "click_id"),
        parse_revenue_micros(revenue),
    )


def _target_from_fields(fields: list[bytes]) -> tuple[int, str]:
    banner, url = fields
    return _parse_id(banner, "banner_id"), _parse_url(url.strip().decode())


LINE_PARSERS: dict[str, Callable[[bytes], tuple[Any, ...]]] = {
    "impressions": parse_impression,
    "clicks": parse_click,
    "conversions": parse_conversion,
    "targets": parse_target,
}
FIELD_PARSERS: dict[str, Callable[[list[bytes]], tuple[Any, ...]]] = {
    "impressions": _impression_from_fields,
    "clicks": _click_from_fields,
    "conversions": _conversion_from_fields,
    "targets": _target_from_fields,
}


def parse_revenue_micros(text: bytes) -> int:
    """Return a revenue in micros; rounds half to even. Raises `CsvRowError`."""
    whole, _, part = text.partition(b".")
    if whole.isdigit() and part.isdigit() and len(whole) <= 12 and len(part) <= 6:
        return int(whole) * MICROS_PER_UNIT + int(part.ljust(6, b"0"))
    text = text.strip()
    if NOT_FINITE_PATTERN.fullmatch(text):
        raise CsvRowError("revenue is not finite")
    if not NUMBER_PATTERN.fullmatch(text):
        comma = ": write decimals with a point, not a comma" if b"," in text else ""
        raise CsvRowError(f"revenue is not a number{comma}")
    try:
        exact = Decimal(text.decode())
    except InvalidOperation:  # the exponent has too many digits
        raise CsvRowError("revenue is out of range") from None
    if not exact:
        return 0
    if exact.is_signed():
        raise CsvRowError("revenue is negative")
    # Check the exponent before expanding: 1e999999999 would become a billion digits.
    if exact.adjusted() > 13:
        raise CsvRowError("revenue is too large")
    amount = int(exact.quantize(ONE_MICRO, context=REVENUE_CONTEXT).scaleb(6))
    if amount > MAX_INT64:
        raise CsvRowError("revenue is too large")
    return amount


def _split_columns(line: bytes, count: int, delimiter: bytes = b",") -> list[bytes]:
    found = line.split(delimiter) if b'"' not in line else split_fields(line, delimiter)
    if len(found) != count:
        # Spreadsheets append delimiters: ignore empty fields after the last column.
        if len(found) > count and not any(map(bytes.strip, found[count:])):
            return found[:count]
        columns = "column" if len(found) == 1 else "columns"
        raise CsvRowError(f"{len(found)} {columns} instead of {count}")
    return found


def _parse_id(text: bytes, name: str) -> int:
    if text.isdigit() and len(text) < 19:
        return int(text)
    text = text.strip()
    if not INTEGER_PATTERN.fullmatch(text):
        kind = "whole number" if NUMBER_PATTERN.fullmatch(text) else "number"
        raise CsvRowError(f"{name} is not a {kind}")
    digits = text.lstrip(b"+-").lstrip(b"0") or b"0"
    if text.startswith(b"-") and digits != b"0":
        raise CsvRowError(f"{name} is negative")
    if len(digits) > 19 or int(digits) > MAX_INT64:
        raise CsvRowError(f"{name} is beyond 64 bits")
    return int(digits)


def _parse_url(url: str) -> str:
    if len(url) > MAX_URL_LENGTH:
        raise CsvRowError(f"url is longer than {MAX_URL_LENGTH} characters")
    if not url.isprintable() or " " in url or "\\" in url:
        raise CsvRowError("url holds a character that an address cannot")
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise CsvRowError("url is not an address") from None
    if parts.scheme not in {"http", "https"}:
        raise CsvRowError("url is neither http nor https")
    if not host:
        raise CsvRowError("url names no host")
    return url
