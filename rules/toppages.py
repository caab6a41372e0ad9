"""The pages of a host with their visitors, in the two forms in which servers tell them.

Legacy is an array of `{"i": title, "path", "visitors"}`; version 3 is
`{"pages": [{"path", "title", "stats": {"people"}}]}`. Titles repeat, so the path is the key.
"""

from collections.abc import Iterable, Mapping
from typing import Annotated, Any, NamedTuple

import msgspec
from msgspec import Meta

LEGACY, V3 = "legacy", "v3"
# More of an answer is left aside: so many pages, so many characters of a path or title.
PAGES, LONGEST_PATH, LONGEST_TITLE = 10_000, 2_000, 300

Count = Annotated[int, Meta(ge=0, le=1_000_000_000)]


class Reading(NamedTuple):
    """What a host's pages had at a moment: visitors and titles by path."""

    visitors: Mapping[str, int]
    titles: Mapping[str, str]


class NotPages(ValueError):
    """An answer that does not tell pages."""


class _Legacy(msgspec.Struct):
    path: str
    visitors: Count
    i: str | None = None


class _Stats(msgspec.Struct):
    people: Count


class _Page(msgspec.Struct):
    path: str
    stats: _Stats
    title: str | None = None


class _Pages(msgspec.Struct):
    pages: list[_Page]


_legacy = msgspec.json.Decoder(list[_Legacy], strict=False).decode
_pages = msgspec.json.Decoder(_Pages, strict=False).decode


def read(body: bytes, version: str) -> Reading:
    """What an answer of a version tells; raises `NotPages`.

    Visitors of a path that is told twice are added up.
    """
    try:
        if version == LEGACY:
            told = [(each.path, each.i, each.visitors) for each in _legacy(body)]
        else:
            told = [(each.path, each.title, each.stats.people) for each in _pages(body).pages]
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise NotPages(f"the answer does not tell pages: {error}") from None
    visitors: dict[str, int] = {}
    titles: dict[str, str] = {}
    for path, title, count in told:
        if len(path) > LONGEST_PATH or (len(visitors) >= PAGES and path not in visitors):
            continue
        visitors[path] = visitors.get(path, 0) + count
        if title:
            titles.setdefault(path, title[:LONGEST_TITLE])
    return Reading(visitors, titles)


def tell(pages: Iterable[tuple[str, str, int]], version: str) -> bytes:
    """The (path, title, visitors) of pages, in the order given, as a version has them."""
    told: Any
    if version == LEGACY:
        told = [{"i": title, "path": path, "visitors": visitors} for path, title, visitors in pages]
    else:
        told = {
            "pages": [
                {"path": path, "title": title, "stats": {"people": visitors}}
                for path, title, visitors in pages
            ]
        }
    return msgspec.json.encode(told)
