"""Conversion validation, and the event rows of clicks and conversions."""

import hashlib
from typing import Annotated, Any, NamedTuple

import msgspec
from msgspec import Meta

from domain.common.csv_rows import MAX_INT64, CsvRowError, parse_revenue_micros
from domain.common.strict_json import InvalidJson, decode_json
from domain.common.validation_errors import FieldError, json_pointer
from domain.events.event import (
    CLICK_SOURCE,
    CONVERSION_SOURCE,
    MAX_LENGTHS,
    EventRow,
    InvalidEvent,
    SessionId,
)

BANNER_CATEGORY = "banner"
# The largest revenue fits into 64 bits as micros (millionths).
ID_PATTERN, MAX_REVENUE = "^[0-9]{1,19}$", MAX_INT64 / 1_000_000
# Prefix of a sender id derived from a `conversion_id`.
CONVERSION_ID_PREFIX = "conversion/"
CONVERSION_ID_CONFLICT = FieldError(
    "/conversion_id", "another conversion with this conversion_id exists"
)
UNKNOWN_CLICK = FieldError("/click_id", "is no click that is known here")


class BannerClick(NamedTuple):
    """A click on a banner of a campaign in a slot."""

    campaign: int
    banner: int
    slot: int


class ConversionPayload(msgspec.Struct, forbid_unknown_fields=True):
    """A conversion as it is sent."""

    click_id: Annotated[int, Meta(ge=0, le=MAX_INT64)] | Annotated[str, Meta(pattern=ID_PATTERN)]
    revenue: Annotated[float, Meta(ge=0, le=MAX_REVENUE)]
    conversion_id: Annotated[int, Meta(ge=0, le=MAX_INT64)] | SessionId | None = None
    sender_id: SessionId | None = None


class Conversion(NamedTuple):
    """A conversion: the revenue of a click, in micros.

    `id` is the `conversion_id` as text: 7 and "7" are the same conversion.
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
        return self.sender if self.id is None else CONVERSION_ID_PREFIX + self.id


def click_row(click: BannerClick, now: int) -> EventRow:
    """Return the event row of a click at `now` (µs)."""
    data = msgspec.json.encode(click._asdict()).decode()
    return (CLICK_SOURCE, 0, None, None, BANNER_CATEGORY, "click", now, None, None, data)


def conversion_row(conversion: Conversion, click: BannerClick, app: int, now: int) -> EventRow:
    """Return the event row of a conversion at `now` (µs), with its click's data for the stats."""
    number, revenue, sender = conversion.click, conversion.revenue, conversion.key
    members: dict[str, Any] = {
        "click_id": str(number),
        "revenue": revenue / 1_000_000,
        "revenue_micros": revenue,
    }
    if conversion.id is not None:
        members["conversion_id"] = conversion.id
    data = msgspec.json.encode(members | click._asdict()).decode()
    digest = None
    if sender is not None:
        digest = hashlib.sha256(msgspec.json.encode((number, revenue))).digest()
    return (
        CONVERSION_SOURCE,
        app,
        None,
        None,
        BANNER_CATEGORY,
        "conversion",
        now,
        sender,
        digest,
        data,
    )


def has_conversion_id(row: EventRow) -> bool:
    """Return whether a row is a conversion with a `conversion_id`."""
    return row[0] == CONVERSION_SOURCE and (row[7] or "").startswith(CONVERSION_ID_PREFIX)


def decode_click(data: str) -> BannerClick:
    """Decode the click in an event row's data."""
    return BannerClick(**msgspec.json.decode(data))


def looks_like_conversion(body: bytes) -> bool:
    """Return whether a body has members of a conversion and none of an event."""
    try:
        value = decode_json(body)
    except InvalidJson:
        return False
    if not isinstance(value, dict) or "session_id" in value:
        return False
    return "click_id" in value or "revenue" in value


def parse_conversion(body: bytes) -> Conversion:
    """Parse a request body; raise `InvalidEvent` if it is not a valid conversion."""
    try:
        value = decode_json(body)
    except InvalidJson as error:
        raise InvalidEvent([error.fault], malformed=True) from None
    try:
        sent = msgspec.convert(value, ConversionPayload)
        conversion_id = None if sent.conversion_id is None else str(sent.conversion_id)
        return Conversion(
            _parse_click_id(value), _parse_revenue(value), sent.sender_id, conversion_id
        )
    except ValueError:
        raise InvalidEvent(_conversion_errors(value)) from None


def _conversion_errors(value: Any) -> list[FieldError]:
    """Return every validation error of a conversion."""
    if not isinstance(value, dict):
        return [FieldError("", "is not an object")]
    faults: list[FieldError] = []
    try:
        _parse_click_id(value)
    except ValueError as error:
        faults.append(FieldError("/click_id", str(error)))
    try:
        _parse_revenue(value)
    except ValueError as error:
        faults.append(FieldError("/revenue", str(error).removeprefix("revenue ")))
    sender, longest = value.get("sender_id"), MAX_LENGTHS["sender_id"]
    if sender is not None and not (isinstance(sender, str) and 1 <= len(sender) <= longest):
        faults.append(FieldError("/sender_id", f"is not a string of 1 to {longest} characters"))
    try:
        msgspec.convert(
            value.get("conversion_id"), ConversionPayload.__annotations__["conversion_id"]
        )
    except ValueError:
        message = f"must be a whole number from 0 to {MAX_INT64} or a string of 1 to 200 characters"
        faults.append(FieldError("/conversion_id", message))
    unknown = [name for name in value if name not in ConversionPayload.__struct_fields__]
    return faults + [FieldError(json_pointer([name]), "is not known here") for name in unknown[:20]]


def _parse_click_id(value: dict[str, Any]) -> int:
    if "click_id" not in value:
        raise ValueError("is missing")
    click = value["click_id"]
    if isinstance(click, str) and click.isascii() and click.isdigit() and len(click) < 20:
        click = int(click)
    if isinstance(click, bool) or not isinstance(click, int) or not 0 <= click <= MAX_INT64:
        raise ValueError("is not the id of a click")
    return click


def _parse_revenue(value: dict[str, Any]) -> int:
    if "revenue" not in value:
        raise ValueError("is missing")
    revenue = value["revenue"]
    if isinstance(revenue, bool) or not isinstance(revenue, int | float):
        raise ValueError("is not a number")
    try:
        return parse_revenue_micros(repr(revenue).encode())
    except CsvRowError as error:
        raise ValueError(str(error)) from None
