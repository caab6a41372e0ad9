"""The first page: what goes on, drawn on the server and sent on as it changes."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NamedTuple

import msgspec
from tornado.iostream import StreamClosedError

from background.admin.dashboard_sampler import (
    MAX_SAMPLES,
    SAMPLE_INTERVAL_SECONDS,
    DashboardSampler,
)
from domain.admin.charts import axis_maximum, line_chart_svg
from domain.common import formatting
from handlers.admin.admin_page import AdminPage
from handlers.common.base_handler import ApiError
from handlers.common.responses import PageTemplates
from handlers.common.route import Route
from handlers.operations.health import ReadinessReport

# Who watches at once.
MAX_DASHBOARD_VIEWERS = 100
# Beats after which a watcher's session is looked at again.
SESSION_CHECK_SAMPLES = 5


class DashboardChart(NamedTuple):
    """A figure of the pulse, and how it is told."""

    name: str
    title: str
    unit: str
    times: float = 1.0
    # Returns the unit, if it varies.
    live_unit: Callable[[], str] | None = None


class DashboardRenderer:
    """The charts as HTML; made once a beat, however many look."""

    def __init__(
        self,
        pages: PageTemplates,
        pulse: DashboardSampler,
        charts: Sequence[DashboardChart],
        rising: Callable[[], Sequence[Any]],
    ) -> None:
        """`rising` are the pages that gain visitors now."""
        self.pulse = pulse
        self._rising = rising
        self.viewers = 0
        self._pages = pages
        self._charts = charts
        self._made: tuple[int, dict[str, str]] = (-1, {})
        self._told: tuple[int, bytes] = (-1, b"")

    def cards(self) -> dict[str, str]:
        """What stands in each card."""
        if self._made[0] != self.pulse.beats:
            cards = {each.name: self._card(each) for each in self._charts}
            rising = self._pages.render("admin/rising_pages.html", pages=self._rising())
            self._made = self.pulse.beats, cards | {"rising": rising.decode()}
        return self._made[1]

    def message(self) -> bytes:
        """The same as a server-sent event."""
        if self._told[0] != self.pulse.beats:
            told = b"data: " + msgspec.json.encode(self.cards()) + b"\n\n"
            self._told = self.pulse.beats, told
        return self._told[1]

    def _card(self, chart: DashboardChart) -> str:
        kept = self.pulse.history.get(chart.name, ())
        values = [None if value is None else value * chart.times for value in kept]
        now = next((value for value in reversed(values) if value is not None), None)
        if values and values[-1] is None:
            now = None
        shown = "–" if now is None else formatting.format_number(now)
        unit = chart.unit if chart.live_unit is None else chart.live_unit()
        label = f"{chart.title}: {shown} {unit}"
        return self._pages.render(
            "admin/chart_card.html",
            chart=chart,
            unit=unit,
            value=shown,
            top=formatting.format_number(axis_maximum(values)),
            drawn=line_chart_svg(values, label),
            minutes=int(MAX_SAMPLES * SAMPLE_INTERVAL_SECONDS / 60),
        ).decode()


def routes(
    board: DashboardRenderer,
    readiness: Callable[[], ReadinessReport],
    glance: Callable[[], Awaitable[dict[str, Any]]],
) -> list[Route]:
    """Where these are; `glance` gives what else stands there at once."""
    parts = {"board": board}
    return [
        Route(
            r"/admin",
            AdminOverviewPage,
            {**parts, "readiness": readiness, "glance": glance},
            "admin overview",
        ),
        Route(r"/admin/live", AdminOverviewStreamHandler, parts, "admin overview stream"),
    ]


class AdminOverviewPage(AdminPage):
    """`/admin/`."""

    def initialize(
        self,
        board: DashboardRenderer,
        readiness: Callable[[], ReadinessReport],
        glance: Callable[[], Awaitable[dict[str, Any]]],
    ) -> None:
        """See `routes`."""
        self._board = board
        self._readiness = readiness
        self._glance = glance

    async def get(self) -> None:
        """The page as of now."""
        if self.request.path == "/admin":
            self.redirect("/admin/", status=303)
            return
        self.show(
            "overview.html",
            "Overview",
            cards=self._board.cards(),
            ready=self._readiness(),
            **await self._glance(),
        )


class AdminOverviewStreamHandler(AdminPage):
    """`/admin/live`: the charts, beat for beat, as server-sent events."""

    def initialize(self, board: DashboardRenderer) -> None:
        """`board` has them."""
        self._board = board

    async def get(self) -> None:
        """Tell each beat until the viewer leaves, is logged out, or the server ends."""
        if self._board.viewers >= MAX_DASHBOARD_VIEWERS:
            raise ApiError(503, "Too many are watching.")
        self.set_header("Content-Type", "text/event-stream")
        # A proxy that gathers answers would hold back what is live.
        self.set_header("X-Accel-Buffering", "no")
        if self.request.method == "HEAD":
            return
        self._board.viewers += 1
        try:
            self.write(b"retry: 3000\n\n")
            await self.flush()
            while await self._board.pulse.beat():
                if self._board.pulse.beats % SESSION_CHECK_SAMPLES == 0 and not await self._still():
                    return
                self.write(self._board.message())
                await self.flush()
        except StreamClosedError:
            return
        finally:
            self._board.viewers -= 1

    def turn_away(self) -> None:
        """A stream is nothing that one could be led on from."""
        raise ApiError(401, "You are not logged in any more.")

    async def _still(self) -> bool:
        return await self.logged_in() is not None
