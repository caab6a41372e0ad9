"""What a visitor's browser tells of itself: a pageview, or that it is still there."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from domain.audience.toppages_format import MAX_PATH_LENGTH, MAX_TITLE_LENGTH
from domain.common.hosts import canonical_host
from domain.common.strict_json import InvalidJson, decode_json
from domain.common.validation_errors import FieldError
from domain.events.event import EVENT_SOURCES, EventRow, InvalidEvent, SessionId

PAGEVIEW_SOURCE = EVENT_SOURCES["pageview"]
PAGEVIEW_CATEGORY, PAGEVIEW_NAME = "page interaction", "pageview"
KIND_VIEW: Literal["view"] = "view"
KIND_BEAT: Literal["beat"] = "beat"


class BeaconPayload(msgspec.Struct):
    """A sign of life: its kind, the session, the page's host, path and title."""

    kind: Literal["view", "beat"]
    session: SessionId
    host: Annotated[str, Meta(min_length=1, max_length=260)]
    path: Annotated[str, Meta(pattern="^/", max_length=MAX_PATH_LENGTH)]
    title: str = ""


def parse_beacon(body: bytes) -> BeaconPayload:
    """The sign in `body`; raises `WrongEvent`."""
    try:
        sign = msgspec.convert(decode_json(body), BeaconPayload)
    except InvalidJson as error:
        raise InvalidEvent([error.fault], malformed=True) from None
    except msgspec.ValidationError as error:
        words, _, place = str(error).partition(" - at `$.")
        raise InvalidEvent([FieldError("/" + place.rstrip("`") if place else "", words)]) from None
    host = canonical_host(sign.host) or sign.host
    return msgspec.structs.replace(sign, host=host, title=sign.title[:MAX_TITLE_LENGTH])


def pageview_row(sign: BeaconPayload, app: int, now: int) -> EventRow:
    """The row of a pageview at `now` (µs)."""
    data = {"host": sign.host, "path": sign.path}
    if sign.title:
        data["title"] = sign.title
    text = msgspec.json.encode(data).decode()
    return (
        PAGEVIEW_SOURCE,
        app,
        sign.session,
        None,
        PAGEVIEW_CATEGORY,
        PAGEVIEW_NAME,
        now,
        None,
        None,
        text,
    )
