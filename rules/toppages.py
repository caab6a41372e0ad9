"""The pages of a host with their visitors, in the two forms in which servers tell them.

Legacy is an array of `{"i": title, "path", "visitors"}`; version 3 is
`{"pages": [{"path", "title", "stats": {"people"}}]}`. Titles repeat, so the path is the key.
"""

import json
import re
import zlib
from collections.abc import Iterable, Iterator, Mapping
from math import inf
from typing import Any, NamedTuple

import msgspec

LEGACY, V3 = "legacy", "v3"
# More of an answer is left aside: so many pages, so many characters of a path or title.
PAGES, LONGEST_PATH, LONGEST_TITLE = 10_000, 2_000, 300
# Characters of a number that was sent as text.
LONGEST_NUMBER = 40
# A page with more visitors than this is skipped; a sum over duplicate paths stops here.
LARGEST_COUNT = 1_000_000_000
# Bytes of a compressed body after unpacking.
LARGEST_BODY = 2 * 1024 * 1024
GZIP_MAGIC, BYTE_ORDER_MARK = b"\x1f\x8b", b"\xef\xbb\xbf"
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
SURROGATE = re.compile(r"[\ud800-\udfff]")


class Reading(NamedTuple):
    """What a host's pages had at a moment: visitors and titles by path."""

    visitors: Mapping[str, int]
    titles: Mapping[str, str]
    skipped: int = 0  # invalid pages of the response


class NotPages(ValueError):
    """An answer that does not tell pages."""


class _Legacy(msgspec.Struct):
    path: str
    visitors: int | float
    i: str | None = None


class _Stats(msgspec.Struct):
    people: int | float


class _Page(msgspec.Struct):
    path: str
    stats: _Stats
    title: str | None = None


class _Pages(msgspec.Struct):
    pages: list[_Page]


# (path, title, visitors) as the server sent them, of any type.
Item = tuple[Any, Any, Any]

_legacy = msgspec.json.Decoder(list[_Legacy]).decode
_pages = msgspec.json.Decoder(_Pages).decode


def read(body: bytes, version: str) -> Reading:
    """Return the pages of a response; raise `NotPages` if it has no valid page.

    An invalid page is skipped and counted. Visitors of a duplicate path are added up.
    """
    body = _unpacked(body).removeprefix(BYTE_ORDER_MARK)
    items: Iterable[Item]
    try:
        if version == LEGACY:
            items = ((each.path, each.i, each.visitors) for each in _legacy(body))
        else:
            items = ((each.path, each.title, each.stats.people) for each in _pages(body).pages)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        # A page does not have the usual form. A generic parser takes several times as long, but
        # also reads NaN, lone surrogates and bytes that are not UTF-8.
        items = _lenient(body, version)
    visitors: dict[str, int] = {}
    titles: dict[str, str] = {}
    skipped = 0
    for path, title, said in items:
        count = said if type(said) is int and 0 <= said <= LARGEST_COUNT else _count(said)
        if count is None or not _valid_path(path):
            skipped += 1
            continue
        if len(visitors) >= PAGES and path not in visitors:
            continue
        visitors[path] = min(visitors.get(path, 0) + count, LARGEST_COUNT)
        if title and path not in titles and (words := _title(title)):
            titles[path] = words
    if skipped and not visitors:
        raise NotPages(f"invalid response: all {skipped} pages are invalid")
    return Reading(visitors, titles, skipped)


def _unpacked(body: bytes) -> bytes:
    """Unpack a gzip body whose Content-Encoding was missing or not recognised."""
    if not body.startswith(GZIP_MAGIC):
        return body
    unpacker = zlib.decompressobj(wbits=31)
    try:
        unpacked = unpacker.decompress(body, LARGEST_BODY)
    except zlib.error as error:
        raise NotPages(f"invalid response: {error}") from None
    if not unpacker.eof:
        raise NotPages("invalid response: truncated, or too large when unpacked")
    return unpacked


def _lenient(body: bytes, version: str) -> Iterator[Item]:
    """Return the (path, title, visitors) of each page, whatever their types."""
    try:
        # Bytes that are not UTF-8 become lone surrogates, like an escape that was cut in half.
        text = body.decode(json.detect_encoding(body), "surrogateescape")
        found = json.loads(text, parse_int=_integer, strict=False)
    except (ValueError, RecursionError) as error:
        raise NotPages(f"invalid response: {error}") from None
    if version != LEGACY:
        found = found.get("pages") if isinstance(found, dict) else None
    if not isinstance(found, list):
        raise NotPages("invalid response: it has no list of pages")
    return (_item(each, version) for each in found)


def _integer(digits: str) -> float:
    # Python refuses to convert thousands of digits, which would end the whole response.
    return int(digits) if len(digits) <= LONGEST_NUMBER else inf


def _item(page: object, version: str) -> Item:
    if not isinstance(page, dict):
        return None, None, None
    if version == LEGACY:
        return page.get("path"), page.get("i"), page.get("visitors")
    stats = page.get("stats")
    people = stats.get("people") if isinstance(stats, dict) else None
    return page.get("path"), page.get("title"), people


def _count(said: object) -> int | None:
    """Return a number of visitors, which may be text or an average; None if it is invalid."""
    if isinstance(said, str) and len(said) <= LONGEST_NUMBER:
        try:
            said = float(said)
        except ValueError:
            return None
    if isinstance(said, bool) or not isinstance(said, int | float):
        return None
    # NaN fails this comparison, too.
    return round(said) if 0 <= said <= LARGEST_COUNT else None


def _valid_path(path: object) -> bool:
    if not isinstance(path, str) or not 0 < len(path) <= LONGEST_PATH:
        return False
    return path.isprintable() or not (CONTROL.search(path) or SURROGATE.search(path))


def _title(title: object) -> str:
    if not isinstance(title, str):
        return str(title) if isinstance(title, int) else ""
    if not title.isprintable():
        title = CONTROL.sub(" ", SURROGATE.sub("\ufffd", title))
    return title[:LONGEST_TITLE]


def tell(pages: Iterable[tuple[str, str, int]], version: str) -> bytes:
    """The (path, title, visitors) of pages, in the order given, as a version has them."""
    return together(tell_each(pages, version), version)


def tell_each(pages: Iterable[tuple[str, str, int]], version: str) -> list[bytes]:
    """Return each page, (path, title, visitors), as a version has it."""
    encode = msgspec.json.encode
    if version == LEGACY:
        return [
            encode({"i": title, "path": path, "visitors": visitors})
            for path, title, visitors in pages
        ]
    return [
        encode({"path": path, "title": title, "stats": {"people": visitors}})
        for path, title, visitors in pages
    ]


def together(pages: Iterable[bytes], version: str) -> bytes:
    """Return pages of `tell_each` as a response of that version."""
    body = b",".join(pages)
    return b"[%b]" % body if version == LEGACY else b'{"pages":[%b]}' % body
