"""Visitors of a page as an M/M/∞ queue: Poisson arrivals, exponential stays; read every 5 s.

Between two readings each visitor leaves with the same chance, and those who came meanwhile and
are still there are a Poisson number: so a step is exact, whatever its length.
"""

from bisect import bisect_left
from itertools import accumulate
from math import exp, lgamma, log
from random import Random

STAY, STEP = 60.0, 5.0


def poisson_table(mean: float) -> list[float]:
    """The cumulative chances of 0, 1, 2…"""
    last = int(mean + 12 * mean**0.5 + 20)
    return list(
        accumulate(exp(k * log(mean) - mean - lgamma(k + 1)) if mean else 0.0 for k in range(last))
    )


def binomial(count: int, share: float, chance: Random) -> int:
    """How many of `count` it hits, each with chance `share`; searched outwards from the mode."""
    if count < 30:
        return sum(chance.random() < share for _ in range(count))
    mode = int((count + 1) * share)
    odds = share / (1 - share)
    at_mode = exp(
        lgamma(count + 1)
        - lgamma(mode + 1)
        - lgamma(count - mode + 1)
        + mode * log(share)
        + (count - mode) * log(1 - share)
    )
    left = chance.random() - at_mode
    up = down = mode
    p_up = p_down = at_mode
    while left > 0:
        if up < count:
            p_up *= (count - up) / (up + 1) * odds
            up += 1
            left -= p_up
            if left <= 0:
                return up
        if down > 0:
            p_down *= down / (count - down + 1) / odds
            down -= 1
            left -= p_down
            if left <= 0:
                return down
        if p_up < 1e-18 and p_down < 1e-18:
            break
    return mode


class Page:
    """A page to which visitors come so that `mean` of them are expected there at a time."""

    def __init__(self, mean: float, chance: Random) -> None:
        self._chance = chance
        self._leaving = 1 - exp(-STEP / STAY)
        self._came: list[float] = []
        self.bring(mean)
        self.visitors = bisect_left(poisson_table(mean), chance.random())

    def bring(self, mean: float) -> None:
        """From now on, as many come as keep `mean` there."""
        self._came = poisson_table(mean * self._leaving)

    def step(self) -> int:
        """How many are there at the next reading."""
        came = bisect_left(self._came, self._chance.random())
        self.visitors += came - binomial(self.visitors, self._leaving, self._chance)
        return self.visitors
