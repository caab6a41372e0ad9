"""What a campaign shows in a slot, and why."""

from collections.abc import Awaitable, Callable

from domain.banners.ranking import Ranking
from domain.banners.slots import SLOTS
from domain.common.validation_errors import FieldError
from handlers.common.base_handler import ApiError, BaseHandler

MICROS_PER_UNIT = 1_000_000


class CandidatesHandler(BaseHandler):
    """`GET /api/v1/campaigns/{id}/candidates?slot=N`."""

    def initialize(
        self, present: Callable[[], int], rank: Callable[[int, int], Awaitable[Ranking | None]]
    ) -> None:
        """`present` tells the slot now; `rank` ranks a (campaign, slot), None if unknown."""
        self._present = present
        self._rank = rank

    async def get(self, campaign: str) -> None:
        """The candidates in rank order; with a `read` token their figures too."""
        slot = self._slot()
        access = await self.require_scope("read", required=False)
        ranking = await self._rank(int(campaign), slot)
        if ranking is None:
            raise ApiError(404, "There is no campaign with this number.")
        banners: list[dict[str, object]] = []
        for each in ranking.candidates:
            row: dict[str, object] = {"banner": each.banner}
            if access is not None:
                row["revenue"] = each.figures.revenue / MICROS_PER_UNIT
                row["clicks"] = each.figures.clicks
                row["impressions"] = each.figures.impressions
            banners.append({**row, "why": each.why})
        self.send_json(
            {"campaign": int(campaign), "slot": slot, "rule": ranking.rule, "banners": banners}
        )

    def _slot(self) -> int:
        said = self.get_query_argument("slot", None, strip=False)
        if said is None:
            return self._present()
        if said not in map(str, SLOTS):
            fault = FieldError("/slot", "is a quarter of the hour: 1, 2, 3 or 4")
            raise ApiError(422, f"`slot` {fault.message}.", [fault])
        return int(said)
