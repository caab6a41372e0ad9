"""Days and their numbers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.common.days import LAST_DAY, InvalidDate, format_day, parse_day
from domain.common.timestamp import parse_timestamp


@given(st.dates())
def test_a_day_is_its_number_and_its_text(date) -> None:  # type: ignore[no-untyped-def]
    day = parse_day(date.isoformat())
    assert format_day(day) == date.isoformat()
    # As the folds reckon it.
    assert (
        day
        == (parse_timestamp(f"{date.isoformat()}T23:59:59Z") + 62_135_596_800_000_000)
        // 86_400_000_000
    )


def test_the_first_and_the_last_day() -> None:
    assert parse_day("0001-01-01") == 0
    assert format_day(LAST_DAY) == "9999-12-31"


@pytest.mark.parametrize(
    "text",
    ["", "2021-02-29", "2021-1-1", "20210101", "2021-W01-1", "2021-001", "0000-01-01", "yesterday",
     "2021-01-01T00:00:00Z", " 2021-01-01", "10000-01-01", "٢٠٢١-٠١-٠١", "2021-13-01"],
)  # fmt: skip
def test_a_date_that_is_none_is_told_so(text: str) -> None:
    with pytest.raises(InvalidDate, match="is not a date"):
        parse_day(text)
