"""More than it can take, by an open loop: what is done, how soon, and what is refused.

Capacity is what wrk gets, which waits for answers. Then requests arrive at 0.5 to 5 times that
rate over 2,000 connections, each at its moment, whatever became of those before (`go/open`); as
many as the generator can send. The peak is the most that got done so. Each rate has a server that
has just begun, so that none bears what one before it left behind. Draws `docs/overload.svg`.
"""

import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from contest import BENCH, BUILD, LOAD, Running, files, folder, own, wrk
from rate import events
from report import Promise, options, report

DRAWING = Path(__file__).parent.parent / "docs" / "overload.svg"
FACTORS = (0.5, 0.8, 1.0, 1.5, 2.0, 3.0, 5.0)
CONNECTIONS, BODIES, PAGE = 2_000, 2_000, "/campaigns/1/"
ACCEPTED = 0.25  # seconds, p99 of what is accepted
HEAD = ("load", "offered/s", "done/s", "of peak", "503/s", "no connection/s", "p50 ms", "p99 ms")


class Load(NamedTuple):
    """A kind of load: its name, events a request (0: pages), and what is to be kept of the peak."""

    name: str
    size: int
    factor: float
    least: float


class Point(NamedTuple):
    """What came of a rate."""

    factor: float
    offered: float
    done: float
    found: dict[str, float]


LOADS = (
    Load("events one by one", 1, 2, 0.75),
    Load("events in lines of 100", 100, 5, 0.9),
    Load("banner pages", 0, 2, 0.75),
)


def main() -> int:
    parser = options(__doc__ or "", data=False, rounds=0)
    parser.add_argument("--factors", type=float, nargs="*", default=FACTORS)
    given = parser.parse_args()
    files()
    program = built()
    rows, promises, drawn = [], [], []
    for load in LOADS:
        least = capacity(load, given.seconds)
        points = [
            point(load, program, least * factor, factor, given.seconds) for factor in given.factors
        ]
        # With so many connections each request costs more, whatever the rate: what this loop got.
        peak = max(each.done for each in points)
        drawn.append((load, peak, points))
        for each in points:
            rows.append(line(load, peak, each))
            print(rows[-1], file=sys.stderr)
        kept = [each.done / peak for each in points if each.factor == load.factor]
        if kept:
            words = f"{load.name} at {load.factor:g} times: done, of the peak"
            promises.append(Promise(words, kept[0], load.least))
        worst = min(each.done / peak for each in points if each.factor >= 1)
        promises.append(Promise(f"{load.name}: the least beyond capacity", worst, load.least))
        slowest = max(each.found["p99"] for each in points)
        words = f"{load.name}: p99 of what is accepted, s"
        promises.append(Promise(words, slowest, ACCEPTED, least=False))
        other = sum(each.found["other"] for each in points)
        words = f"{load.name}: answers that are neither right nor 503"
        promises.append(Promise(words, other, 0, least=False))
    DRAWING.write_text(drawing(drawn))
    return report(given, {"an open loop": (HEAD, rows)}, promises)


def built() -> Path:
    """The generator, compiled."""
    go = shutil.which("go")
    if go is None:
        sys.exit("this needs go")
    program = BUILD / "go-open"
    source = str(BENCH / "go" / "open" / "main.go")
    command = [go, "build", "-o", str(program), source]
    subprocess.run(command, env={**os.environ, "GO111MODULE": "off"}, check=True)
    return program


@contextmanager
def started(load: Load) -> Iterator[tuple[Running, list[bytes], list[str]]]:
    """Our server on a new folder, requests for it, and wrk's script for the same, if any."""
    if not load.size:
        with folder(None, None) as marquee, marquee.running() as running:
            yield running, [b"GET /campaigns/1/ HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"], []
        return
    with tempfile.TemporaryDirectory(prefix="marquee-bench-") as where:
        marquee, token = own(Path(where, "data"))
        with marquee.running() as running:
            script = [str(BENCH / "events.lua"), "none", str(load.size), token]
            yield running, bodies(load.size, token), script


def capacity(load: Load, seconds: float) -> float:
    """Requests a second that a closed loop gets."""
    with started(load) as (running, _, script):
        path, many = ("/events", 256 if load.size == 1 else 32) if load.size else (PAGE, 256)
        wrk(running, path, (), 1, many, script=script, calm=False)
        return wrk(running, path, (), seconds, many, script=script, calm=False).rate


def point(load: Load, program: Path, offered: float, factor: float, seconds: float) -> Point:
    """What came of a rate, on a server that has just begun."""
    with (
        started(load) as (running, some, _),
        tempfile.NamedTemporaryFile(prefix="marquee-bench-") as file,
    ):
        file.write(b"".join(b"%d\n%b" % (len(each), each) for each in some))
        file.flush()
        words = [f"127.0.0.1:{running.port}", offered, seconds, CONNECTIONS, file.name]
        command = ["taskset", "-c", LOAD, program, *map(str, words)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
    found = json.loads(done.stdout)
    return Point(factor, offered, found["right"] / found["seconds"], found)


def bodies(size: int, token: str) -> list[bytes]:
    """Requests with events that differ."""
    made, source, chance = [], events("none"), random.Random(1)
    kind = "application/x-ndjson" if size > 1 else "application/json"
    for _ in range(BODIES if size == 1 else BODIES // 10):
        body = "\n".join([next(source) for _ in range(size)])
        made.append(
            f"POST /events HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {token}\r\n"
            f"Content-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()
        )
    chance.shuffle(made)
    return made


def line(load: Load, peak: float, point: Point) -> tuple[object, ...]:
    """A line of the table."""
    found = point.found
    return (
        f"{load.name}, {point.factor:g} times",
        f"{point.offered:,.0f}",
        f"{point.done:,.0f}",
        f"{point.done / peak:.2f}",
        f"{found['refused'] / found['seconds']:,.0f}",
        f"{found['lost'] / found['seconds']:,.0f}",
        f"{found['p50'] * 1000:.1f}",
        f"{found['p99'] * 1000:.1f}",
    )


WIDE, HIGH, LEFT, TOP = 300, 200, 44, 44
COLOURS = ("#b4410e", "#1c6b3a", "#5a4fcf")
STYLE = (
    "text{font:13px system-ui,sans-serif;fill:#1d1b19}.soft{fill:#625c55;font-size:12px}"
    "path{fill:none;stroke-width:2}.grid{stroke:#e0dbd1;stroke-width:1}"
)


def drawing(drawn: Sequence[tuple[Load, float, Sequence[Point]]]) -> str:
    """What is done, and how soon, by what arrives, as SVG."""
    last = max(point.factor for _, _, points in drawn for point in points)
    left, right, keys = [], [], []
    left += [grid(HIGH - each * HIGH / 1.1, f"{each:.0%}") for each in (0, 0.25, 0.5, 0.75, 1)]
    right += [grid(HIGH - each / 275 * HIGH, f"{each}") for each in range(0, 251, 50)]
    for (load, peak, points), colour in zip(drawn, COLOURS, strict=True):
        at = [point.factor / last * WIDE for point in points]
        done = [HIGH - min(point.done / peak, 1.1) / 1.1 * HIGH for point in points]
        soon = [HIGH - min(point.found["p99"] * 1000, 275) / 275 * HIGH for point in points]
        left.append(curve_of(at, done, colour))
        right.append(curve_of(at, soon, colour))
        row = HIGH + 46 + 18 * len(keys)
        keys.append(
            f'<path stroke="{colour}" d="M0 {row}h24"/>'
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
        f'width="{wide}" height="{high}"><style>{STYLE}</style>'
        f'<rect width="{wide}" height="{high}" fill="#f6f4ef"/>{"".join(panels)}</svg>\n'
    )


def grid(y: float, words: str) -> str:
    return (
        f'<path class="grid" d="M0 {y:.1f}H{WIDE}"/>'
        f'<text class="soft" x="-8" y="{y + 4:.1f}" text-anchor="end">{words}</text>'
    )


def curve_of(across: Sequence[float], up: Sequence[float], colour: str) -> str:
    steps = " ".join(f"{x:.1f} {y:.1f}" for x, y in zip(across, up, strict=True))
    return f'<path stroke="{colour}" d="M{steps}"/>'


if __name__ == "__main__":
    sys.exit(main())
