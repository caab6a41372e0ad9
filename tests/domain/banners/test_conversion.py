"""What a right conversion is."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.banners.conversion import (
    BannerClick,
    Conversion,
    click_row,
    conversion_row,
    decode_click,
    looks_like_conversion,
    parse_conversion,
)
from domain.events.event import CLICK_SOURCE, CONVERSION_SOURCE, InvalidEvent

NO_ID = "is not the id of a click"
NO_OWN_ID = (
    "must be a whole number from 0 to 9223372036854775807 or a string of 1 to 200 characters"
)
NO_SENDER = "is not a string of 1 to 200 characters"


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        ('{"click_id": "7", "revenue": 1.23}', Conversion(7, 1_230_000, None)),
        ('{"click_id": 7, "revenue": 0}', Conversion(7, 0, None)),
        ('{"click_id": 7, "revenue": 0.0000004}', Conversion(7, 0, None)),
        ('{"click_id": 7, "revenue": 1e3, "sender_id": "a"}', Conversion(7, 10**9, "a")),
        ('{"click_id": 7, "revenue": 2, "sender_id": null}', Conversion(7, 2_000_000, None)),
        ('{"click_id": "9223372036854775807", "revenue": 1}', Conversion(2**63 - 1, 10**6, None)),
        ('{"click_id": 7, "revenue": 1, "conversion_id": 5}', Conversion(7, 10**6, None, "5")),
        ('{"click_id": 7, "revenue": 1, "conversion_id": "5"}', Conversion(7, 10**6, None, "5")),
        ('{"click_id": 7, "revenue": 1, "conversion_id": null}', Conversion(7, 10**6, None)),
    ],
)
def test_a_conversion_is_read_with_its_revenue_in_micros(sent: str, expected: Conversion) -> None:
    assert parse_conversion(sent.encode()) == expected


@pytest.mark.parametrize(
    ("sent", "faults"),
    [
        ("{}", {"/click_id": "is missing", "/revenue": "is missing"}),
        ("5", {"": "is not an object"}),
        ('{"click_id": "x", "revenue": 1}', {"/click_id": NO_ID}),
        ('{"click_id": "", "revenue": 1}', {"/click_id": NO_ID}),
        ('{"click_id": "٣", "revenue": 1}', {"/click_id": NO_ID}),
        ('{"click_id": true, "revenue": 1}', {"/click_id": NO_ID}),
        ('{"click_id": -1, "revenue": 1}', {"/click_id": NO_ID}),
        ('{"click_id": 1.0, "revenue": 1}', {"/click_id": NO_ID}),
        ('{"click_id": "9223372036854775808", "revenue": 1}', {"/click_id": NO_ID}),
        ('{"click_id": 1, "revenue": -0.5}', {"/revenue": "is negative"}),
        ('{"click_id": 1, "revenue": 1e300}', {"/revenue": "is too large"}),
        ('{"click_id": 1, "revenue": "1"}', {"/revenue": "is not a number"}),
        ('{"click_id": 1, "revenue": false}', {"/revenue": "is not a number"}),
        ('{"click_id": 1, "revenue": 1, "sender_id": ""}', {"/sender_id": NO_SENDER}),
        ('{"click_id": 1, "revenue": 1, "conversion_id": ""}', {"/conversion_id": NO_OWN_ID}),
        ('{"click_id": 1, "revenue": 1, "conversion_id": -1}', {"/conversion_id": NO_OWN_ID}),
        ('{"click_id": 1, "revenue": 1, "conversion_id": 1.5}', {"/conversion_id": NO_OWN_ID}),
        ('{"click_id": 1, "revenue": 1, "conversion_id": true}', {"/conversion_id": NO_OWN_ID}),
        ('{"click_id": 1, "revenue": 1, "conversion_id": [1]}', {"/conversion_id": NO_OWN_ID}),
        ('{"click_id": 1, "revenue": 1, "a/b": 1}', {"/a~1b": "is not known here"}),
        ('{"click_id": 1, "revenue": NaN}', {"": "is not JSON: invalid character (byte 27)"}),
    ],
)  # fmt: skip
def test_all_that_is_wrong_with_a_conversion_is_told(sent: str, faults: dict[str, str]) -> None:
    with pytest.raises(InvalidEvent) as wrong:
        parse_conversion(sent.encode())
    assert {each.pointer: each.message for each in wrong.value.faults} == faults


@given(st.integers(0, 10**15))
def test_revenue_is_exact_to_the_micro(micros: int) -> None:
    sent = f'{{"click_id": 1, "revenue": {micros // 10**6}.{micros % 10**6:06}}}'
    assert parse_conversion(sent.encode()).revenue == micros


@given(st.recursive(st.none() | st.text() | st.floats() | st.integers(), st.lists), st.data())
def test_no_conversion_does_worse_than_being_refused(part: Any, data: Any) -> None:
    value = {"click_id": 1, "revenue": 1, "sender_id": "a"}
    value[data.draw(st.sampled_from([*value, "x"]))] = part
    try:
        parse_conversion(json.dumps(value).encode())
    except InvalidEvent as wrong:
        assert wrong.faults


def test_a_conversion_tells_of_its_click_all_that_figures_need() -> None:
    click = BannerClick(7, 3, 2)
    row = click_row(click, 5)
    assert row[:9] == (CLICK_SOURCE, 0, None, None, "banner", "click", 5, None, None)
    assert decode_click(str(row[9])) == click
    row = conversion_row(Conversion(11, 1_230_000, None), click, 4, 6)
    assert row[:9] == (CONVERSION_SOURCE, 4, None, None, "banner", "conversion", 6, None, None)
    assert json.loads(str(row[9])) == {
        "click_id": "11", "revenue": 1.23, "revenue_micros": 1_230_000,
        "campaign": 7, "banner": 3, "slot": 2,
    }  # fmt: skip


def test_the_digest_of_a_conversion_is_that_of_what_it_says() -> None:
    def digest(revenue: int, click: int = 1) -> bytes | None:
        return conversion_row(Conversion(click, revenue, "a"), BannerClick(1, 1, 1), 1, 1)[8]

    assert digest(5) == digest(5)
    assert len({digest(5), digest(6), digest(5, 2)}) == 3


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        (b'{"click_id":1}', True),
        (b'{"click_id":1,"session_id":"a"}', False),
        (b"{}", False),
        (b"[]", False),
        (b"{", False),
    ],
)
def test_a_conversion_is_told_from_an_event(sent: bytes, expected: bool) -> None:
    assert looks_like_conversion(sent) is expected
