"""Readings in columns: what a window is compared with, minutes that are over, what is forgotten."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.audience import visitor_history
from domain.audience.seasonal_baseline import SeasonalBaseline
from domain.audience.trend_score import GONE, NEW, RISING, STEADY
from domain.audience.visitor_history import MinuteTotals, VisitorHistory

START = 1_700_000_040  # the first second of a minute


def fed(readings, start=START, step=5):
    told = VisitorHistory()
    closed = [told.add(visitors, start + number * step) for number, visitors in enumerate(readings)]
    return told, [each for each in closed if each is not None]


def pages(told, window=300, limit=100, **more):
    return {page.path: page for page in told.rising(window, limit=limit, **more)}


def test_nothing_is_expected_at_first():
    told, _ = fed([{"/": 40}])
    page = pages(told)["/"]
    assert (page.visitors, page.change, page.judged) == (40, 0, (None, 0.0, STEADY))


def test_half_of_a_short_past_is_judged_by_the_other_half():
    told, _ = fed([{"/": 10}] * 10 + [{"/": 90}] * 2)
    page = pages(told)["/"]
    assert page.judged.state == RISING
    assert page.judged.expected == pytest.approx(10, abs=0.5)
    assert page.change == 80


@pytest.mark.parametrize("window", [60, 300, 600])
def test_what_came_within_the_window_is_not_expected(window):
    before, since = 1_200 // 5, window // 5
    told, _ = fed([{"/": 100, "/new": 0}] * before + [{"/": 300, "/new": 30}] * since)
    found = pages(told, window)
    assert found["/"].judged.expected == pytest.approx(100)
    assert found["/"].change == 200
    # From the middle of the last whole minute before the window.
    assert 200 / (window / 60 + 1.5) <= found["/"].rate <= 200 / (window / 60 + 0.5)
    assert found["/"].judged.state == RISING
    assert found["/new"].judged.state == NEW


def test_what_stays_is_expected_in_the_end():
    told, _ = fed([{"/": 100}] * 240 + [{"/": 300}] * 360)
    assert pages(told)["/"].judged.state == STEADY


def test_gains_come_first_then_losses_then_the_largest():
    before = {"/big": 900, "/up": 50, "/far-up": 50, "/down": 100, "/left": 40, "/small": 3}
    now = {"/big": 905, "/up": 120, "/far-up": 300, "/down": 20, "/small": 4}
    told, _ = fed([before] * 240 + [now] * 2)
    order = [page.path for page in told.rising(limit=100)]
    assert order == ["/far-up", "/up", "/down", "/left", "/big", "/small"]
    assert [page.path for page in told.rising(limit=2)] == order[:2]
    assert pages(told)["/left"].judged.state == GONE


def test_a_page_that_nobody_is_on_is_not_told():
    told, _ = fed([{"/": 100, "/quiet": 2}] * 240 + [{"/": 100}])
    assert set(pages(told)) == {"/"}


def test_a_minute_that_is_over_is_told_once_with_all_its_readings():
    told, closed = fed([{"/": 10, "/a": 1}] * 6 + [{"/": 20}] * 6 + [{"/": 30}])
    assert closed == [MinuteTotals(START // 60, 12, {"/": 180, "/a": 6})]
    assert told.series("/nowhere", 30) == []


def test_after_a_long_silence_it_begins_anew_and_the_last_minute_is_told():
    told, closed = fed([{"/": 10}] * 3)
    assert closed == []
    assert told.add(
        {"/": 90}, START + 10 + visitor_history.MAX_READING_GAP_SECONDS + 1
    ) == MinuteTotals(START // 60, 3, {"/": 30})
    assert pages(told)["/"].judged.expected is None


def test_a_clock_that_is_put_right_changes_nothing():
    told, _ = fed([{"/": 10}] * 30)
    told.add({"/": 90}, START + 29 * 5 - 2)
    assert pages(told)["/"].judged.expected == pytest.approx(10)


def test_a_clock_that_is_put_back_begins_anew():
    told, _ = fed([{"/": 10}] * 30)
    told.add({"/": 90}, START)
    assert pages(told)["/"].judged.expected is None


def test_no_more_pages_are_followed_than_there_is_room_for(monkeypatch):
    monkeypatch.setattr(visitor_history, "MAX_TRACKED_PAGES", 10)
    told, _ = fed([{f"/{number}": 1 for number in range(30)}] * 3)
    assert len(told.paths) == 10
    told.add({f"/{number}": 2 for number in range(20, 40)}, START + 15)
    assert len(told.paths) == 10


def test_pages_that_nobody_was_on_for_long_make_room(monkeypatch):
    monkeypatch.setattr(visitor_history, "MAX_TRACKED_PAGES", 10)
    told, _ = fed([{f"/old/{number}": 7 for number in range(9)}] * 24)
    for number in range(24, 24 + 100 * 12):
        told.add({"/kept": 40}, START + number * 5)
    assert told.paths == ["/kept"]
    told.add({"/kept": 41, **{f"/new/{number}": 9 for number in range(5)}}, told._last + 5)
    found = pages(told)
    assert found["/kept"].judged.expected == pytest.approx(40)
    assert found["/new/4"].judged.state == NEW


def test_memory_does_not_grow_with_time():
    told, _ = fed([{"/": 40}] * (4 * 720))
    assert len(told._marks) < 200
    for window in range(30, 600):
        told.rising(window, limit=1)
    assert len(told._pasts) <= visitor_history.MAX_CACHED_WINDOWS


def test_other_days_change_what_is_expected():
    told, _ = fed([{"/": 100}] * 240 + [{"/": 160}] * 3)
    assert pages(told)["/"].judged.state == RISING
    begin = START // 300 * 300
    averages = {"/": [100.0] * 4 + [160.0] * 4}
    found = pages(told, other_days=SeasonalBaseline(begin, [6] * 8, averages))["/"]
    assert found.judged.state == STEADY
    assert found.judged.expected == pytest.approx(160, abs=4)


@pytest.mark.parametrize("days", [[6] * 2, [0] * 8, []])
def test_other_days_that_do_not_reach_so_far_say_nothing(days):
    told, _ = fed([{"/": 100}] * 240 + [{"/": 160}] * 3)
    begin = START // 300 * 300
    averages = {"/": [100.0] * len(days)}
    found = pages(told, other_days=SeasonalBaseline(begin, days, averages))["/"]
    assert found.judged.expected == pytest.approx(100)


@pytest.mark.parametrize("threshold", [3.0, 4.0, 6.0])
def test_no_page_that_is_surprising_is_overlooked_for_speed(threshold):
    past = {f"/{size}": size for size in (0, 1, 2, 3, 5, 9, 20, 60, 200, 900)}
    for gain in (-800, -150, -40, -9, 3, 5, 6, 7, 8, 9, 12, 15, 20, 30, 50, 90, 200):
        now = {path: max(0, size + gain) for path, size in past.items()}
        told, _ = fed([past] * 240 + [now])
        found = pages(told, threshold=threshold)
        quick = {path for path, page in found.items() if page.judged.state != STEADY}
        every = {
            path
            for path in past
            for judged in [
                told._judge(
                    told._index[path],
                    told._past(300),
                    visitor_history.NO_SEASONAL_BASELINE,
                    threshold,
                )
            ]
            if judged.state != STEADY
        }
        assert quick == every, gain


def test_a_line_has_a_value_for_each_minute_and_for_now():
    told, _ = fed([{"/": 10, "/a": 1}] * 60 + [{"/": 20}] * 60 + [{"/": 30}])
    assert told.series("/", 30) == [10.0] * 5 + [20.0] * 5 + [30]
    assert told.series("/a", 7) == [1.0] * 2 + [0.0] * 5 + [0]


def test_a_line_begins_soon():
    told, _ = fed([{"/": 10}, {"/": 14}, {"/": 9}])
    assert told.series("/", 30)[-4:] == [10, 14, 9, 9]


@given(
    st.lists(
        st.dictionaries(st.sampled_from("abcdef"), st.integers(0, 50)), min_size=1, max_size=60
    ),
    st.integers(1, 40),
)
def test_minutes_add_up_to_what_was_read(readings, step):
    told, closed = fed(readings, step=step)
    closed += [each for each in [told.finish()] if each is not None]
    assert sum(each.readings for each in closed) == len(readings)
    for path in "abcdef":
        read = sum(reading.get(path, 0) for reading in readings)
        assert sum(each.sums.get(path, 0) for each in closed) == read
