"""Charts as SVG: drawn in classes, so that a page's stylesheet gives them colours for its light."""

from collections.abc import Iterator, Sequence
from html import escape

WIDE, HIGH, ROOM = 300, 80, 4
Values = Sequence[float | None]


def ceiling(values: Values) -> float:
    """Where a chart of these ends: the next 1, 2 or 5 times a power of ten, or 1."""
    most = max((value for value in values if value is not None), default=0.0)
    if most <= 0:
        return 1.0
    step = 10.0 ** len(str(int(most))) / 10 if most >= 1 else 10.0 ** -_zeros(most)
    return next(step * times for times in (1, 2, 5, 10) if step * times >= most)


def line(values: Values, label: str) -> str:
    """A line over time, oldest first, from 0 up; None leaves a gap. `label` is what is read out."""
    top = ceiling(values)
    shapes = []
    for points in _runs(values, top):
        path = " ".join(f"{x:g} {y:g}" for x, y in points)
        first, last = points[0][0], points[-1][0]
        shapes.append(f'<path class="area" d="M{first:g} {HIGH}L{path}L{last:g} {HIGH}z"/>')
        # One point alone is a dot: a line of no length, with round ends.
        shapes.append(f'<path class="line" d="M{path}{"h.01" if len(points) == 1 else ""}"/>')
    return (
        f'<svg class="chart" viewBox="0 0 {WIDE} {HIGH}" preserveAspectRatio="none" role="img" '
        f'aria-label="{escape(label)}"><path class="base" d="M0 {HIGH}H{WIDE}"/>'
        f"{''.join(shapes)}</svg>"
    )


def _runs(values: Values, top: float) -> Iterator[list[tuple[float, float]]]:
    """The points of each stretch without a gap."""
    step = WIDE / max(1, len(values) - 1)
    run: list[tuple[float, float]] = []
    for place, value in enumerate(values):
        if value is not None:
            y = HIGH - max(0.0, value) / top * (HIGH - ROOM)
            run.append((round(place * step, 1), round(y, 1)))
        elif run:
            yield run
            run = []
    if run:
        yield run


def _zeros(value: float) -> int:
    """How many places behind the point the first digit of a value below 1 is."""
    places = 1
    while value * 10.0**places < 1 and places < 12:
        places += 1
    return places
