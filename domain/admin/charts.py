"""SVG charts; CSS classes, so that stylesheets set the colours of light and dark mode."""

from collections.abc import Iterator, Sequence
from html import escape

CHART_WIDTH, CHART_HEIGHT, CHART_TOP_MARGIN = 300, 80, 4
ChartValues = Sequence[float | None]


def axis_maximum(values: ChartValues) -> float:
    """Return the top of the value axis: the next 1, 2 or 5 times a power of ten, or 1."""
    top = max((value for value in values if value is not None), default=0.0)
    if top <= 0:
        return 1.0
    step = 10.0 ** len(str(int(top))) / 10 if top >= 1 else 10.0 ** -_first_decimal_place(top)
    return next(step * times for times in (1, 2, 5, 10) if step * times >= top)


def line_chart_svg(values: ChartValues, label: str) -> str:
    """Draw values, oldest first, as a line; None leaves a gap. Screen readers read out `label`."""
    top = axis_maximum(values)
    shapes = []
    for points in _unbroken_segments(values, top):
        path = " ".join(f"{x:g} {y:g}" for x, y in points)
        first, last = points[0][0], points[-1][0]
        shapes.append(
            f'<path class="area" d="M{first:g} {CHART_HEIGHT}L{path}L{last:g} {CHART_HEIGHT}z"/>'
        )
        # A single point is a dot: a line of almost no length, with round caps.
        shapes.append(f'<path class="line" d="M{path}{"h.01" if len(points) == 1 else ""}"/>')
    return (
        f'<svg class="chart" viewBox="0 0 {CHART_WIDTH} {CHART_HEIGHT}" '
        'preserveAspectRatio="none" role="img" '
        f'aria-label="{escape(label)}"><path class="base" d="M0 {CHART_HEIGHT}H{CHART_WIDTH}"/>'
        f"{''.join(shapes)}</svg>"
    )


def _unbroken_segments(values: ChartValues, top: float) -> Iterator[list[tuple[float, float]]]:
    """Yield the points (x, y) of each run of values without a gap."""
    step = CHART_WIDTH / max(1, len(values) - 1)
    run: list[tuple[float, float]] = []
    for index, value in enumerate(values):
        if value is not None:
            y = CHART_HEIGHT - max(0.0, value) / top * (CHART_HEIGHT - CHART_TOP_MARGIN)
            run.append((round(index * step, 1), round(y, 1)))
        elif run:
            yield run
            run = []
    if run:
        yield run


def _first_decimal_place(value: float) -> int:
    """Return the decimal place of the first nonzero digit of a value below 1."""
    places = 1
    while value * 10.0**places < 1 and places < 12:
        places += 1
    return places
