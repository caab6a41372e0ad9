"""Whether a clock is believed: where it has leapt, not until it was lived with for a day."""

from hypothesis import given
from hypothesis import strategies as st

from rules.trust import AWAY, PROBATION, UNKNOWN, Trust, judge

TIMES = st.floats(1.0, 1e11)
SECONDS = st.floats(0.0, 1e6)
TRUSTS = st.builds(Trust, st.just(0.0) | TIMES, SECONDS)


@given(TRUSTS, TIMES, SECONDS)
def test_a_time_is_believed_or_it_was_lived_with(trust: Trust, now: float, passed: float) -> None:
    after = judge(trust, now, passed)
    assert after in (Trust(now), Trust(trust.believed, trust.lived + passed))
    assert after.lived < PROBATION


@given(TIMES, st.lists(st.tuples(st.floats(AWAY + PROBATION, 1e11), st.floats(0, 1e5))))
def test_whatever_it_says_meanwhile_it_is_believed_when_it_was_lived_with_for_a_day(
    last: float, steps: list[tuple[float, float]]
) -> None:
    """As long as it is far ahead: also where it leaps again, is set back a little, or stands."""
    trust, lived = Trust(last), 0.0
    for ahead, passed in steps:
        lived += passed
        trust = judge(trust, last + ahead, passed)
        if lived >= PROBATION:
            assert trust == Trust(last + ahead)
            return
        assert trust == Trust(last, lived)


@given(TIMES, SECONDS, st.floats(-1e11, AWAY * 0.99))
def test_one_that_is_not_far_ahead_of_what_was_lived_is_believed(
    last: float, lived: float, ahead: float
) -> None:
    now = last + lived + ahead
    assert judge(Trust(last, lived), now, 0.0) == Trust(now)
    assert judge(Trust(last), now, lived) == Trust(now)


def test_the_first_time_of_all_is_believed() -> None:
    assert judge(UNKNOWN, 1e9, 0.0) == Trust(1e9)
