"""Figures being summed up in memory."""

from domain.common.csv_rows import MAX_INT64
from store.api.import_session import StatsRow


class BannerStatsAggregator:
    """The figures of an import's banners, until they go to the store."""

    def __init__(self) -> None:
        self._sums: dict[tuple[int, int, int], list[int]] = {}

    def __len__(self) -> int:
        return len(self._sums)

    def impressions(self, slot: int, campaign: int, banner: int, count: int) -> None:
        """Add impressions."""
        self._of(slot, campaign, banner)[0] += count

    def click(self, slot: int, campaign: int, banner: int) -> None:
        """Add a click."""
        self._of(slot, campaign, banner)[1] += 1

    def conversion(self, slot: int, campaign: int, banner: int, revenue: int) -> None:
        """Add a conversion and its revenue in micros."""
        sums = self._of(slot, campaign, banner)
        sums[2] += 1
        sums[3] = min(sums[3] + revenue, MAX_INT64)

    def take(self) -> list[StatsRow]:
        """All rows in the order of their keys; nothing is left."""
        taken, self._sums = self._sums, {}
        return [(*key, *sums) for key, sums in sorted(taken.items())]  # type: ignore[misc]

    def _of(self, slot: int, campaign: int, banner: int) -> list[int]:
        key = (slot, campaign, banner)
        sums = self._sums.get(key)
        if sums is None:
            sums = self._sums[key] = [0, 0, 0, 0]
        return sums
