"""Beacon: the pageviews and heartbeats that a visitor's browser sends."""

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
    """Parse a beacon; raise `InvalidEvent`."""
    try:
        beacon = msgspec.convert(decode_json(body), BeaconPayload)
    except InvalidJson as error:
        raise InvalidEvent([error.fault], malformed=True) from None
    except msgspec.ValidationError as error:
        message, _, path = str(error).partition(" - at `$.")
        raise InvalidEvent([FieldError("/" + path.rstrip("`") if path else "", message)]) from None
    host = canonical_host(beacon.host) or beacon.host
    return msgspec.structs.replace(beacon, host=host, title=beacon.title[:MAX_TITLE_LENGTH])


def pageview_row(beacon: BeaconPayload, app: int, now: int) -> EventRow:
    """Return the event row of a pageview at `now` (µs)."""
    data = {"host": beacon.host, "path": beacon.path}
    if beacon.title:
        data["title"] = beacon.title
    text = msgspec.json.encode(data).decode()
    return (
        PAGEVIEW_SOURCE,
        app,
        beacon.session,
        None,
        PAGEVIEW_CATEGORY,
        PAGEVIEW_NAME,
        now,
        None,
        None,
        text,
    )
