"""What the score, and the difference of two readings, say about simulated pages.

Steady pages of all sizes, and pages to which more visitors come from some moment on, so that half
as many again are expected. Each is read every five seconds and judged at the default window.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, log
from random import Random

from bench.visitors import STAY, STEP, Page
from domain.audience.trend_score import NEW, RISING
from domain.audience.visitor_history import VisitorHistory

# Readings before anything is counted: twenty minutes.
BEFORE = 240
# With half as many more arrivals from one moment on, this much of the rise counts as all of it.
ALL_BUT = 0.02
SLOW = int(-STAY * log(ALL_BUT) / STEP) + 1
WITHIN = 3


@dataclass(frozen=True)
class Steady:
    """Readings of steady pages of one size."""

    size: float
    readings: int
    called: int  # of them, rising or new
    differences: list[int]  # to the reading before


@dataclass(frozen=True)
class Risen:
    """Pages of one size that rose."""

    size: float
    first: list[int | None]  # readings from the rise's beginning to the first call
    differences: list[list[int]]  # of each page, since the rise began
    reached: int  # readings until the expectation is reached


def steady(sizes: Sequence[float], pages: int, readings: int, seed: int = 1) -> list[Steady]:
    """So many steady pages of each size over so many readings each."""
    chance = Random(seed)
    crowd = {f"/{size:g}/{number}": Page(size, chance) for size in sizes for number in range(pages)}
    history, before = VisitorHistory(), {path: page.visitors for path, page in crowd.items()}
    called = dict.fromkeys(sizes, 0)
    differences: dict[float, list[int]] = {size: [] for size in sizes}
    for number in range(BEFORE + readings):
        now = {path: page.step() for path, page in crowd.items()}
        history.add(now, number * STEP)
        if number >= BEFORE:
            for path in _called(history):
                called[float(path.split("/")[1])] += 1
            for path, visitors in now.items():
                size = float(path.split("/")[1])
                differences[size].append(visitors - before[path])
        before = now
    return [Steady(size, pages * readings, called[size], differences[size]) for size in sizes]


def risen(
    sizes: Sequence[float], pages: int, reached: int | None = None, seed: int = 2
) -> list[Risen]:
    """So many pages of each size; half as many again are expected after `reached` readings.

    None: arrivals are half as many again from one moment on, and the rest follows from it. Else
    so many more come at first that it is reached by then, and stays so.
    """
    chance = Random(seed)
    crowd = {f"/{size:g}/{number}": Page(size, chance) for size in sizes for number in range(pages)}
    history, before = VisitorHistory(), {path: page.visitors for path, page in crowd.items()}
    first: dict[str, int] = {}
    differences: dict[str, list[int]] = {path: [] for path in crowd}
    until = SLOW if reached is None else reached
    for number in range(BEFORE + until + WITHIN + 1):
        since = number - BEFORE
        for path, page in crowd.items():
            size = float(path.split("/")[1])
            if since == 0:
                quick = 1 if reached is None else 1 - exp(-reached * STEP / STAY)
                page.bring(size * (1 + 0.5 / quick))
            elif since == reached:
                page.bring(size * 1.5)
        now = {path: page.step() for path, page in crowd.items()}
        history.add(now, number * STEP)
        if since >= 0:
            for path in _called(history):
                first.setdefault(path, since + 1)
            for path, visitors in now.items():
                differences[path].append(visitors - before[path])
        before = now
    return [
        Risen(
            size,
            [first.get(f"/{size:g}/{number}") for number in range(pages)],
            [differences[f"/{size:g}/{number}"] for number in range(pages)],
            until,
        )
        for size in sizes
    ]


def _called(history: VisitorHistory) -> list[str]:
    listed = history.rising(limit=100_000)
    return [page.path for page in listed if page.judged.state in (RISING, NEW)]
