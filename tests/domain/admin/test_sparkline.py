from hypothesis import given
from hypothesis import strategies as st

from domain.admin.sparkline import sparkline_points


def test_its_foot_is_zero_and_its_top_the_most() -> None:
    assert sparkline_points([0, 5, 10], 100, 20) == "0.0,20.0 50.0,10.0 100.0,0.0"
    assert sparkline_points([0, 0], 10, 10) == "0.0,10.0 10.0,10.0"
    assert sparkline_points([3], 10, 10) == sparkline_points([], 10, 10) == ""


@given(st.lists(st.floats(0, 1e6), min_size=2, max_size=60))
def test_it_stays_within_its_room(values: list[float]) -> None:
    for pair in sparkline_points(values, 120, 28).split():
        x, y = map(float, pair.split(","))
        assert 0 <= x <= 120
        assert 0 <= y <= 28
