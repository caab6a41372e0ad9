"""Parse and validate a story from a file or a form."""

import re
from collections.abc import Callable, Mapping
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from domain.common.strict_json import InvalidJson, decode_json
from domain.common.timestamp import InvalidTimestamp, parse_day_or_timestamp
from domain.common.validation_errors import FieldError

MAX_INT64 = 2**63 - 1
# Leaves room in 64 bits for orders assigned after the largest one.
MAX_STORY_ORDER = 2**31 - 1
MAX_IMAGE_LENGTH, MAX_METADATA_BYTES = 2_000, 65_536
INTEGER_PATTERN = re.compile(r"-?[0-9]{1,19}", re.ASCII)


class Story(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A story; times are in µs since 1970, `metadata` is a JSON object with an `img`."""

    app: str  # its id, name or public token
    id: Annotated[int, Meta(ge=0, le=MAX_INT64)]
    metadata: str
    order: Annotated[int, Meta(ge=-MAX_STORY_ORDER, le=MAX_STORY_ORDER)] | None = None
    shown_from: int | None = None
    shown_until: int | None = None


class InvalidStory(ValueError):
    """An invalid story; `faults` lists all its errors."""

    def __init__(self, faults: list[FieldError]) -> None:
        super().__init__()
        self.faults = faults


def parse_story(members: Mapping[str, Any]) -> Story:
    """Return a story from `app`, `id`, `metadata` or `img`, `order`, `from` and `until`.

    Accepts strings for numbers and JSON; None or "" is a missing value. Raises `InvalidStory`.
    """
    members = {name: value for name, value in members.items() if value not in (None, "")}
    faults: list[FieldError] = []

    def parse_member(name: str, parse: Callable[[Any], Any], *, required: bool = False) -> Any:
        if name not in members:
            if required:
                faults.append(FieldError(f"/{name}", "is missing"))
            return None
        try:
            return parse(members[name])
        except (ValueError, InvalidTimestamp) as error:
            faults.append(FieldError(f"/{name}", str(error)))

    app = parse_member("app", _parse_app, required=True)
    number = parse_member("id", lambda it: _parse_integer(it, 0, MAX_INT64), required=True)
    if "img" in members and "metadata" in members:
        faults.append(FieldError("/img", "stands beside metadata, of which it is a member"))
    if "img" in members:
        metadata = parse_member("img", lambda it: _parse_metadata({"img": it}))
    else:
        metadata = parse_member("metadata", _parse_metadata, required=True)
    order = parse_member("order", lambda it: _parse_integer(it, -MAX_STORY_ORDER, MAX_STORY_ORDER))
    begin, end = parse_member("from", _parse_time), parse_member("until", _parse_time)
    if begin is not None and end is not None and end <= begin:
        faults.append(FieldError("/until", "is not after from"))
    if faults:
        raise InvalidStory(faults)
    return Story(app, number, metadata, order, begin, end)


def _parse_app(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise ValueError("is not the id, name or public token of an app")
    return str(value)


def _parse_integer(value: Any, minimum: int, maximum: int) -> int:
    if isinstance(value, str) and INTEGER_PATTERN.fullmatch(value):
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not minimum <= value <= maximum:
        raise ValueError(f"is not a whole number from {minimum} to {maximum}")
    return value


def _parse_time(value: Any) -> int:
    if not isinstance(value, str):
        raise InvalidTimestamp("is not a string")
    return parse_day_or_timestamp(value)


def _parse_metadata(value: Any) -> str:
    if isinstance(value, str):
        try:
            value = decode_json(value.encode())
        except InvalidJson as error:
            raise ValueError(error.fault.message) from None
    if not isinstance(value, dict):
        raise ValueError("is not an object")
    image = value.get("img")
    if not isinstance(image, str) or not 1 <= len(image) <= MAX_IMAGE_LENGTH:
        raise ValueError(f"has no img that is a text of 1 to {MAX_IMAGE_LENGTH} characters")
    text = msgspec.json.encode(value)
    if len(text) > MAX_METADATA_BYTES:
        raise ValueError(f"has more than {MAX_METADATA_BYTES} bytes")
    return text.decode()
