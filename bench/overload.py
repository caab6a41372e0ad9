"""More than it can take, by an open loop: what is done, how soon, and what is refused.

Requests arrive at 0.5 to 5 times what few connections get when each waits for its answer; each
has its moment, whatever became of those before it (load.c), and is timed from that moment on.
One that finds no connection free within 50 ms goes away: a server that reads no more says so by
that, or by 503. Each rate has a server that has just begun, so that none bears what one before it
left behind. Draws `docs/overload.svg`.
"""

import argparse
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from contest import Running, files, folder, own
from rate import Paced, event_requests, paced, written
from report import Promise, options, report
from rivals.page import capture

DRAWING = Path(__file__).parent.parent / "docs" / "overload.svg"
FACTORS = (0.5, 0.8, 1.0, 1.5, 2.0, 3.0, 5.0)
CONNECTIONS, EVENTS, PAGE = 2_000, 50_000, "/campaigns/1/"
# Requests a second, of which many more go away than are sent: a closed loop.
ALL = 300_000
PATIENCE = 0.05  # seconds for which a request waits for a connection
ACCEPTED = 0.25  # seconds, p99 of what is accepted
HEAD = ("load", "arrive/s", "done/s", "of peak", "503/s", "unsent/s", "p50 ms", "p99 ms")


class Load(NamedTuple):
    """A kind of load: its name, events a request (0: pages), and what is to be kept of the peak
    up to how many times capacity."""

    name: str
    size: int
    few: int  # connections by which it is most
    factor: float
    least: float


class Point(NamedTuple):
    """What came of a rate."""

    factor: float
    offered: float
    found: Paced


LOADS = (
    Load("events one by one", 1, 256, 2, 0.75),
    Load("events in lines of 100", 100, 64, 5, 0.9),
    Load("banner pages", 0, 256, 2, 0.75),
)


def main() -> int:
    parser = options(__doc__ or "", data=False, rounds=0)
    parser.add_argument("--factors", type=float, nargs="*", default=FACTORS)
    parser.add_argument(
        "--only",
        nargs="*",
        default=[],
        choices=[each.name for each in LOADS],
        help="names of loads",
    )
    parser.add_argument("--depth", type=int, default=1, help="requests at once on a connection")
    parser.set_defaults(connections=CONNECTIONS)
    given = parser.parse_args()
    files()
    chosen = [load for load in LOADS if not given.only or load.name in given.only]
    rows, promises, drawn = [], [], []
    for load in chosen:
        capacity = point(load, 0, ALL, given, load.few).found.rate
        points = [point(load, factor, factor * capacity, given) for factor in given.factors]
        peak = max(each.found.rate for each in points)
        drawn.append((load, peak, points))
        for each in points:
            rows.append(line(load, peak, each, given.seconds))
            print(rows[-1], file=sys.stderr)
        promises += judged(load, peak, points)
    if chosen == list(LOADS):
        DRAWING.write_text(drawing(drawn), "utf-8")
    name = f"an open loop over {given.connections:,} connections"
    return report(given, {name: (HEAD, rows)}, promises)


def judged(load: Load, peak: float, points: Sequence[Point]) -> Iterator[Promise]:
    """What is promised of a load."""
    for each in points:
        if 1 <= each.factor <= load.factor:
            words = f"{load.name} at {each.factor:g} times: done, of the peak"
            yield Promise(words, each.found.rate / peak, load.least)
    worst = min(each.found.rate / peak for each in points if each.factor >= 1)
    yield Promise(f"{load.name}: the least beyond capacity", worst, 0.75)
    slowest = max(each.found.p99 for each in points)
    words = f"{load.name}: p99 of what is accepted, s"
    yield Promise(words, slowest, ACCEPTED, least=False)
    wrong = sum(
        each.found.other + each.found.broken + each.found.without_retry_after for each in points
    )
    words = f"{load.name}: answers that are neither right nor 503 with Retry-After"
    yield Promise(words, wrong, 0, least=False)


@contextmanager
def started(load: Load) -> Iterator[tuple[Running, Path]]:
    """Our server on a new folder, and a file of requests for it."""
    with tempfile.TemporaryDirectory(prefix="marquee-bench-") as where:
        place = Path(where, "requests")
        if not load.size:
            with folder(None, None) as marquee, marquee.running() as running:
                page = capture(running.get, PAGE)
                head = f"GET {PAGE} HTTP/1.1\r\nHost: 127.0.0.1\r\nCookie: {page.cookie}="
                requests = [f"{head}{value}\r\n\r\n".encode() for value in page.values]
                yield running, written(place, requests)
            return
        marquee, token = own(Path(where, "data"))
        with marquee.running() as running:
            requests = event_requests(token, load.size, EVENTS // load.size)
            yield running, written(place, requests)


def point(
    load: Load, factor: float, offered: float, given: argparse.Namespace, connections: int = 0
) -> Point:
    """What came of a rate, on a server that has just begun."""
    more = {"connections": connections or given.connections, "depth": given.depth}
    with started(load) as (running, requests):
        paced(running, requests, offered / 2, 0.5, patience=PATIENCE, **more)  # warm
        found = paced(running, requests, offered, given.seconds, patience=PATIENCE, **more)
        return Point(factor, offered, found)


def line(load: Load, peak: float, point: Point, seconds: float) -> tuple[object, ...]:
    """A line of the table."""
    found = point.found
    return (
        f"{load.name}, {point.factor:g} times",
        f"{point.offered:,.0f}",
        f"{found.rate:,.0f}",
        f"{found.rate / peak:.2f}",
        f"{found.refused / seconds:,.0f}",
        f"{found.unsent / seconds:,.0f}",
        f"{found.p50 * 1000:.1f}",
        f"{found.p99 * 1000:.1f}",
    )


WIDE, HIGH, LEFT, TOP = 300, 200, 44, 44
# For paper, and for the dark.
COLOURS = (("#b4410e", "#ff9a5c"), ("#1c6b3a", "#6fd394"), ("#5a4fcf", "#aaa2ff"))
STYLE = """
rect { fill: #f6f4ef; } text { font: 13px system-ui, sans-serif; fill: #1d1b19; }
.soft { fill: #625c55; font-size: 12px; } path { fill: none; stroke-width: 2; }
.grid { stroke: #e0dbd1; stroke-width: 1; }
"""
DARK = """
rect { fill: #1b1917; } text { fill: #efeae2; } .soft { fill: #aaa297; } .grid { stroke: #3a3631; }
"""


def drawing(drawn: Sequence[tuple[Load, float, Sequence[Point]]]) -> str:
    """What is done, and how soon, by what arrives, as SVG."""
    last = max(point.factor for _, _, points in drawn for point in points)
    left, right, keys = [], [], []
    left += [grid(HIGH - each * HIGH / 1.1, f"{each:.0%}") for each in (0, 0.25, 0.5, 0.75, 1)]
    right += [grid(HIGH - each / 275 * HIGH, f"{each}") for each in range(0, 251, 50)]
    style, dark = STYLE, DARK
    for number, (load, peak, points) in enumerate(drawn):
        style += f".l{number} {{ stroke: {COLOURS[number][0]}; }} "
        dark += f".l{number} {{ stroke: {COLOURS[number][1]}; }} "
        at = [point.factor / last * WIDE for point in points]
        done = [HIGH - min(point.found.rate / peak, 1.1) / 1.1 * HIGH for point in points]
        soon = [HIGH - min(point.found.p99 * 1000, 275) / 275 * HIGH for point in points]
        left.append(curve_of(at, done, number))
        right.append(curve_of(at, soon, number))
        row = HIGH + 46 + 18 * len(keys)
        keys.append(
            f'<path class="l{number}" d="M0 {row}h24"/>'
            f'<text x="32" y="{row + 4}">{load.name}</text>'
        )
    ticks = "".join(
        f'<text class="soft" x="{each / last * WIDE:.0f}" y="{HIGH + 18}" '
        f'text-anchor="middle">{each}x</text>'
        for each in range(int(last) + 1)
    )
    panels = [
        f'<g transform="translate({LEFT + number * (WIDE + LEFT + 30)} {TOP})">'
        f'<text y="-20">{title}</text>{"".join(parts)}{ticks}{"" if number else "".join(keys)}</g>'
        for number, (title, parts) in enumerate(
            (
                ("Done, of the peak, by what arrives", left),
                ("p99 of what is accepted, ms", right),
            )
        )
    ]
    wide, high = 2 * (WIDE + LEFT + 30), TOP + HIGH + 46 + 18 * len(drawn)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {wide} {high}" '
        f'width="{wide}" height="{high}"><style>{style}'
        f"@media (prefers-color-scheme: dark) {{{dark}}}</style>"
        f'<rect width="{wide}" height="{high}"/>{"".join(panels)}</svg>\n'
    )


def grid(y: float, words: str) -> str:
    return (
        f'<path class="grid" d="M0 {y:.1f}H{WIDE}"/>'
        f'<text class="soft" x="-8" y="{y + 4:.1f}" text-anchor="end">{words}</text>'
    )


def curve_of(across: Sequence[float], up: Sequence[float], number: int) -> str:
    steps = " ".join(f"{x:.1f} {y:.1f}" for x, y in zip(across, up, strict=True))
    return f'<path class="l{number}" d="M{steps}"/>'


if __name__ == "__main__":
    sys.exit(main())
