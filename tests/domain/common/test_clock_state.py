"""Whether a clock is believed: where it has leapt, not until it was lived with for a day."""

from hypothesis import given
from hypothesis import strategies as st

from domain.common.clock_state import (
    CLOCK_PROBATION_SECONDS,
    MAX_TRUSTED_GAP_SECONDS,
    UNKNOWN_CLOCK,
    ClockState,
    next_clock_state,
)

TIMES = st.floats(1.0, 1e11)
SECONDS = st.floats(0.0, 1e6)
TRUSTS = st.builds(ClockState, st.just(0.0) | TIMES, SECONDS)


@given(TRUSTS, TIMES, SECONDS)
def test_a_time_is_believed_or_it_was_lived_with(
    trust: ClockState, now: float, passed: float
) -> None:
    after = next_clock_state(trust, now, passed)
    assert after in (ClockState(now), ClockState(trust.believed, trust.lived + passed))
    assert after.lived < CLOCK_PROBATION_SECONDS


@given(
    TIMES,
    st.lists(
        st.tuples(
            st.floats(MAX_TRUSTED_GAP_SECONDS + CLOCK_PROBATION_SECONDS, 1e11), st.floats(0, 1e5)
        )
    ),
)
def test_whatever_it_says_meanwhile_it_is_believed_when_it_was_lived_with_for_a_day(
    last: float, steps: list[tuple[float, float]]
) -> None:
    """As long as it is far ahead: also where it leaps again, is set back a little, or stands."""
    trust, lived = ClockState(last), 0.0
    for ahead, passed in steps:
        lived += passed
        trust = next_clock_state(trust, last + ahead, passed)
        if lived >= CLOCK_PROBATION_SECONDS:
            assert trust == ClockState(last + ahead)
            return
        assert trust == ClockState(last, lived)


@given(TIMES, SECONDS, st.floats(-1e11, MAX_TRUSTED_GAP_SECONDS * 0.99))
def test_one_that_is_not_far_ahead_of_what_was_lived_is_believed(
    last: float, lived: float, ahead: float
) -> None:
    now = last + lived + ahead
    assert next_clock_state(ClockState(last, lived), now, 0.0) == ClockState(now)
    assert next_clock_state(ClockState(last), now, lived) == ClockState(now)


def test_the_first_time_of_all_is_believed() -> None:
    assert next_clock_state(UNKNOWN_CLOCK, 1e9, 0.0) == ClockState(1e9)
