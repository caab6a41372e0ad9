"""Sums of an import's stats in memory."""

from domain.common.csv_rows import MAX_INT64
from store.api.import_session import StatsRow


class BannerStatsAggregator:
    """Stats of an import's banners that are not yet in the store."""

    def __init__(self) -> None:
        self._sums: dict[tuple[int, int, int], list[int]] = {}

    def __len__(self) -> int:
        return len(self._sums)

    def add_impressions(self, slot: int, campaign: int, banner: int, count: int) -> None:
        """Add `count` impressions."""
        self._sums_of(slot, campaign, banner)[0] += count

    def add_click(self, slot: int, campaign: int, banner: int) -> None:
        """Add a click."""
        self._sums_of(slot, campaign, banner)[1] += 1

    def add_conversion(self, slot: int, campaign: int, banner: int, revenue: int) -> None:
        """Add a conversion and its revenue in micros."""
        sums = self._sums_of(slot, campaign, banner)
        sums[2] += 1
        sums[3] = min(sums[3] + revenue, MAX_INT64)

    def take(self) -> list[StatsRow]:
        """Remove all rows and return them in the order of their keys."""
        all_sums, self._sums = self._sums, {}
        return [(*key, *sums) for key, sums in sorted(all_sums.items())]  # type: ignore[misc]

    def _sums_of(self, slot: int, campaign: int, banner: int) -> list[int]:
        key = (slot, campaign, banner)
        sums = self._sums.get(key)
        if sums is None:
            sums = self._sums[key] = [0, 0, 0, 0]
        return sums
