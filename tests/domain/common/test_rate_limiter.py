"""Rates: never more than they say, in any stretch of time; and all that they say."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.common.rate_limiter import RateLimiter, RequestRate, parse_rate, rate_limit_key

RATES = st.builds(RequestRate, st.integers(1, 50), st.sampled_from((1, 60, 3_600)))


@pytest.mark.parametrize(
    ("said", "rate"),
    [("20/s", (20, 1)), ("100/m", (100, 60)), (" 7/h ", (7, 3_600)), ("200/10s", (200, 10))],
)
def test_a_rate_is_said_in_words(said: str, rate: tuple[int, int]) -> None:
    assert parse_rate(said) == rate


@pytest.mark.parametrize(
    "said", ["", "0/s", "5", "5/d", "-1/s", "1.5/s", "٣/s", "1/s 2/s", "1/0s", "1/٣s"]
)
def test_what_is_no_rate_is_said_so(said: str) -> None:
    with pytest.raises(ValueError, match="is no rate; give such as 20/s"):
        parse_rate(said)


@given(RATES, st.lists(st.floats(0, 2), max_size=200))
def test_in_no_stretch_of_time_is_more_allowed_than_twice_the_rate(
    rate: RequestRate, gaps: list[float]
) -> None:
    """What came at once, and what was free again by its end (ITU-T I.371, appendix)."""
    meter, now, taken = RateLimiter(rate), 0.0, []
    for gap in gaps:
        now += gap * rate.seconds / rate.most
        if meter.take("a", now).allowed:
            taken.append(now)
    for first in range(len(taken)):
        for last in range(first, len(taken)):
            stretch = taken[last] - taken[first]
            allowed = rate.most * (1 + stretch / rate.seconds)
            assert last - first + 1 <= allowed * (1 + 1e-5)


@given(RATES)
def test_as_many_as_it_says_may_come_at_once_and_then_one_by_one(rate: RequestRate) -> None:
    meter = RateLimiter(rate)
    lefts = [meter.take("a", 5.0).left for _ in range(rate.most)]
    assert lefts == list(range(rate.most - 1, -1, -1))
    refused = meter.take("a", 5.0)
    assert not refused.allowed and 0 < refused.wait <= rate.seconds / rate.most * 1.001
    assert not meter.look("a", 5.0 + refused.wait * 0.5).allowed
    assert meter.take("a", 5.0 + refused.wait * 1.001).allowed
    assert meter.take("b", 5.0).allowed


@given(RATES, st.lists(st.tuples(st.integers(0, 4), st.floats(0, 2)), max_size=100))
def test_what_is_forgotten_would_have_changed_nothing(
    rate: RequestRate, asked: list[tuple[int, float]]
) -> None:
    """Against one that never forgets."""
    meter, now, free = RateLimiter(rate), 0.0, {}
    interval = rate.seconds / rate.most
    for key, gap in asked:
        now += gap * rate.seconds / 2
        due = max(now, free.get(key, now))
        allowed = rate.seconds - (due - now) + interval * 1e-6 >= interval
        if allowed:
            free[key] = due + interval
        assert meter.take(key, now).allowed is allowed
        assert len(meter) <= 10


@given(RATES, st.lists(st.floats(0, 1.5), min_size=1, max_size=50))
def test_when_there_is_more_is_told_and_is_so(rate: RequestRate, gaps: list[float]) -> None:
    meter, now = RateLimiter(rate), 0.0
    for gap in gaps:
        now += gap * rate.seconds / rate.most
        verdict = meter.take("a", now)
        more = verdict.left + 1
        sooner, then = now + verdict.wait * 0.99, now + verdict.wait * 1.01
        assert _left(meter, sooner) < more <= _left(meter, then)


def _left(meter: RateLimiter, now: float) -> int:
    verdict = meter.look("a", now)
    return verdict.left + verdict.allowed


def test_who_has_not_asked_for_long_is_forgotten() -> None:
    meter = RateLimiter(RequestRate(10, 1))
    for number in range(50):
        meter.take(number, 0.0)
    meter.take("late", 5.0)
    assert len(meter) == 1


def test_to_look_counts_nothing() -> None:
    meter = RateLimiter(RequestRate(1, 1))
    assert all(meter.look("a", 0.0).allowed for _ in range(5))
    assert meter.take("a", 0.0).allowed
    assert not meter.look("a", 0.0).allowed


def test_it_remembers_a_bounded_number_and_first_forgets_whom_it_matters_least_for() -> None:
    meter = RateLimiter(RequestRate(2, 60), most=100)
    for number in range(1_000):
        meter.take(number, number * 0.001)
        assert len(meter) <= 200
    assert meter.take(999, 1.0).allowed
    assert not meter.take(999, 1.0).allowed  # the last ones are known still


@pytest.mark.parametrize(
    ("address", "key"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff::1", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
    ],
)
def test_a_network_of_ipv6_counts_as_one_address(address: str, key: str) -> None:
    assert rate_limit_key(address) == key
