from hypothesis import given
from hypothesis import strategies as st

from domain.audience.upstream_budget import MAX_BACK_OFF_SECONDS, CircuitBreaker, UpstreamBudget


@given(st.lists(st.floats(0, 20), max_size=400), st.integers(1, 20))
def test_no_minute_has_more_requests_than_the_budget(pauses: list[float], most: int) -> None:
    budget, now, sent = UpstreamBudget(most), 0.0, []
    for pause in pauses:
        now += pause
        if not budget.wait(now):
            budget.spend(now)
            sent.append(now)
    for first in sent:
        assert sum(first <= each < first + 60 for each in sent) <= most


def test_a_wait_is_as_long_as_it_has_to_be() -> None:
    budget = UpstreamBudget(2)
    budget.spend(0.0)
    budget.spend(10.0)
    assert budget.wait(30.0) == 32.0
    assert budget.wait(62.0) == 0.0


def test_an_upstream_that_says_it_takes_few_more_is_asked_no_more_than_that() -> None:
    budget = UpstreamBudget(200)
    budget.spend(100.0)
    budget.told(2, 101.0)
    for _ in range(2):
        assert budget.wait(102.0) == 0.0
        budget.spend(102.0)
    assert budget.wait(102.0) == 58.0
    assert budget.wait(160.0) == 0.0
    budget.spend(160.0)
    assert budget.wait(160.0) == 0.0
    budget.told(0, 161.0)
    assert budget.wait(161.0) > 0.0


def test_the_longer_wait_counts_within_reason() -> None:
    budget = UpstreamBudget(200)
    budget.rest(30.0, 0.0)
    budget.rest(5.0, 0.0)
    assert budget.wait(0.0) == 30.0
    budget.rest(1e9, 0.0)
    assert budget.wait(0.0) == MAX_BACK_OFF_SECONDS


def test_a_breaker_lets_one_try_through_a_period_until_one_succeeds() -> None:
    breaker = CircuitBreaker(5.0, failures=3)
    for _ in range(3):
        assert breaker.wait(0.0) == 0.0
        breaker.trying(0.0)
        breaker.failed()
    assert breaker.open
    assert breaker.wait(1.0) == 4.0
    assert breaker.wait(5.0) == 0.0
    breaker.trying(5.0)
    assert breaker.wait(5.0) == 5.0
    breaker.succeeded()
    assert breaker.wait(5.0) == 0.0
