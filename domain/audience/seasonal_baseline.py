"""What a host's pages had at the same time of other days."""

from collections.abc import Mapping, Sequence

from domain.audience.trend_score import NEUTRAL_BASELINE, BaselineFactor, baseline_factor

# Seconds of a day's parts.
BASELINE_INTERVAL_SECONDS = 300


class SeasonalBaseline:
    """Averages of each page over other days, for parts of the day that follow each other."""

    def __init__(
        self, begin: int, days: Sequence[int], averages: Mapping[str, Sequence[float]]
    ) -> None:
        """The first part begins at `begin` (seconds since 1970, today).

        `days` tells for each part on how many days it is known, `averages` each page's visitors.
        """
        self._begin = begin
        self._days = days
        self._averages = averages

    @property
    def paths(self) -> Mapping[str, object]:
        """The pages of which something is known."""
        return self._averages

    def usual(self, path: str, begin: float, end: float, now: float) -> BaselineFactor:
        """How a page usually goes on from a past between `begin` and `end` until `now`."""
        averages = self._averages.get(path)
        if averages is None:
            return NEUTRAL_BASELINE
        first, last, here = (self._part(moment) for moment in (begin, max(begin, end - 1), now))
        if first < 0 or here >= len(self._days):
            return NEUTRAL_BASELINE
        days = min(*self._days[first : last + 1], self._days[here])
        if not days:
            return NEUTRAL_BASELINE
        before = averages[first : last + 1]
        return baseline_factor(sum(before) / len(before), averages[here], days)

    def _part(self, moment: float) -> int:
        return int((moment - self._begin) // BASELINE_INTERVAL_SECONDS)


NO_SEASONAL_BASELINE = SeasonalBaseline(0, (), {})
