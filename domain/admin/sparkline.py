"""Sparkline: a small line chart for a table row."""

from collections.abc import Sequence


def sparkline_points(values: Sequence[float], width: float, height: float) -> str:
    """Return the points of an SVG polyline; an empty string for fewer than two values.

    The bottom is zero, the top the largest value (at least 1).
    """
    if len(values) < 2:
        return ""
    top = max(*values, 1.0)
    step = width / (len(values) - 1)
    return " ".join(
        f"{index * step:.1f},{height - value / top * height:.1f}"
        for index, value in enumerate(values)
    )
