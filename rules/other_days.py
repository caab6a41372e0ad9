"""What a host's pages had at the same time of other days."""

from collections.abc import Mapping, Sequence

from rules.growth import AS_EVER, Usual, usual

# Seconds of a day's parts.
PART = 300


class OtherDays:
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

    def usual(self, path: str, begin: float, end: float, now: float) -> Usual:
        """How a page usually goes on from a past between `begin` and `end` until `now`."""
        averages = self._averages.get(path)
        if averages is None:
            return AS_EVER
        first, last, here = (self._part(moment) for moment in (begin, max(begin, end - 1), now))
        if first < 0 or here >= len(self._days):
            return AS_EVER
        days = min(*self._days[first : last + 1], self._days[here])
        if not days:
            return AS_EVER
        before = averages[first : last + 1]
        return usual(sum(before) / len(before), averages[here], days)

    def _part(self, moment: float) -> int:
        return int((moment - self._begin) // PART)


NO_OTHER_DAYS = OtherDays(0, (), {})
