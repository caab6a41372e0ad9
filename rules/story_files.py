"""Files of stories: CSV with a header, or JSON."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from rules.faults import Fault
from rules.rows import DELIMITERS, RowError, column_names, fields, is_blank
from rules.story import Story, WrongStory, story
from rules.strict import NotJson, decode, objection

# Columns of CSV and members of JSON, and other names for them.
NAMES = {
    "id": "id", "story_id": "id", "app": "app", "app_id": "app", "public_token": "app",
    "metadata": "metadata", "img": "img", "order": "order", "from": "from", "until": "until",
}  # fmt: skip
# Listed with a story, and made here: what is listed can be taken in again.
PASSED_OVER = ("changed_at",)


class NotStories(ValueError):
    """A file that holds no stories at all; the message says why."""


class Found(NamedTuple):
    """Where something stands in a file and what it is: a story, or what is wrong with it."""

    place: str
    text: str
    story: Story | None
    faults: Sequence[Fault]

    @property
    def reason(self) -> str:
        """What is wrong, in words."""
        return "; ".join(f"{each.pointer[1:]} {each.message}".strip() for each in self.faults)


def stories(body: bytes) -> Iterator[Found]:
    """What a file holds: a JSON array, an object with one as `stories`, or CSV.

    Raises `NotStories`, before anything is found, for a file that is none of them.
    """
    body = body.removeprefix(b"\xef\xbb\xbf")
    if not body.strip():
        raise NotStories("it is empty")
    if body.lstrip()[:1] in (b"[", b"{"):
        return (_found(f"item {place}", each, _item) for place, each in enumerate(_items(body), 1))
    return _of_csv(body)


def _items(body: bytes) -> list[bytes]:
    try:
        if body.lstrip()[:1] == b"{":
            said = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
            if said.keys() != {"stories"}:
                raise NotStories("it is JSON, but no array, nor an object with `stories` alone")
            body = bytes(said["stories"])
        return [bytes(item) for item in msgspec.json.decode(body, type=list[msgspec.Raw])]
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise NotStories(f"it {objection(body, error).fault.message}") from None


def _of_csv(body: bytes) -> Iterator[Found]:
    try:
        body.decode()
        head, *lines = body.splitlines()
        # The one that shows most of the columns; commas where none shows more.
        delimiter = max(DELIMITERS, key=lambda it: len({*column_names(head, it)} & NAMES.keys()))
        said = [name.strip().decode().lower() for name in fields(head, delimiter)]
    except UnicodeDecodeError as error:
        raise NotStories(f"it is not UTF-8 (byte {error.start})") from None
    except RowError as error:
        raise NotStories(f"its header cannot be read: {error}") from None
    names = [NAMES.get(name, "") for name in said]
    if "" in names:
        raise NotStories(f"its header names a column that is not known: {said[names.index('')]!r}")
    once = len(set(names)) == len(names)
    if not once or not {"id", "app"} <= set(names) or not {"img", "metadata"} & set(names):
        raise NotStories("its header has to name id, app, and img or metadata, each once")

    def row(line: bytes) -> Mapping[str, Any]:
        values = [each.strip().decode() for each in fields(line, delimiter)]
        if len(values) != len(names):
            raise RowError(f"{len(values)} columns instead of {len(names)}")
        return dict(zip(names, values, strict=True))

    return (
        _found(f"line {number}", line, row)
        for number, line in enumerate(lines, 2)
        if not is_blank(line)
    )


def _item(raw: bytes) -> Mapping[str, Any]:
    value = decode(raw)
    if not isinstance(value, dict):
        raise RowError("is not an object")
    said: dict[str, Any] = {}
    for name, each in value.items():
        if name in PASSED_OVER:
            continue
        if name not in NAMES or NAMES[name] in said:
            raise RowError(f"has a member that is not known, or said already: {name[:100]!r}")
        said[NAMES[name]] = each
    return said


def _found(place: str, raw: bytes, take: Callable[[bytes], Mapping[str, Any]]) -> Found:
    text = raw.decode(errors="replace")
    try:
        return Found(place, text, story(take(raw)), ())
    except WrongStory as wrong:
        return Found(place, text, None, wrong.faults)
    except NotJson as error:
        return Found(place, text, None, [error.fault])
    except RowError as error:
        return Found(place, text, None, [Fault("", str(error))])
