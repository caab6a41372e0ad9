"""Top pages of a host with their visitors, in the two formats of servers.

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

LEGACY_FORMAT, V3_FORMAT = "legacy", "v3"
# Further pages are ignored, longer paths are invalid, longer titles are cut.
MAX_TOPPAGES, MAX_PATH_LENGTH, MAX_TITLE_LENGTH = 10_000, 2_000, 300
# Characters of a number sent as text.
MAX_NUMBER_LENGTH = 40
# A page with more visitors than this is skipped; a sum over duplicate paths stops here.
MAX_VISITORS = 1_000_000_000
# Bytes of a compressed body after unpacking.
MAX_UNPACKED_BYTES = 2 * 1024 * 1024
GZIP_MAGIC, BYTE_ORDER_MARK = b"\x1f\x8b", b"\xef\xbb\xbf"
CONTROL_CHARACTERS = re.compile(r"[\x00-\x1f\x7f-\x9f]")
SURROGATES = re.compile(r"[\ud800-\udfff]")


class TopPagesReading(NamedTuple):
    """A host's pages at one moment: visitors and titles by path."""

    visitors: Mapping[str, int]
    titles: Mapping[str, str]
    skipped: int = 0  # invalid pages of the response


class InvalidTopPages(ValueError):
    """A response that has no valid list of pages."""


class _LegacyPage(msgspec.Struct):
    path: str
    visitors: int | float
    i: str | None = None


class _V3Stats(msgspec.Struct):
    people: int | float


class _V3Page(msgspec.Struct):
    path: str
    stats: _V3Stats
    title: str | None = None


class _V3Response(msgspec.Struct):
    pages: list[_V3Page]


# (path, title, visitors) as received, of any type.
PageItem = tuple[Any, Any, Any]

_decode_legacy = msgspec.json.Decoder(list[_LegacyPage]).decode
_decode_v3 = msgspec.json.Decoder(_V3Response).decode


def parse_toppages(body: bytes, version: str) -> TopPagesReading:
    """Return the pages of a response; raise `InvalidTopPages` if all are invalid.

    An invalid page is skipped and counted. Visitors of a duplicate path are added up.
    """
    body = _unpack_gzip(body).removeprefix(BYTE_ORDER_MARK)
    items: Iterable[PageItem]
    try:
        if version == LEGACY_FORMAT:
            items = ((each.path, each.i, each.visitors) for each in _decode_legacy(body))
        else:
            items = ((each.path, each.title, each.stats.people) for each in _decode_v3(body).pages)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        # A page does not have the usual form. A generic parser takes several times as long, but
        # also accepts NaN, lone surrogates and bytes that are not UTF-8.
        items = _parse_leniently(body, version)
    visitors: dict[str, int] = {}
    titles: dict[str, str] = {}
    skipped = 0
    for path, title, sent in items:
        count = sent if type(sent) is int and 0 <= sent <= MAX_VISITORS else _visitor_count(sent)
        if count is None or not _is_valid_path(path):
            skipped += 1
            continue
        if len(visitors) >= MAX_TOPPAGES and path not in visitors:
            continue
        visitors[path] = min(visitors.get(path, 0) + count, MAX_VISITORS)
        if title and path not in titles and (cleaned := _clean_title(title)):
            titles[path] = cleaned
    if skipped and not visitors:
        raise InvalidTopPages(f"invalid response: all {skipped} pages are invalid")
    return TopPagesReading(visitors, titles, skipped)


def _unpack_gzip(body: bytes) -> bytes:
    """Unpack a gzip body whose Content-Encoding was missing or not recognised."""
    if not body.startswith(GZIP_MAGIC):
        return body
    unpacker = zlib.decompressobj(wbits=31)
    try:
        unpacked = unpacker.decompress(body, MAX_UNPACKED_BYTES)
    except zlib.error as error:
        raise InvalidTopPages(f"invalid response: {error}") from None
    if not unpacker.eof:
        raise InvalidTopPages("invalid response: truncated, or too large when unpacked")
    return unpacked


def _parse_leniently(body: bytes, version: str) -> Iterator[PageItem]:
    """Return the (path, title, visitors) of each page, of any type."""
    try:
        # Invalid UTF-8 bytes become lone surrogates, like a truncated escape sequence.
        text = body.decode(json.detect_encoding(body), "surrogateescape")
        found = json.loads(text, parse_int=_parse_integer, strict=False)
    except (ValueError, RecursionError) as error:
        raise InvalidTopPages(f"invalid response: {error}") from None
    if version != LEGACY_FORMAT:
        found = found.get("pages") if isinstance(found, dict) else None
    if not isinstance(found, list):
        raise InvalidTopPages("invalid response: it has no list of pages")
    return (_page_item(each, version) for each in found)


def _parse_integer(digits: str) -> float:
    # Python raises an error for thousands of digits, which would discard the whole response.
    return int(digits) if len(digits) <= MAX_NUMBER_LENGTH else inf


def _page_item(page: object, version: str) -> PageItem:
    if not isinstance(page, dict):
        return None, None, None
    if version == LEGACY_FORMAT:
        return page.get("path"), page.get("i"), page.get("visitors")
    stats = page.get("stats")
    people = stats.get("people") if isinstance(stats, dict) else None
    return page.get("path"), page.get("title"), people


def _visitor_count(value: object) -> int | None:
    """Return a number of visitors, which may be text or an average; None if it is invalid."""
    if isinstance(value, str) and len(value) <= MAX_NUMBER_LENGTH:
        try:
            value = float(value)
        except ValueError:
            return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    # NaN fails this comparison as well.
    return round(value) if 0 <= value <= MAX_VISITORS else None


def _is_valid_path(path: object) -> bool:
    if not isinstance(path, str) or not 0 < len(path) <= MAX_PATH_LENGTH:
        return False
    return path.isprintable() or not (CONTROL_CHARACTERS.search(path) or SURROGATES.search(path))


def _clean_title(title: object) -> str:
    if not isinstance(title, str):
        return str(title) if isinstance(title, int) else ""
    if not title.isprintable():
        title = CONTROL_CHARACTERS.sub(" ", SURROGATES.sub("\ufffd", title))
    return title[:MAX_TITLE_LENGTH]


def encode_toppages(pages: Iterable[tuple[str, str, int]], version: str) -> bytes:
    """Encode (path, title, visitors) of pages as a response of a version, in the order given."""
    return join_encoded_pages(encode_pages(pages, version), version)


def encode_pages(pages: Iterable[tuple[str, str, int]], version: str) -> list[bytes]:
    """Encode each page, (path, title, visitors), in the format of a version."""
    encode = msgspec.json.encode
    if version == LEGACY_FORMAT:
        return [
            encode({"i": title, "path": path, "visitors": visitors})
            for path, title, visitors in pages
        ]
    return [
        encode({"path": path, "title": title, "stats": {"people": visitors}})
        for path, title, visitors in pages
    ]


def join_encoded_pages(pages: Iterable[bytes], version: str) -> bytes:
    """Join pages encoded by `encode_pages` to a response of the same version."""
    body = b",".join(pages)
    return b"[%b]" % body if version == LEGACY_FORMAT else b'{"pages":[%b]}' % body
