"""Figures and moments as people read them."""

import pytest

from domain.common.formatting import (
    escape_control,
    escape_for_terminal,
    format_count,
    format_duration,
    format_moment,
    format_number,
    format_size,
    shorten_timestamp,
)


@pytest.mark.parametrize(
    ("value", "said"),
    [(0, "0"), (0.5, "0.5"), (1.234, "1.23"), (12.34, "12.3"), (99, "99"), (1234.5, "1,234")],
)
def test_a_number(value: float, said: str) -> None:
    assert format_number(value) == said


@pytest.mark.parametrize(
    ("value", "said"),
    [(0, "0 bytes"), (999, "999 bytes"), (1500, "1.5 KB"), (250_000, "250 KB"), (3.5e9, "3.5 GB")],
)
def test_a_size(value: float, said: str) -> None:
    assert format_size(value) == said


@pytest.mark.parametrize(
    ("value", "said"),
    [(0.0015, "1.5 ms"), (0.25, "250 ms"), (3, "3 s"), (600, "10 minutes"), (86_400, "24 hours")],
)
def test_a_length_of_time(value: float, said: str) -> None:
    assert format_duration(value) == said


def test_what_would_steer_a_terminal_is_escaped() -> None:
    assert escape_for_terminal("café ≥ 5 “x”") == "café ≥ 5 “x”"
    assert (
        escape_for_terminal("a\x1b[2J\x07\x9b1m\r\nb\u202e\x7f")
        == "a\\x1b[2J\\x07\\x9b1m\\r\\nb\\u202e\\x7f"
    )


def test_a_moment_and_how_many() -> None:
    assert format_moment(None) == "never"
    assert format_moment(1_600_000_000_000_000) == "2020-09-13 12:26:40"
    assert format_moment(-62_135_596_800_000_000) == "0001-01-01 00:00:00"
    assert shorten_timestamp("2021-01-01T09:15:27.243860Z") == "2021-01-01 09:15:27.243"
    assert format_count(1, "event") == "1 event" and format_count(1_000, "event") == "1,000 events"


def test_characters_that_cannot_be_seen_are_written_out() -> None:
    assert escape_control("a\x00\x1b\x7f\x85\u202e\ufeff") == r"a\x00\x1b\x7f\x85\u202e\ufeff"
    plain = "é\t\r\n\u00a0\u200d\u00ad\U0001f468\u200d\U0001f469 日本"
    assert escape_control(plain) == plain
