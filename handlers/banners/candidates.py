"""`/api/v1/campaigns/{id}/candidates`: the candidates of a campaign in a slot."""

from collections.abc import Awaitable, Callable

from domain.banners.ranking import Ranking
from domain.banners.slots import SLOTS
from domain.common.validation_errors import FieldError
from handlers.common.base_handler import ApiError, BaseHandler

MICROS_PER_UNIT = 1_000_000


class CandidatesHandler(BaseHandler):
    """`GET /api/v1/campaigns/{id}/candidates?slot=N`."""

    def initialize(
        self, current_slot: Callable[[], int], rank: Callable[[int, int], Awaitable[Ranking | None]]
    ) -> None:
        """`rank` returns the ranking of (campaign, slot), None for an unknown campaign."""
        self._current_slot = current_slot
        self._rank = rank

    async def get(self, campaign: str) -> None:
        """Send the candidates, best first; with a `read` token also their stats."""
        slot = self._slot_argument()
        access = await self.require_scope("read", required=False)
        ranking = await self._rank(int(campaign), slot)
        if ranking is None:
            raise ApiError(404, "Unknown campaign.")
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

    def _slot_argument(self) -> int:
        slot = self.get_query_argument("slot", None, strip=False)
        if slot is None:
            return self._current_slot()
        if slot not in map(str, SLOTS):
            error = FieldError("/slot", "must be 1, 2, 3 or 4")
            raise ApiError(422, f"`slot` {error.message}.", [error])
        return int(slot)
