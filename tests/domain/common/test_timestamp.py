"""Moments as senders write them."""

import contextlib
from datetime import UTC, datetime, timedelta, timezone

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.common.timestamp import (
    MAX_TIMESTAMP_MICROS,
    MIN_TIMESTAMP_MICROS,
    InvalidTimestamp,
    format_timestamp,
    micros_from_datetime,
    parse_timestamp,
)

NOON = 1_609_502_400_000_000  # 2021-01-01T12:00:00Z


@pytest.mark.parametrize(
    ("written", "since_noon"),
    [
        ("2021-01-01 12:00:00", 0),
        ("2021-01-01T12:00:00", 0),
        ("2021-01-01t12:00:00z", 0),
        ("2021-01-01 12:00:00Z", 0),
        ("2021-01-01T12:00:00+00:00", 0),
        ("2021-01-01T12:00:00-00:00", 0),
        ("2021-01-01T13:30:00+01:30", 0),
        ("2021-01-01T13:30:00+0130", 0),
        ("2021-01-01 13:00:00+01", 0),
        ("2020-12-31T12:01:00-23:59", 0),
        ("2021-01-01 12:00:00.5", 500_000),
        ("2021-01-01 12:00:00.000001", 1),
        ("2021-01-01T12:00:00.243860Z", 243_860),
        ("2021-01-01T12:00:00.0000004Z", 0),
        ("2021-01-01T12:00:00.0000005Z", 1),
        ("2021-01-01T12:00:00.000000499Z", 0),
        ("2021-01-01T12:00:00.999999500+00", 1_000_000),
        ("2021-01-01T23:59:60Z", 43_200_000_000),
        ("2021-01-01T23:59:60.25Z", 43_200_250_000),
        ("2021-01-02T05:29:60+05:30", 43_200_000_000),
    ],
)
def test_every_form_gives_its_microseconds(written: str, since_noon: int) -> None:
    assert parse_timestamp(written) == NOON + since_noon


@pytest.mark.parametrize(
    "written",
    [
        "",
        "noon",
        "1609502400",
        "20210101T120000Z",
        "2021-01-01",
        "2021-01-01T12:00",
        "2021-1-1 12:00:00",
        "21-01-01 12:00:00",
        "2021-01-01  12:00:00",
        "2021-01-01_12:00:00",
        " 2021-01-01 12:00:00",
        "2021-01-01 12:00:00 ",
        "2021-01-01 12:00:00\n",
        "2021-01-01 12:00:00 +01:00",
        "2021-01-01 12:00:00.",
        "2021-01-01 12:00:00,5",
        "2021-01-01 12:00:00." + "1" * 31,
        "2021-01-01 12:00:00+1",
        "2021-01-01 12:00:00+24:00",
        "2021-01-01 12:00:00+01:60",
        "2021-01-01 12:00:00 UTC",
        "2021-01-01T12:00:00[Europe/Paris]",
        "2021-W01-1T12:00:00",
        "2021-13-01 12:00:00",
        "2021-00-01 12:00:00",
        "2021-02-29 12:00:00",
        "2021-01-32 12:00:00",
        "2021-01-01 24:00:00",
        "2021-01-01 12:60:00",
        "2021-01-01 12:00:60",
        "2021-01-01 23:59:61",
        "2021-01-01 23:59:60+01:00",
        "0000-01-01 00:00:00",
        "0001-01-01 00:00:00+00:01",
        "9999-12-31 23:59:59-00:01",
        "9999-12-31 23:59:59.9999995",
        "9999-12-31 23:59:60",
        "-2021-01-01 12:00:00",
        "٢٠٢١-01-01 12:00:00",
        "2021-01-01 12:00:0\0",
    ],
)
def test_what_is_no_moment_is_refused_with_a_reason(written: str) -> None:
    with pytest.raises(InvalidTimestamp, match="is not"):
        parse_timestamp(written)


moments = st.datetimes(datetime(1, 1, 3), datetime(9999, 12, 29))
zones = st.none() | st.integers(-1439, 1439).map(lambda m: timezone(timedelta(minutes=m)))


@given(moments, zones, st.sampled_from("T "))
def test_a_moment_as_python_writes_it_is_that_moment(
    moment: datetime, zone: timezone | None, between: str
) -> None:
    aware = moment.replace(tzinfo=zone or UTC)
    at = (aware - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
    written = moment.replace(tzinfo=zone).isoformat(between)
    assert parse_timestamp(written) == micros_from_datetime(moment.replace(tzinfo=zone)) == at
    assert parse_timestamp(format_timestamp(at)) == at


@given(
    moments.map(lambda moment: moment.isoformat()[:19]),
    st.text("0123456789", max_size=12),
    st.sampled_from(["", "Z", "z", "+01:00", "-2359", "+00:00"]),
)
def test_what_msgspec_reads_as_a_moment_is_the_same_moment_here(
    written: str, fraction: str, zone: str
) -> None:
    whole = written + "." * bool(fraction) + fraction + zone
    read = msgspec.json.decode(msgspec.json.encode(whole), type=datetime)
    assert micros_from_datetime(read) == parse_timestamp(whole)


@given(st.text("0123456789-: T.Z+60", max_size=30) | st.text(max_size=30))
def test_no_text_does_worse_than_being_refused(written: str) -> None:
    with contextlib.suppress(InvalidTimestamp):
        assert MIN_TIMESTAMP_MICROS <= parse_timestamp(written) <= MAX_TIMESTAMP_MICROS


def test_the_first_and_the_last_moment_are_written_as_they_are_read() -> None:
    assert format_timestamp(MIN_TIMESTAMP_MICROS) == "0001-01-01T00:00:00.000000Z"
    assert format_timestamp(MAX_TIMESTAMP_MICROS) == "9999-12-31T23:59:59.999999Z"
    assert parse_timestamp(format_timestamp(MIN_TIMESTAMP_MICROS)) == MIN_TIMESTAMP_MICROS
    assert parse_timestamp(format_timestamp(MAX_TIMESTAMP_MICROS)) == MAX_TIMESTAMP_MICROS
