"""How long things took, counted in classes so that a quantile costs little."""

from itertools import accumulate
from math import ceil, log

# Seconds of the first class, and how much longer those of the next one are.
FIRST_BUCKET_SECONDS, BUCKET_GROWTH = 0.0001, 1.15
BUCKET_COUNT = 128


class LatencyHistogram:
    """Waits since last asked."""

    def __init__(self) -> None:
        self._counts = [0] * BUCKET_COUNT
        self._all = 0

    def add(self, seconds: float, count: int = 1) -> None:
        """Count some that took so long."""
        place = (
            ceil(log(seconds / FIRST_BUCKET_SECONDS, BUCKET_GROWTH))
            if seconds > FIRST_BUCKET_SECONDS
            else 0
        )
        self._counts[min(place, BUCKET_COUNT - 1)] += count
        self._all += count

    def take(self, share: float) -> float | None:
        """Within how many seconds this share of them was over; begins anew. None if none was."""
        if not self._all:
            return None
        wanted, sums = self._all * share, accumulate(self._counts)
        place = next(place for place, seen in enumerate(sums) if seen >= wanted)
        self._counts, self._all = [0] * BUCKET_COUNT, 0
        return FIRST_BUCKET_SECONDS * BUCKET_GROWTH**place
