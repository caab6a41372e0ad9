import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.audience.beacon import (
    KIND_BEAT,
    KIND_VIEW,
    PAGEVIEW_SOURCE,
    BeaconPayload,
    pageview_row,
    parse_beacon,
)
from domain.events.event import InvalidEvent

RIGHT = {"kind": "view", "session": "s", "host": "H.example", "path": "/a", "title": "A"}


def said(**other: object) -> bytes:
    return json.dumps({name: it for name, it in {**RIGHT, **other}.items() if it != "-"}).encode()


def test_a_sign_of_life_is_read() -> None:
    assert parse_beacon(said()) == BeaconPayload(KIND_VIEW, "s", "h.example", "/a", "A")
    assert parse_beacon(said(kind="beat", title="-")) == BeaconPayload(
        KIND_BEAT, "s", "h.example", "/a", ""
    )
    assert len(parse_beacon(said(title="t" * 999)).title) == 300


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        (b"", ""),
        (b"[]", ""),
        (b"\xff", ""),
        (b'{"kind":NaN}', ""),
        (said(kind="other"), "/kind"),
        (said(session=""), "/session"),
        (said(session="s" * 201), "/session"),
        (said(path="a"), "/path"),
        (said(path="/" * 2_001), "/path"),
        (said(host=7), "/host"),
        (said(title=None), "/title"),
        (said(path="-"), ""),
        (said(title="a\0b"), "/title"),
    ],
)
def test_what_is_none_is_told_where(body: bytes, pointer: str) -> None:
    with pytest.raises(InvalidEvent) as raised:
        parse_beacon(body)
    assert raised.value.faults[0].pointer == pointer


@given(st.binary(max_size=100))
def test_nothing_raises_otherwise(body: bytes) -> None:
    with pytest.raises(InvalidEvent):
        parse_beacon(body)


def test_a_pageview_is_a_row_of_the_log_under_its_own_source() -> None:
    source, app, session, user, category, name, at, sender, digest, data = pageview_row(
        parse_beacon(said()), 7, 123
    )
    assert (source, app, session, user) == (PAGEVIEW_SOURCE, 7, "s", None)
    assert (category, name, at, sender, digest) == (
        "page interaction", "pageview", 123, None, None,
    )  # fmt: skip
    assert json.loads(data or "") == {"host": "h.example", "path": "/a", "title": "A"}
