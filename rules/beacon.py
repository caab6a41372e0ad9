"""What a visitor's browser tells of itself: a pageview, or that it is still there."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from rules.event import SOURCES, Row, Session, WrongEvent
from rules.faults import Fault
from rules.hosts import canonical
from rules.strict import NotJson, decode
from rules.toppages import LONGEST_PATH, LONGEST_TITLE

PAGEVIEW = SOURCES["pageview"]
CATEGORY, NAME = "page interaction", "pageview"
VIEW: Literal["view"] = "view"
BEAT: Literal["beat"] = "beat"


class Sign(msgspec.Struct):
    """A sign of life: its kind, the session, the page's host, path and title."""

    kind: Literal["view", "beat"]
    session: Session
    host: Annotated[str, Meta(min_length=1, max_length=260)]
    path: Annotated[str, Meta(pattern="^/", max_length=LONGEST_PATH)]
    title: str = ""


def read(body: bytes) -> Sign:
    """The sign in `body`; raises `WrongEvent`."""
    try:
        sign = msgspec.convert(decode(body), Sign)
    except NotJson as error:
        raise WrongEvent([error.fault], malformed=True) from None
    except msgspec.ValidationError as error:
        words, _, place = str(error).partition(" - at `$.")
        raise WrongEvent([Fault("/" + place.rstrip("`") if place else "", words)]) from None
    host = canonical(sign.host) or sign.host
    return msgspec.structs.replace(sign, host=host, title=sign.title[:LONGEST_TITLE])


def row(sign: Sign, app: int, now: int) -> Row:
    """The row of a pageview at `now` (µs)."""
    data = {"host": sign.host, "path": sign.path}
    if sign.title:
        data["title"] = sign.title
    text = msgspec.json.encode(data).decode()
    return (PAGEVIEW, app, sign.session, None, CATEGORY, NAME, now, None, None, text)
