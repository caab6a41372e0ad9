"""What the score says of simulated pages, and what the difference of two readings does.

Draws `docs/rising.svg`. Steady pages of all sizes on the left: which share of their readings is
called rising. On the right pages of 200 visitors to which half as many more come from one moment
on: which share of them has been called rising by then.
"""

import argparse
import sys
from collections.abc import Sequence
from math import log10
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from bench.verdicts import Risen, Steady, risen, steady
from bench.visitors import STEP

DRAWING = Path(__file__).parent.parent / "docs" / "rising.svg"
SIZES = (2, 3, 5, 8, 13, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000)
SIZE = 200
ALLOWED = 0.001
FLOOR = 1e-5
Line = Sequence[tuple[float, float]]
# Room of a panel, and what stands around it.
WIDE, HIGH, LEFT, TOP, FOOT = 380, 240, 56, 44, 52
STYLE = """
text { font: 12px system-ui, sans-serif; fill: #1d1b19; } .soft { fill: #625c55; }
path { fill: none; stroke-width: 2; } .score { stroke: #b4410e; } .difference { stroke: #3a6ea5; }
.any { stroke: #3a6ea5; stroke-dasharray: 2 4; } .grid { stroke: #e0dbd1; stroke-width: 1; }
.allowed { stroke: #625c55; stroke-width: 1; stroke-dasharray: 6 4; }
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pages", type=int, default=100, help="of each size (%(default)s)")
    parser.add_argument("--readings", type=int, default=1_000, help="of each (%(default)s)")
    given = parser.parse_args()
    calm = steady(SIZES, given.pages, given.readings)
    (rose,) = risen((SIZE,), given.pages * 5)
    same = next(each for each in calm if each.size == SIZE)
    # The least difference that calls no more steady readings of such pages than are allowed.
    needed = sorted(same.differences)[-int(len(same.differences) * ALLOWED)]
    # And the one that finds as many of them in time as the score.
    found = by_score(rose)
    greatest = sorted((max(gains) for gains in rose.differences), reverse=True)
    equal = greatest[min(int(found[-1][1] * len(greatest)), len(greatest)) - 1]
    print("size  called rising: by the score   by a gain of", equal, "  by any gain")
    for each in calm:
        told = f"{share(each):28.6f}  {gaining(each, equal):15.6f}  {gaining(each, 1):10.3f}"
        print(f"{each.size:5g}  {told}")
    late = [first for first in rose.first if first is None or first > rose.reached + 3]
    in_time = 1 - len(late) / len(rose.first)
    print(f"{SIZE} visitors and half as many more: {in_time:.2%} called in time")
    DRAWING.write_text(drawing(calm, equal, found, by_gain(rose, needed), needed), "utf-8")
    print(f"drawn: {DRAWING.name}")
    kept = all(share(each) < ALLOWED for each in calm) and len(late) <= len(rose.first) / 20
    print("pass" if kept else "FAIL")
    return 0 if kept else 1


def share(each: Steady) -> float:
    """Which share of a steady page's readings the score calls rising."""
    return each.called / each.readings


def gaining(each: Steady, least: int) -> float:
    """In which share of them there are so many more than in the reading before."""
    return sum(gain >= least for gain in each.differences) / each.readings


def by_score(rose: Risen) -> Line:
    """(seconds, share called) by the score."""
    return [
        (
            (number + 1) * STEP,
            sum(first is not None and first <= number + 1 for first in rose.first)
            / len(rose.first),
        )
        for number in range(rose.reached + 3)
    ]


def by_gain(rose: Risen, least: int) -> Line:
    """The same by a difference of so many."""
    return [
        (
            (number + 1) * STEP,
            sum(max(gains[: number + 1]) >= least for gains in rose.differences)
            / len(rose.differences),
        )
        for number in range(rose.reached + 3)
    ]


def drawing(calm: Sequence[Steady], equal: int, score: Line, difference: Line, needed: int) -> str:
    """Both panels as SVG."""
    sizes = [(log10(each.size), each) for each in calm]
    first, last = sizes[0][0], sizes[-1][0]

    def across(size: float) -> float:
        return (size - first) / (last - first) * WIDE

    def up(value: float) -> float:
        return HIGH - (log10(max(value, FLOOR)) - log10(FLOOR)) / -log10(FLOOR) * HIGH

    left = [
        *(
            grid(up(10.0**power), f"{10.0**power:g}" if power > -5 else "none")
            for power in range(-5, 1)
        ),
        *(label(across(log10(size)), f"{size:,}") for size in (2, 20, 200, 2_000)),
        path("allowed", [(0, up(ALLOWED)), (WIDE, up(ALLOWED))]),
        path("any", [(across(x), up(gaining(each, 1))) for x, each in sizes]),
        path("difference", [(across(x), up(gaining(each, equal))) for x, each in sizes]),
        path("score", [(across(x), up(share(each))) for x, each in sizes]),
    ]
    until = score[-1][0]
    right = [
        *(grid(HIGH - part * HIGH, f"{part:.0%}") for part in (0, 0.25, 0.5, 0.75, 1)),
        *(label(second / until * WIDE, f"{second} s") for second in (0, 60, 120, 180, 240)),
        path("difference", [(x / until * WIDE, HIGH - y * HIGH) for x, y in difference]),
        path("score", [(x / until * WIDE, HIGH - y * HIGH) for x, y in score]),
    ]
    panels = [
        panel(
            0,
            "Steady pages: share of readings called rising, by size",
            left,
            [
                ("score", "by the score (threshold 4)"),
                ("difference", f"by {equal} more than 5 s ago, which finds as many risers"),
                ("any", "by any gain in 5 s"),
            ],
        ),
        panel(
            WIDE + LEFT + 20,
            f"Risers of {SIZE} visitors: share found so many seconds on",
            right,
            [
                ("score", "by the score (threshold 4)"),
                ("difference", f"by {needed} more than 5 s ago, wrong as often as allowed"),
            ],
        ),
    ]
    wide, high = 2 * (WIDE + LEFT + 20), TOP + HIGH + FOOT + 52
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {wide} {high}" '
        f'width="{wide}" height="{high}"><style>{STYLE}</style>'
        f'<rect width="{wide}" height="{high}" fill="#f6f4ef"/>{"".join(panels)}</svg>\n'
    )


def panel(x: float, title: str, parts: Sequence[str], legend: Sequence[tuple[str, str]]) -> str:
    keys = "".join(
        path(name, [(0, HIGH + 40 + 18 * row), (24, HIGH + 40 + 18 * row)])
        + f'<text x="32" y="{HIGH + 44 + 18 * row}">{words}</text>'
        for row, (name, words) in enumerate(legend)
    )
    return (
        f'<g transform="translate({x + LEFT} {TOP})">'
        f'<text y="-20">{title}</text>{"".join(parts)}{keys}</g>'
    )


def grid(y: float, words: str) -> str:
    return (
        f'<path class="grid" d="M0 {y:.1f}H{WIDE}"/>'
        f'<text class="soft" x="-8" y="{y + 4:.1f}" text-anchor="end">{words}</text>'
    )


def label(x: float, words: str) -> str:
    return f'<text class="soft" x="{x:.1f}" y="{HIGH + 18}" text-anchor="middle">{words}</text>'


def path(name: str, points: Line) -> str:
    steps = " ".join(f"{x:.1f} {y:.1f}" for x, y in points)
    return f'<path class="{name}" d="M{steps}"/>'


if __name__ == "__main__":
    sys.exit(main())
