"""What makes a row of an imported CSV file right.

A row is one physical line: no field of ours may hold a line break, so that a stray quote costs
one line and not the rest of the file.
"""

import csv
import re
from collections.abc import Callable
from decimal import ROUND_HALF_EVEN, Context, Decimal, InvalidOperation
from typing import Any
from urllib.parse import urlsplit

HEADERS = {
    "impressions": ("banner_id", "campaign_id"),
    "clicks": ("click_id", "banner_id", "campaign_id"),
    "conversions": ("conversion_id", "click_id", "revenue"),
    "targets": ("banner_id", "url"),
}
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


def is_header(line: bytes, kind: str) -> bool:
    """Whether a file's first line names the columns of its kind, in their order."""
    try:
        names = fields(line.removeprefix(b"\xef\xbb\xbf"))
    except RowError:
        return False
    return tuple(name.strip().lower() for name in names) == tuple(
        name.encode() for name in HEADERS[kind]
    )


def fields(line: bytes) -> list[bytes]:
    """A line's fields; quotes as in RFC 4180."""
    if b'"' not in line:
        return line.split(b",")
    try:
        (row,) = csv.reader([line.decode()], strict=True)
    except csv.Error as error:
        raise RowError(f"its quotes are wrong: {error}") from None
    return [field.encode() for field in row]


def impression(line: bytes) -> tuple[int, int]:
    """(banner, campaign); `RowError` if it is not right."""
    banner, campaign = _columns(line, 2)
    return _id(banner, "banner_id"), _id(campaign, "campaign_id")


def click(line: bytes) -> tuple[int, int, int]:
    """(click, banner, campaign); `RowError` if it is not right."""
    number, banner, campaign = _columns(line, 3)
    return _id(number, "click_id"), _id(banner, "banner_id"), _id(campaign, "campaign_id")


def conversion(line: bytes) -> tuple[int, int, int]:
    """(conversion, click, revenue in micros); `RowError` if it is not right."""
    number, click, revenue = _columns(line, 3)
    return _id(number, "conversion_id"), _id(click, "click_id"), micros(revenue)


def target(line: bytes) -> tuple[int, str]:
    """(banner, address); `RowError` if it is not right."""
    banner, url = _columns(line, 2)
    return _id(banner, "banner_id"), _address(url.strip().decode())


PARSERS: dict[str, Callable[[bytes], tuple[Any, ...]]] = {
    "impressions": impression,
    "clicks": click,
    "conversions": conversion,
    "targets": target,
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
        raise RowError("revenue is not a number")
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


def _columns(line: bytes, count: int) -> list[bytes]:
    found = line.split(b",") if b'"' not in line else fields(line)
    if len(found) != count:
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
