"""Charts as SVG."""

import re
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.admin.charts import CHART_HEIGHT, CHART_WIDTH, axis_maximum, line_chart_svg

VALUES = st.lists(st.none() | st.floats(0, 1e12), max_size=40)


@given(VALUES)
def test_any_values_make_a_picture_within_its_frame_and_without_styles(values) -> None:
    drawn = line_chart_svg(values, 'a <label> & "quotes"')
    root = ElementTree.fromstring(drawn)
    assert root.get("aria-label") == 'a <label> & "quotes"'
    assert "style" not in drawn and "script" not in drawn
    for path in re.findall(r'class="line" d="M([^"h]*)', drawn):
        numbers = [float(each) for each in path.split()]
        assert all(0 <= x <= CHART_WIDTH for x in numbers[::2])
        assert all(0 <= y <= CHART_HEIGHT for y in numbers[1::2])


@given(st.lists(st.floats(0, 1e12), min_size=1, max_size=20))
def test_the_top_is_above_all_and_not_far(values) -> None:
    top, most = axis_maximum(values), max(values)
    assert top >= most * (1 - 1e-9)
    assert most < 1e-9 or top <= most * 10.1


@pytest.mark.parametrize(("most", "top"), [(0, 1), (1, 1), (3, 5), (7, 10), (12, 20), (0.03, 0.05)])
def test_the_top_is_a_round_number(most: float, top: float) -> None:
    assert axis_maximum([most]) == pytest.approx(top)


def test_a_gap_divides_the_line() -> None:
    assert line_chart_svg([1, 2, None, 3, 4], "x").count('class="line"') == 2
    assert line_chart_svg([None, None], "x").count('class="line"') == 0
