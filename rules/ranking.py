"""Which banners a campaign shows in a slot."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Figures:
    """What one banner did in one campaign and slot; revenue in micros (a millionth)."""

    impressions: int
    clicks: int
    conversions: int
    revenue: int
