"""Parse stories files: CSV with a header, or JSON."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from domain.common.csv_rows import DELIMITERS, CsvRowError, column_names, is_blank, split_fields
from domain.common.strict_json import InvalidJson, decode_error, decode_json
from domain.common.validation_errors import FieldError
from domain.stories.story import InvalidStory, Story, parse_story

# Accepted CSV columns and JSON members → canonical names.
MEMBER_ALIASES = {
    "id": "id", "story_id": "id", "app": "app", "app_id": "app", "public_token": "app",
    "metadata": "metadata", "img": "img", "order": "order", "from": "from", "until": "until",
}  # fmt: skip
# Generated members of a listed story; ignored, so that a listing can be imported.
IGNORED_MEMBERS = ("changed_at",)


class InvalidStoriesFile(ValueError):
    """A file that is not a stories file; the message is the reason."""


class StoryFileItem(NamedTuple):
    """An item of a file: its place and text, and the story or the errors."""

    place: str
    text: str
    story: Story | None
    faults: Sequence[FieldError]

    @property
    def reason(self) -> str:
        """Return the errors as one line of text."""
        return "; ".join(f"{each.pointer[1:]} {each.message}".strip() for each in self.faults)


def parse_stories_file(body: bytes) -> Iterator[StoryFileItem]:
    """Return the items of a JSON array, an object with a `stories` array, or CSV.

    Raises `InvalidStoriesFile` for any other file at the call, not during iteration.
    """
    body = body.removeprefix(b"\xef\xbb\xbf")
    if not body.strip():
        raise InvalidStoriesFile("it is empty")
    if body.lstrip()[:1] in (b"[", b"{"):
        return (
            _parse_item(f"item {place}", each, _json_item_members)
            for place, each in enumerate(_split_json_items(body), 1)
        )
    return _parse_csv(body)


def _split_json_items(body: bytes) -> list[bytes]:
    try:
        if body.lstrip()[:1] == b"{":
            members = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
            if members.keys() != {"stories"}:
                raise InvalidStoriesFile(
                    "it is JSON, but no array, nor an object with `stories` alone"
                )
            body = bytes(members["stories"])
        return [bytes(item) for item in msgspec.json.decode(body, type=list[msgspec.Raw])]
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidStoriesFile(f"it {decode_error(body, error).fault.message}") from None


def _parse_csv(body: bytes) -> Iterator[StoryFileItem]:
    try:
        body.decode()
        head, *lines = body.splitlines()
        # The delimiter that yields most known columns; of equals, the first (the comma).
        delimiter = max(
            DELIMITERS, key=lambda it: len({*column_names(head, it)} & MEMBER_ALIASES.keys())
        )
        columns = [name.strip().decode().lower() for name in split_fields(head, delimiter)]
    except UnicodeDecodeError as error:
        raise InvalidStoriesFile(f"it is not UTF-8 (byte {error.start})") from None
    except CsvRowError as error:
        raise InvalidStoriesFile(f"its header cannot be read: {error}") from None
    names = [MEMBER_ALIASES.get(name, "") for name in columns]
    if "" in names:
        raise InvalidStoriesFile(
            f"its header names a column that is not known: {columns[names.index('')]!r}"
        )
    is_unique = len(set(names)) == len(names)
    if not is_unique or not {"id", "app"} <= set(names) or not {"img", "metadata"} & set(names):
        raise InvalidStoriesFile("its header has to name id, app, and img or metadata, each once")

    def row_members(line: bytes) -> Mapping[str, Any]:
        values = [each.strip().decode() for each in split_fields(line, delimiter)]
        if len(values) != len(names):
            raise CsvRowError(f"{len(values)} columns instead of {len(names)}")
        return dict(zip(names, values, strict=True))

    return (
        _parse_item(f"line {number}", line, row_members)
        for number, line in enumerate(lines, 2)
        if not is_blank(line)
    )


def _json_item_members(raw: bytes) -> Mapping[str, Any]:
    value = decode_json(raw)
    if not isinstance(value, dict):
        raise CsvRowError("is not an object")
    members: dict[str, Any] = {}
    for name, each in value.items():
        if name in IGNORED_MEMBERS:
            continue
        if name not in MEMBER_ALIASES or MEMBER_ALIASES[name] in members:
            raise CsvRowError(f"has a member that is not known, or said already: {name[:100]!r}")
        members[MEMBER_ALIASES[name]] = each
    return members


def _parse_item(
    place: str, raw: bytes, parse: Callable[[bytes], Mapping[str, Any]]
) -> StoryFileItem:
    text = raw.decode(errors="replace")
    try:
        return StoryFileItem(place, text, parse_story(parse(raw)), ())
    except InvalidStory as error:
        return StoryFileItem(place, text, None, error.faults)
    except InvalidJson as error:
        return StoryFileItem(place, text, None, [error.fault])
    except CsvRowError as error:
        return StoryFileItem(place, text, None, [FieldError("", str(error))])
