"""What a right conversion is, and the rows of clicks and conversions."""

import hashlib
from typing import Annotated, Any, NamedTuple

import msgspec
from msgspec import Meta

from rules.event import CLICK, CONVERSION, LENGTHS, Row, Session, WrongEvent
from rules.faults import Fault, pointer
from rules.rows import LARGEST, RowError, micros
from rules.strict import NotJson, decode

CATEGORY = "banner"
# Digits of an id as text, and the most that is a number of micros.
DIGITS, MOST = "^[0-9]{1,19}$", LARGEST / 1_000_000
# Prefix of the sender id that is made from a `conversion_id`.
BY_ID = "conversion/"
ID_CONFLICT = Fault("/conversion_id", "another conversion with this conversion_id exists")
UNKNOWN = Fault("/click_id", "is no click that is known here")


class Click(NamedTuple):
    """A click on a banner: where, and in which quarter of the hour."""

    campaign: int
    banner: int
    slot: int


class Earned(msgspec.Struct, forbid_unknown_fields=True):
    """A conversion as it is sent."""

    click_id: Annotated[int, Meta(ge=0, le=LARGEST)] | Annotated[str, Meta(pattern=DIGITS)]
    revenue: Annotated[float, Meta(ge=0, le=MOST)]
    conversion_id: Annotated[int, Meta(ge=0, le=LARGEST)] | Session | None = None
    sender_id: Session | None = None


class Conversion(NamedTuple):
    """A conversion: the revenue of a click, in micros.

    `id` is the app's own id of it; 7 and "7" are the same.
    """

    click: int
    revenue: int
    sender: str | None
    id: str | None = None

    @property
    def key(self) -> str | None:
        """Return the sender id under which the log stores the conversion once.

        The prefix keeps an app's conversions apart from its events.
        """
        return self.sender if self.id is None else BY_ID + self.id


def click_row(click: Click, now: int) -> Row:
    """The row of a click at `now` (µs)."""
    data = msgspec.json.encode(click._asdict()).decode()
    return (CLICK, 0, None, None, CATEGORY, "click", now, None, None, data)


def conversion_row(conversion: Conversion, click: Click, app: int, now: int) -> Row:
    """The row of a conversion, which tells of its click all that figures need."""
    number, revenue, sender = conversion.click, conversion.revenue, conversion.key
    said: dict[str, Any] = {
        "click_id": str(number),
        "revenue": revenue / 1_000_000,
        "revenue_micros": revenue,
    }
    if conversion.id is not None:
        said["conversion_id"] = conversion.id
    data = msgspec.json.encode(said | click._asdict()).decode()
    digest = None
    if sender is not None:
        digest = hashlib.sha256(msgspec.json.encode((number, revenue))).digest()
    return (CONVERSION, app, None, None, CATEGORY, "conversion", now, sender, digest, data)


def has_own_id(row: Row) -> bool:
    """Return whether a row is a conversion with a `conversion_id`."""
    return row[0] == CONVERSION and (row[7] or "").startswith(BY_ID)


def clicked(data: str) -> Click:
    """The click in a row's data."""
    return Click(**msgspec.json.decode(data))


def is_conversion(body: bytes) -> bool:
    """Whether a body means to be a conversion, not an event."""
    try:
        value = decode(body)
    except NotJson:
        return False
    if not isinstance(value, dict) or "session_id" in value:
        return False
    return "click_id" in value or "revenue" in value


def read(body: bytes) -> Conversion:
    """The conversion in `body`; raises `WrongEvent`."""
    try:
        value = decode(body)
    except NotJson as error:
        raise WrongEvent([error.fault], malformed=True) from None
    try:
        sent = msgspec.convert(value, Earned)
        own = None if sent.conversion_id is None else str(sent.conversion_id)
        return Conversion(_click(value), _revenue(value), sent.sender_id, own)
    except ValueError:
        raise WrongEvent(_faults(value)) from None


def _faults(value: Any) -> list[Fault]:
    """All that is wrong."""
    if not isinstance(value, dict):
        return [Fault("", "is not an object")]
    faults: list[Fault] = []
    try:
        _click(value)
    except ValueError as error:
        faults.append(Fault("/click_id", str(error)))
    try:
        _revenue(value)
    except ValueError as error:
        faults.append(Fault("/revenue", str(error).removeprefix("revenue ")))
    sender, longest = value.get("sender_id"), LENGTHS["sender_id"]
    if sender is not None and not (isinstance(sender, str) and 1 <= len(sender) <= longest):
        faults.append(Fault("/sender_id", f"is not a string of 1 to {longest} characters"))
    try:
        msgspec.convert(value.get("conversion_id"), Earned.__annotations__["conversion_id"])
    except ValueError:
        message = f"must be a whole number from 0 to {LARGEST} or a string of 1 to 200 characters"
        faults.append(Fault("/conversion_id", message))
    others = [name for name in value if name not in Earned.__struct_fields__]
    return faults + [Fault(pointer([name]), "is not known here") for name in others[:20]]


def _click(value: dict[str, Any]) -> int:
    if "click_id" not in value:
        raise ValueError("is missing")
    said = value["click_id"]
    if isinstance(said, str) and said.isascii() and said.isdigit() and len(said) < 20:
        said = int(said)
    if isinstance(said, bool) or not isinstance(said, int) or not 0 <= said <= LARGEST:
        raise ValueError("is not the id of a click")
    return said


def _revenue(value: dict[str, Any]) -> int:
    if "revenue" not in value:
        raise ValueError("is missing")
    said = value["revenue"]
    if isinstance(said, bool) or not isinstance(said, int | float):
        raise ValueError("is not a number")
    try:
        return micros(repr(said).encode())
    except RowError as error:
        raise ValueError(str(error)) from None
