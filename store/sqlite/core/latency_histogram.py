"""Histogram of latencies in exponential buckets, which make quantiles cheap."""

from itertools import accumulate
from math import ceil, log

# Upper bound of the first bucket, and the ratio of each bucket's bound to the one before.
FIRST_BUCKET_SECONDS, BUCKET_GROWTH = 0.0001, 1.15
BUCKET_COUNT = 128


class LatencyHistogram:
    """Latencies since the last `take`."""

    def __init__(self) -> None:
        self._counts = [0] * BUCKET_COUNT
        self._total = 0

    def add(self, seconds: float, count: int = 1) -> None:
        """Add `count` latencies of this duration."""
        bucket = (
            ceil(log(seconds / FIRST_BUCKET_SECONDS, BUCKET_GROWTH))
            if seconds > FIRST_BUCKET_SECONDS
            else 0
        )
        self._counts[min(bucket, BUCKET_COUNT - 1)] += count
        self._total += count

    def take(self, share: float) -> float | None:
        """Return the quantile `share` (0–1) in seconds and reset; None without any latencies."""
        if not self._total:
            return None
        wanted, sums = self._total * share, accumulate(self._counts)
        bucket = next(bucket for bucket, seen in enumerate(sums) if seen >= wanted)
        self._counts, self._total = [0] * BUCKET_COUNT, 0
        return FIRST_BUCKET_SECONDS * BUCKET_GROWTH**bucket
