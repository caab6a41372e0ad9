"""Seasonal baseline: visitors of a host's pages at the same time on other days."""

from collections.abc import Mapping, Sequence

from domain.audience.trend_score import NEUTRAL_BASELINE, BaselineFactor, baseline_factor

# Length of the intervals of a day.
BASELINE_INTERVAL_SECONDS = 300


class SeasonalBaseline:
    """Average visitors of each page on other days, for consecutive intervals of the day."""

    def __init__(
        self, begin: int, days: Sequence[int], averages: Mapping[str, Sequence[float]]
    ) -> None:
        """The first interval begins at `begin` (Unix time in seconds, today).

        `days` has the number of days known for each interval, `averages` each page's visitors.
        """
        self._begin = begin
        self._days = days
        self._averages = averages

    @property
    def paths(self) -> Mapping[str, object]:
        """Return the pages that have a baseline, as keys."""
        return self._averages

    def usual(self, path: str, begin: float, end: float, now: float) -> BaselineFactor:
        """Return a page's usual growth from the period `begin` to `end` until `now`."""
        averages = self._averages.get(path)
        if averages is None:
            return NEUTRAL_BASELINE
        first, last, current = map(self._interval, (begin, max(begin, end - 1), now))
        if first < 0 or current >= len(self._days):
            return NEUTRAL_BASELINE
        days = min(*self._days[first : last + 1], self._days[current])
        if not days:
            return NEUTRAL_BASELINE
        before = averages[first : last + 1]
        return baseline_factor(sum(before) / len(before), averages[current], days)

    def _interval(self, moment: float) -> int:
        return int((moment - self._begin) // BASELINE_INTERVAL_SECONDS)


NO_SEASONAL_BASELINE = SeasonalBaseline(0, (), {})
