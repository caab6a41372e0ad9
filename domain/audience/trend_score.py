"""Trend score: how unusual a page's number of visitors is, given its past.

Visitors come and go independently, so their number at a moment has a Poisson distribution. Its
expected value is estimated from a limited past. Readings of the same visitors add no information,
so the past is worth a number of independent readings (from the variance of a time average of an
M/M/∞ queue's occupancy). The score is that of Li and Ma (Astrophysical Journal 272, 1983,
formula 17) for a count against a counted background, with a continuity correction of both; its
tail is accurate for two visitors as for thousands.
"""

from collections.abc import Mapping
from math import exp, log, sqrt
from operator import itemgetter
from typing import NamedTuple

NEW, RISING, STEADY, FALLING, GONE = "new", "rising", "steady", "falling", "gone"

# Approximate stay of a visitor: readings further apart than this are independent.
MEAN_STAY_SECONDS = 60.0
# Minimum score of a rising page, in standard deviations.
RISING_THRESHOLD = 4.0
# Pages with fewer visitors, both current and expected, are not scored.
MIN_SCORED_VISITORS = 5
# Weight of the prior "no seasonal change", in visitors added to the counts of other days.
BASELINE_PRIOR_VISITORS = 10.0


class BaselineFactor(NamedTuple):
    """Growth factor of a page at this time on other days, and the variance of its logarithm."""

    factor: float = 1.0
    variance: float = 0.0


NEUTRAL_BASELINE = BaselineFactor()


class TrendAssessment(NamedTuple):
    """Assessment of a page: expected visitors, trend score and state."""

    expected: float | None
    score: float
    state: str


def visitor_gains(before: Mapping[str, int], now: Mapping[str, int]) -> list[tuple[int, str]]:
    """Return (gain, path) of the pages in both readings that gained, largest first; stable."""
    get_previous = before.get
    gains = [
        (visitors - previous, path)
        for path, visitors in now.items()
        if (previous := get_previous(path, visitors)) < visitors
    ]
    gains.sort(key=itemgetter(0), reverse=True)
    return gains


def independent_readings(seconds: float, stay: float = MEAN_STAY_SECONDS) -> float:
    """Return the number of independent readings that a time average is worth; at least 1."""
    stays = seconds / stay
    if stays < 1e-3:
        return 1.0
    return stays * stays / (2 * (stays - 1 + exp(-stays)))


def baseline_factor(before: float, after: float, days: int) -> BaselineFactor:
    """Estimate a page's growth from its average visitors on other days (`days` in number).

    `before` is the average at the time of day of the past, `after` at the current time of day.
    """
    seen_before, seen_after = (
        days * before + BASELINE_PRIOR_VISITORS,
        days * after + BASELINE_PRIOR_VISITORS,
    )
    return BaselineFactor(seen_after / seen_before, 1 / seen_before + 1 / seen_after)


def trend_score(visitors: int, expected: float, independent: float) -> float:
    """Return how unusual a number of visitors is, in standard deviations; negative for a loss.

    `expected` is an average worth `independent` readings.
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
    """Assess a page by its current visitors.

    `average` is that of its past, worth `independent` readings; None without a past.
    """
    if average is None:
        return TrendAssessment(None, 0.0, STEADY)
    expected = average * other_days.factor
    if max(visitors, expected) < MIN_SCORED_VISITORS:
        return TrendAssessment(expected, 0.0, STEADY)
    # The seasonal factor is uncertain, too.
    independent = 1 / (1 / independent + expected * other_days.variance)
    score = trend_score(visitors, expected, independent)
    if score >= threshold:
        return TrendAssessment(expected, score, RISING if average else NEW)
    if score <= -threshold:
        return TrendAssessment(expected, score, FALLING if visitors else GONE)
    return TrendAssessment(expected, score, STEADY)
