"""Which pages gain visitors: by how much, and how surprising that is for a page of its size.

Visitors of a page come and go independently, so their number at a moment is a Poisson one. What a
page may be expected to have is estimated from its past, which is only so long: readings of the
same visitors tell nothing new, so a past counts as a number of independent `looks` (the variance
of a time average over an M/M/∞ queue's occupancy). The score is that of Li and Ma (Astrophysical
Journal 272, 1983, formula 17) for a count against a background that was itself counted, with a
correction for continuity of both; its tail is right for two visitors as for thousands.
"""

from collections.abc import Mapping
from math import exp, log, sqrt
from operator import itemgetter
from typing import NamedTuple

NEW, RISING, STEADY, FALLING, GONE = "new", "rising", "steady", "falling", "gone"

# Seconds that a visitor stays, about: how soon a later reading tells something new.
MEAN_STAY_SECONDS = 60.0
# So surprising is what is called rising, in standard deviations.
RISING_THRESHOLD = 4.0
# A page with fewer visitors, now and expected, says nothing.
MIN_SCORED_VISITORS = 5
# Other days count as if so many more visitors had been seen, who did as on no day in particular.
BASELINE_PRIOR_VISITORS = 10.0


class BaselineFactor(NamedTuple):
    """What other days say: the factor by which a page grows in these minutes, and its variance.

    The variance is that of the factor's logarithm.
    """

    factor: float = 1.0
    variance: float = 0.0


NEUTRAL_BASELINE = BaselineFactor()


class TrendAssessment(NamedTuple):
    """What is thought of a page: the visitors expected, how surprising those there are, a state."""

    expected: float | None
    score: float
    state: str


def visitor_gains(before: Mapping[str, int], now: Mapping[str, int]) -> list[tuple[int, str]]:
    """(gain, path) of the pages in both readings that gained, most first, then as they came."""
    known = before.get
    gains = [
        (visitors - was, path)
        for path, visitors in now.items()
        if (was := known(path, visitors)) < visitors
    ]
    gains.sort(key=itemgetter(0), reverse=True)
    return gains


def independent_readings(seconds: float, stay: float = MEAN_STAY_SECONDS) -> float:
    """Of how many independent readings the average over so many seconds is worth; 1 at least."""
    stays = seconds / stay
    if stays < 1e-3:
        return 1.0
    return stays * stays / (2 * (stays - 1 + exp(-stays)))


def baseline_factor(before: float, after: float, days: int) -> BaselineFactor:
    """What `days` other days say, on which a page had on average these visitors.

    `before` is at the time of day from which the past is taken, `after` at that of now.
    """
    seen_before, seen_after = (
        days * before + BASELINE_PRIOR_VISITORS,
        days * after + BASELINE_PRIOR_VISITORS,
    )
    return BaselineFactor(seen_after / seen_before, 1 / seen_before + 1 / seen_after)


def trend_score(visitors: int, expected: float, independent: float) -> float:
    """How surprising so many visitors are, as a standard normal deviate; negative for too few.

    `expected` is an average worth so many `independent` readings.
    """
    more = visitors > expected
    step = 0.5 if more else -0.5
    seen, past = visitors - step, max(0.0, independent * expected + step)
    if (seen * independent > past) != more:
        return 0.0
    both = seen + past
    likelihood = seen * log((1 + independent) * seen / both)
    if past:
        likelihood += past * log((1 + independent) / independent * past / both)
    deviate = sqrt(2 * max(0.0, likelihood))
    return deviate if more else -deviate


def assess_trend(
    visitors: int,
    average: float | None,
    independent: float,
    other_days: BaselineFactor = NEUTRAL_BASELINE,
    threshold: float = RISING_THRESHOLD,
) -> TrendAssessment:
    """What is thought of a page with so many visitors.

    `average` is that of its past, worth so many `independent` readings; None if there is no past
    to go by.
    """
    if average is None:
        return TrendAssessment(None, 0.0, STEADY)
    expected = average * other_days.factor
    if max(visitors, expected) < MIN_SCORED_VISITORS:
        return TrendAssessment(expected, 0.0, STEADY)
    # What other days say is not certain either.
    independent = 1 / (1 / independent + expected * other_days.variance)
    found = trend_score(visitors, expected, independent)
    if found >= threshold:
        return TrendAssessment(expected, found, RISING if average else NEW)
    if found <= -threshold:
        return TrendAssessment(expected, found, FALLING if visitors else GONE)
    return TrendAssessment(expected, found, STEADY)
