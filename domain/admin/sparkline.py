"""A line of a few numbers, small enough to stand in a row of a table."""

from collections.abc import Sequence


def sparkline_points(values: Sequence[float], wide: float, high: float) -> str:
    """The points of an SVG polyline within so much room; nothing for fewer than two values.

    The foot of the room is zero, its top the largest value.
    """
    if len(values) < 2:
        return ""
    top = max(*values, 1.0)
    step = wide / (len(values) - 1)
    return " ".join(
        f"{number * step:.1f},{high - value / top * high:.1f}"
        for number, value in enumerate(values)
    )
