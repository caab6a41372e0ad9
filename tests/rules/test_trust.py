"""Whether a clock is believed: once it has leapt, not for a day; and after a day, it is."""

from hypothesis import given
from hypothesis import strategies as st

from rules.trust import AWAY, LEAP, PROBATION, UNKNOWN, Trust, judge

TIMES = st.floats(1.0, 1e11)
TRUSTS = st.builds(Trust, st.just(0.0) | TIMES, st.just(0.0) | TIMES)


@given(TRUSTS, TIMES, st.floats(-1e11, 1e11))
def test_a_time_is_believed_or_doubted(trust: Trust, now: float, leapt: float) -> None:
    after = judge(trust, now, leapt)
    if after.doubted:
        assert after.believed == trust.believed
        assert now - PROBATION < after.doubted <= now
    else:
        assert after == Trust(now)


@given(TRUSTS, TIMES)
def test_who_goes_on_for_a_day_is_believed(trust: Trust, now: float) -> None:
    later = judge(judge(trust, now), now + PROBATION)
    assert later == Trust(now + PROBATION)


@given(TRUSTS, TIMES, st.floats(0, PROBATION - 1), st.floats(LEAP * 1.01, 1e11))
def test_who_leaps_is_believed_within_no_day(
    trust: Trust, now: float, seconds: float, leapt: float
) -> None:
    leapt_at = judge(trust, now, leapt)
    assert leapt_at.doubted == now
    assert judge(leapt_at, now + seconds).doubted == now


@given(TRUSTS, TIMES)
def test_judged_twice_it_is_the_same(trust: Trust, now: float) -> None:
    once = judge(trust, now)
    assert judge(once, now) == once


@given(TIMES, st.floats(AWAY * 1.01, 1e11))
def test_who_was_away_for_long_is_doubted_and_set_back_is_not(last: float, away: float) -> None:
    doubted = judge(Trust(last), last + away)
    assert doubted == Trust(last, last + away)
    assert judge(doubted, last + 1) == Trust(last + 1)


def test_the_first_time_of_all_is_believed() -> None:
    assert judge(UNKNOWN, 1e9) == Trust(1e9)
