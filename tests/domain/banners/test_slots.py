import struct
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from io import BytesIO
from zoneinfo import ZoneInfo, available_timezones

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.banners.slots import SLOTS, SlotPeriod, current_or_next_period, period_at, slot_at

SECOND = timedelta(seconds=1)
QUARTER = timedelta(minutes=15)
TICK = timedelta(microseconds=1)
ZONES = sorted(available_timezones())
smaller = st.integers(-2000, 2000)


def turning(turn: int, before: int, after: int) -> ZoneInfo:
    """A zone whose offset changes once, in the form of RFC 8536; all in seconds."""
    counts = struct.pack(">4s16x6l", b"TZif", 0, 0, 0, 1, 2, 4)
    types = struct.pack(">lBBlBB", before, 0, 0, after, 0, 0)
    return ZoneInfo.from_file(BytesIO(counts + struct.pack(">lB", turn, 1) + types + b"ZED\0"))


@st.composite
def turns(draw: st.DrawFn) -> tuple[datetime, ZoneInfo]:
    """A moment about when a zone's clocks are put forward or back, by anything at any second."""
    turn = draw(st.integers(1_800_000_000, 1_800_003_600))
    before = draw(st.integers(-43_200, 50_400))
    after = before + draw(st.sampled_from([-3600, -1800, -1200, 1200, 1800, 3600]) | smaller)
    moment = datetime.fromtimestamp(turn, UTC) + draw(st.timedeltas(-2 * QUARTER, 2 * QUARTER))
    return moment, turning(turn, before, after)


@st.composite
def anytime(draw: st.DrawFn) -> tuple[datetime, ZoneInfo]:
    moment = draw(st.datetimes(datetime(1800, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC)))
    return moment, ZoneInfo(draw(st.sampled_from(ZONES)))


def test_a_zone_made_for_a_test_turns_when_it_should() -> None:
    zone = turning(1_800_000_000, -60, 3661)
    turn = datetime.fromtimestamp(1_800_000_000, UTC)
    assert (turn - TICK).astimezone(zone).utcoffset() == timedelta(seconds=-60)
    assert turn.astimezone(zone).utcoffset() == timedelta(seconds=3661)


moments_and_zones = turns() | anytime()


def walked(moment: datetime, zone: tzinfo) -> SlotPeriod:
    """The period found by walking outwards second by second."""
    slot = slot_at(moment, zone)
    start = end = moment.astimezone(UTC).replace(microsecond=0)
    while slot_at(start - SECOND, zone) == slot:
        start -= SECOND
    while slot_at(end, zone) == slot:
        end += SECOND
    return SlotPeriod(slot, start, end)


@pytest.mark.parametrize(
    ("minute", "slot"), [(0, 1), (14, 1), (15, 2), (29, 2), (30, 3), (44, 3), (45, 4), (59, 4)]
)
def test_a_slot_is_a_quarter_of_the_hour_and_minute_15_is_slot_2(minute: int, slot: int) -> None:
    assert slot_at(datetime(2026, 1, 1, 12, minute, 0, tzinfo=UTC), UTC) == slot
    assert slot_at(datetime(2026, 1, 1, 12, minute, 59, 999_999, tzinfo=UTC), UTC) == slot


@pytest.mark.parametrize(
    ("zone", "slot"),
    [("UTC", 1), ("Europe/Berlin", 1), ("Asia/Kolkata", 3), ("Asia/Kathmandu", 4)],
)
def test_the_slot_is_the_zone_s_own(zone: str, slot: int) -> None:
    assert slot_at(datetime(2026, 1, 1, 12, 5, tzinfo=UTC), ZoneInfo(zone)) == slot


def test_a_moment_may_be_told_in_another_zone_than_that_of_the_slots() -> None:
    moment = datetime(2026, 1, 1, 12, 5, tzinfo=timezone(timedelta(hours=5, minutes=45)))
    assert slot_at(moment, UTC) == 2
    assert period_at(moment, UTC) == SlotPeriod(
        2, datetime(2026, 1, 1, 6, 15, tzinfo=UTC), datetime(2026, 1, 1, 6, 30, tzinfo=UTC)
    )


@pytest.mark.parametrize(
    "ask",
    [
        lambda moment: slot_at(moment, UTC),
        lambda moment: period_at(moment, UTC),
        lambda moment: current_or_next_period(1, moment, UTC),
    ],
)
def test_a_moment_without_a_zone_is_refused(ask: Callable[[datetime], object]) -> None:
    with pytest.raises(ValueError, match="time zone"):
        ask(datetime(2026, 1, 1))


@pytest.mark.parametrize("slot", [0, 5, -1])
def test_a_slot_that_is_none_is_refused(slot: int) -> None:
    with pytest.raises(ValueError, match=str(slot)):
        current_or_next_period(slot, datetime(2026, 1, 1, tzinfo=UTC), UTC)


def test_the_last_quarter_of_a_year_ends_with_it() -> None:
    new_year = datetime(2026, 12, 31, 18, 30, tzinfo=UTC)  # midnight in Delhi
    period = period_at(new_year - TICK, ZoneInfo("Asia/Kolkata"))
    assert period == SlotPeriod(4, new_year - QUARTER, new_year)
    assert period_at(new_year, ZoneInfo("Asia/Kolkata")).slot == 1


def test_a_clock_put_forward_by_half_an_hour_skips_slots() -> None:
    howe = ZoneInfo("Australia/Lord_Howe")
    forward = datetime(2026, 10, 3, 15, 30, tzinfo=UTC)  # 02:00 becomes 02:30
    assert period_at(forward - TICK, howe) == SlotPeriod(4, forward - QUARTER, forward)
    assert period_at(forward, howe) == SlotPeriod(3, forward, forward + QUARTER)
    assert current_or_next_period(1, forward - TICK, howe).start == forward + 2 * QUARTER


def test_a_clock_put_back_by_half_an_hour_repeats_slots() -> None:
    howe = ZoneInfo("Australia/Lord_Howe")
    back = datetime(2026, 4, 4, 15, 0, tzinfo=UTC)  # 02:00 becomes 01:30
    assert period_at(back - TICK, howe) == SlotPeriod(4, back - QUARTER, back)
    assert period_at(back, howe) == SlotPeriod(3, back, back + QUARTER)


def test_a_clock_put_back_within_a_slot_lengthens_it() -> None:
    # On 18 November 1883 New York's 12:03:58 became 12:00:00, at 17:00 UTC.
    period = period_at(datetime(1883, 11, 18, 17, 0, tzinfo=UTC), ZoneInfo("America/New_York"))
    assert period.slot == 1
    assert period.start == datetime(1883, 11, 18, 16, 56, 2, tzinfo=UTC)
    assert period.end == datetime(1883, 11, 18, 17, 15, tzinfo=UTC)


def test_a_clock_put_forward_an_hour_within_a_slot_goes_on_with_it() -> None:
    # Newfoundland turned its clocks at 00:01.
    zone = ZoneInfo("America/St_Johns")
    turn = datetime(2011, 3, 13, 3, 31, tzinfo=UTC)
    assert period_at(turn - SECOND, zone) == period_at(turn, zone)
    assert period_at(turn, zone).start == datetime(2011, 3, 13, 3, 30, tzinfo=UTC)


@given(moments_and_zones)
def test_a_period_is_all_of_the_slot_s_run(place: tuple[datetime, ZoneInfo]) -> None:
    moment, zone = place
    period = period_at(moment, zone)
    assert period == walked(moment, zone)
    assert period.start <= moment < period.end
    assert period.start.tzinfo is UTC
    assert period.end.tzinfo is UTC


@given(moments_and_zones)
def test_periods_follow_each_other_without_a_gap(place: tuple[datetime, ZoneInfo]) -> None:
    moment, zone = place
    period = period_at(moment, zone)
    following = period_at(period.end, zone)
    assert following.start == period.end
    assert following.slot != period.slot
    assert period_at(period.start - TICK, zone).end == period.start


@given(moments_and_zones, st.sampled_from(SLOTS))
def test_the_period_of_a_slot_is_the_running_or_the_first_to_come(
    place: tuple[datetime, ZoneInfo], slot: int
) -> None:
    moment, zone = place
    period = current_or_next_period(slot, moment, zone)
    assert period.slot == slot
    assert period == period_at(period.start, zone)
    second = moment.astimezone(UTC).replace(microsecond=0)
    while slot_at(second, zone) != slot:
        second += SECOND
    assert period.start <= max(second, moment) < period.end
