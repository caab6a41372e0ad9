"""What a right story is, made from what a file or a form says of it."""

import re
from collections.abc import Callable, Mapping
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from rules.faults import Fault
from rules.strict import NotJson, decode
from rules.timestamp import NotMoment, day_or_micros

LARGEST = 2**63 - 1
# An order is any number that leaves room for those that come after it.
FARTHEST = 2**31 - 1
LONGEST_IMAGE, LONGEST_METADATA = 2_000, 65_536
WHOLE = re.compile(r"-?[0-9]{1,19}", re.ASCII)


class Story(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A story; moments in µs since 1970, `metadata` a JSON object with an `img`."""

    app: str  # its id, name or public token
    id: Annotated[int, Meta(ge=0, le=LARGEST)]
    metadata: str
    order: Annotated[int, Meta(ge=-FARTHEST, le=FARTHEST)] | None = None
    shown_from: int | None = None
    shown_until: int | None = None


class WrongStory(ValueError):
    """A story that is not taken; `faults` say all that is wrong."""

    def __init__(self, faults: list[Fault]) -> None:
        super().__init__()
        self.faults = faults


def story(said: Mapping[str, Any]) -> Story:
    """The story of `app`, `id`, `metadata` or `img`, `order`, `from`, `until`.

    Texts may stand for numbers and for JSON, an empty one or None for nothing. Raises `WrongStory`.
    """
    said = {name: value for name, value in said.items() if value not in (None, "")}
    faults: list[Fault] = []

    def part(name: str, read: Callable[[Any], Any], *, required: bool = False) -> Any:
        if name not in said:
            if required:
                faults.append(Fault(f"/{name}", "is missing"))
            return None
        try:
            return read(said[name])
        except (ValueError, NotMoment) as error:
            faults.append(Fault(f"/{name}", str(error)))

    app = part("app", _app, required=True)
    number = part("id", lambda it: _whole(it, 0, LARGEST), required=True)
    if "img" in said and "metadata" in said:
        faults.append(Fault("/img", "stands beside metadata, of which it is a member"))
    if "img" in said:
        metadata = part("img", lambda it: _metadata({"img": it}))
    else:
        metadata = part("metadata", _metadata, required=True)
    order = part("order", lambda it: _whole(it, -FARTHEST, FARTHEST))
    begin, end = part("from", _moment), part("until", _moment)
    if begin is not None and end is not None and end <= begin:
        faults.append(Fault("/until", "is not after from"))
    if faults:
        raise WrongStory(faults)
    return Story(app, number, metadata, order, begin, end)


def _app(said: Any) -> str:
    if isinstance(said, bool) or not isinstance(said, int | str):
        raise ValueError("is not the id, name or public token of an app")
    return str(said)


def _whole(said: Any, least: int, most: int) -> int:
    if isinstance(said, str) and WHOLE.fullmatch(said):
        said = int(said)
    if isinstance(said, bool) or not isinstance(said, int) or not least <= said <= most:
        raise ValueError(f"is not a whole number from {least} to {most}")
    return said


def _moment(said: Any) -> int:
    if not isinstance(said, str):
        raise NotMoment("is not a string")
    return day_or_micros(said)


def _metadata(said: Any) -> str:
    if isinstance(said, str):
        try:
            said = decode(said.encode())
        except NotJson as error:
            raise ValueError(error.fault.message) from None
    if not isinstance(said, dict):
        raise ValueError("is not an object")
    image = said.get("img")
    if not isinstance(image, str) or not 1 <= len(image) <= LONGEST_IMAGE:
        raise ValueError(f"has no img that is a text of 1 to {LONGEST_IMAGE} characters")
    text = msgspec.json.encode(said)
    if len(text) > LONGEST_METADATA:
        raise ValueError(f"has more than {LONGEST_METADATA} bytes")
    return text.decode()
