"""What is called rising: a simulation, the tail of the score, and what each state means."""

from math import comb
from statistics import NormalDist

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.verdicts import WITHIN, Steady, risen, steady
from domain.audience.trend_score import (
    FALLING,
    GONE,
    MIN_SCORED_VISITORS,
    NEW,
    RISING,
    RISING_THRESHOLD,
    STEADY,
    BaselineFactor,
    assess_trend,
    baseline_factor,
    independent_readings,
    trend_score,
    visitor_gains,
)

SIZES = (2, 3, 5, 8, 13, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000)
LARGE = (200, 300, 500, 1_000, 2_000, 5_000)


@pytest.fixture(scope="module")
def calm() -> list[Steady]:
    return steady(SIZES, pages=40, readings=500)


def test_fewer_than_one_in_a_thousand_readings_of_steady_pages_is_called_rising(
    calm: list[Steady],
) -> None:
    for each in calm:
        assert each.called < each.readings / 1_000, each.size


@pytest.mark.parametrize("reached", [None, 5, 12])
def test_pages_on_which_half_as_many_again_are_expected_are_called_rising(
    calm: list[Steady], reached: int | None
) -> None:
    found = risen(LARGE, pages=60, reached=reached)
    for each in found:
        last = each.reached + WITHIN
        in_time = sum(first is not None and first <= last for first in each.first)
        assert in_time >= 0.95 * len(each.first), each.size
    # The difference of two readings finds as many only by calling many steady pages, too.
    greatest = sorted(max(gains) for each in found for gains in each.differences)
    needed = greatest[len(greatest) // 20]
    wrong = sum(gain >= needed for one in calm for gain in one.differences)
    assert wrong > 20 * sum(one.readings for one in calm) / 1_000


def test_the_difference_of_two_readings_calls_every_third_steady_page(calm: list[Steady]) -> None:
    for each in calm:
        if each.size >= 13:
            assert sum(gain > 0 for gain in each.differences) > each.readings / 3, each.size


def tail(visitors: int, past: int, independent: int) -> float:
    """The chance of so many visitors or more, of all that were seen, when nothing has changed."""
    both, share = visitors + past, 1 / (1 + independent)
    return sum(
        comb(both, many) * share**many * (1 - share) ** (both - many)
        for many in range(visitors, both + 1)
    )


@given(st.integers(MIN_SCORED_VISITORS, 60), st.integers(0, 300), st.integers(1, 12))
def test_the_score_is_the_normal_deviate_of_the_exact_tail(
    visitors: int, past: int, independent: int
) -> None:
    expected = past / independent
    found = trend_score(visitors, expected, independent)
    if found <= 1:
        return
    chance = tail(visitors, past, independent)
    exact = -NormalDist().inv_cdf(chance)
    assert found == pytest.approx(exact, abs=0.25)


@given(st.integers(0, 10_000), st.floats(0, 10_000), st.floats(1, 20))
def test_more_visitors_are_never_less_surprising(
    visitors: int, expected: float, independent: float
) -> None:
    here = trend_score(visitors, expected, independent)
    assert here <= trend_score(visitors + 1, expected, independent) + 1e-6
    assert (here >= 0) == (visitors > expected) or here == 0


@given(st.floats(0, 10_000))
def test_a_longer_past_is_worth_more(seconds: float) -> None:
    assert 1 <= independent_readings(seconds) <= independent_readings(seconds + 60)
    assert independent_readings(seconds) == pytest.approx(1 + seconds / 180, rel=0.5)


@pytest.mark.parametrize(
    ("visitors", "average", "state"),
    [
        (20, 0.0, NEW),
        (40, 10.0, RISING),
        (12, 10.0, STEADY),
        (10, 40.0, FALLING),
        (0, 40.0, GONE),
        (MIN_SCORED_VISITORS - 1, 0.0, STEADY),
        (0, MIN_SCORED_VISITORS - 0.1, STEADY),
        (4_000, None, STEADY),
    ],
)
def test_a_page_has_a_state(visitors: int, average: float | None, state: str) -> None:
    judged = assess_trend(visitors, average, 8.0)
    assert judged.state == state
    assert (abs(judged.score) >= RISING_THRESHOLD) == (state != STEADY)


def test_what_happens_every_day_at_this_time_is_no_surprise() -> None:
    every_day = baseline_factor(100.0, 160.0, days=6)
    assert assess_trend(160, 100.0, 8.0).state == RISING
    judged = assess_trend(160, 100.0, 8.0, every_day)
    assert judged.state == STEADY
    assert judged.expected == pytest.approx(160, abs=2)


def test_few_other_days_with_few_visitors_say_little() -> None:
    one_day = baseline_factor(1.0, 3.0, days=1)
    assert one_day.factor < 1.2
    sure = assess_trend(30, 10.0, 8.0, BaselineFactor(1.0, 0.0)).score
    assert assess_trend(30, 10.0, 8.0, BaselineFactor(1.0, one_day.variance)).score < sure


def test_increases_tell_pages_of_both_readings_most_first() -> None:
    before = {"/a": 5, "/b": 1, "/left": 9, "/same": 3, "/less": 7, "/c": 1}
    now = {"/a": 6, "/b": 13, "/new": 40, "/same": 3, "/less": 2, "/c": 2}
    assert visitor_gains(before, now) == [(12, "/b"), (1, "/a"), (1, "/c")]
    assert visitor_gains({}, now) == []
