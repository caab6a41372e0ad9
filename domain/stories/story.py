"""What a right story is, made from what a file or a form says of it."""

import re
from collections.abc import Callable, Mapping
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from domain.common.strict_json import InvalidJson, decode_json
from domain.common.timestamp import InvalidTimestamp, parse_day_or_timestamp
from domain.common.validation_errors import FieldError

MAX_INT64 = 2**63 - 1
# An order is any number that leaves room for those that come after it.
MAX_STORY_ORDER = 2**31 - 1
MAX_IMAGE_LENGTH, MAX_METADATA_BYTES = 2_000, 65_536
INTEGER_PATTERN = re.compile(r"-?[0-9]{1,19}", re.ASCII)


class Story(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A story; moments in µs since 1970, `metadata` a JSON object with an `img`."""

    app: str  # its id, name or public token
    id: Annotated[int, Meta(ge=0, le=MAX_INT64)]
    metadata: str
    order: Annotated[int, Meta(ge=-MAX_STORY_ORDER, le=MAX_STORY_ORDER)] | None = None
    shown_from: int | None = None
    shown_until: int | None = None


class InvalidStory(ValueError):
    """A story that is not taken; `faults` say all that is wrong."""

    def __init__(self, faults: list[FieldError]) -> None:
        super().__init__()
        self.faults = faults


def parse_story(said: Mapping[str, Any]) -> Story:
    """The story of `app`, `id`, `metadata` or `img`, `order`, `from`, `until`.

    Texts may stand for numbers and for JSON, an empty one or None for nothing. Raises `WrongStory`.
    """
    said = {name: value for name, value in said.items() if value not in (None, "")}
    faults: list[FieldError] = []

    def part(name: str, read: Callable[[Any], Any], *, required: bool = False) -> Any:
        if name not in said:
            if required:
                faults.append(FieldError(f"/{name}", "is missing"))
            return None
        try:
            return read(said[name])
        except (ValueError, InvalidTimestamp) as error:
            faults.append(FieldError(f"/{name}", str(error)))

    app = part("app", _parse_app, required=True)
    number = part("id", lambda it: _parse_integer(it, 0, MAX_INT64), required=True)
    if "img" in said and "metadata" in said:
        faults.append(FieldError("/img", "stands beside metadata, of which it is a member"))
    if "img" in said:
        metadata = part("img", lambda it: _parse_metadata({"img": it}))
    else:
        metadata = part("metadata", _parse_metadata, required=True)
    order = part("order", lambda it: _parse_integer(it, -MAX_STORY_ORDER, MAX_STORY_ORDER))
    begin, end = part("from", _parse_time), part("until", _parse_time)
    if begin is not None and end is not None and end <= begin:
        faults.append(FieldError("/until", "is not after from"))
    if faults:
        raise InvalidStory(faults)
    return Story(app, number, metadata, order, begin, end)


def _parse_app(said: Any) -> str:
    if isinstance(said, bool) or not isinstance(said, int | str):
        raise ValueError("is not the id, name or public token of an app")
    return str(said)


def _parse_integer(said: Any, least: int, most: int) -> int:
    if isinstance(said, str) and INTEGER_PATTERN.fullmatch(said):
        said = int(said)
    if isinstance(said, bool) or not isinstance(said, int) or not least <= said <= most:
        raise ValueError(f"is not a whole number from {least} to {most}")
    return said


def _parse_time(said: Any) -> int:
    if not isinstance(said, str):
        raise InvalidTimestamp("is not a string")
    return parse_day_or_timestamp(said)


def _parse_metadata(said: Any) -> str:
    if isinstance(said, str):
        try:
            said = decode_json(said.encode())
        except InvalidJson as error:
            raise ValueError(error.fault.message) from None
    if not isinstance(said, dict):
        raise ValueError("is not an object")
    image = said.get("img")
    if not isinstance(image, str) or not 1 <= len(image) <= MAX_IMAGE_LENGTH:
        raise ValueError(f"has no img that is a text of 1 to {MAX_IMAGE_LENGTH} characters")
    text = msgspec.json.encode(said)
    if len(text) > MAX_METADATA_BYTES:
        raise ValueError(f"has more than {MAX_METADATA_BYTES} bytes")
    return text.decode()
