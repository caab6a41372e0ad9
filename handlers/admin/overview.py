"""The overview: charts rendered on the server, updated by server-sent events."""

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

MAX_DASHBOARD_VIEWERS = 100
# A stream checks its session once per this many samples.
SESSION_CHECK_SAMPLES = 5


class DashboardChart(NamedTuple):
    """A value of the dashboard sampler with its title and unit."""

    name: str
    title: str
    unit: str
    factor: float = 1.0
    # Returns the unit if it depends on the current values.
    current_unit: Callable[[], str] | None = None


class DashboardRenderer:
    """Renders the charts as HTML, once per sample for all viewers."""

    def __init__(
        self,
        pages: PageTemplates,
        sampler: DashboardSampler,
        charts: Sequence[DashboardChart],
        rising_pages: Callable[[], Sequence[Any]],
    ) -> None:
        """`rising_pages` returns the pages that gain visitors now."""
        self.sampler = sampler
        self._rising_pages = rising_pages
        self.viewers = 0
        self._pages = pages
        self._charts = charts
        # Both caches hold (sample number, value).
        self._cached_cards: tuple[int, dict[str, str]] = (-1, {})
        self._cached_message: tuple[int, bytes] = (-1, b"")

    def cards(self) -> dict[str, str]:
        """Return the HTML of each card by its name."""
        if self._cached_cards[0] != self.sampler.beats:
            cards = {each.name: self._render_card(each) for each in self._charts}
            rising = self._pages.render("admin/rising_pages.html", pages=self._rising_pages())
            self._cached_cards = self.sampler.beats, cards | {"rising": rising.decode()}
        return self._cached_cards[1]

    def sse_message(self) -> bytes:
        """Return the cards as a server-sent event."""
        if self._cached_message[0] != self.sampler.beats:
            message = b"data: " + msgspec.json.encode(self.cards()) + b"\n\n"
            self._cached_message = self.sampler.beats, message
        return self._cached_message[1]

    def _render_card(self, chart: DashboardChart) -> str:
        samples = self.sampler.history.get(chart.name, ())
        values = [None if value is None else value * chart.factor for value in samples]
        current = values[-1] if values else None
        value = "–" if current is None else formatting.format_number(current)
        unit = chart.unit if chart.current_unit is None else chart.current_unit()
        label = f"{chart.title}: {value} {unit}"
        return self._pages.render(
            "admin/chart_card.html",
            chart=chart,
            unit=unit,
            value=value,
            maximum=formatting.format_number(axis_maximum(values)),
            chart_svg=line_chart_svg(values, label),
            minutes=int(MAX_SAMPLES * SAMPLE_INTERVAL_SECONDS / 60),
        ).decode()


def routes(
    dashboard: DashboardRenderer,
    readiness: Callable[[], ReadinessReport],
    load_summary: Callable[[], Awaitable[dict[str, Any]]],
) -> list[Route]:
    """Return the routes; `load_summary` returns template values besides the charts."""
    parts = {"dashboard": dashboard}
    overview_parts = {**parts, "readiness": readiness, "load_summary": load_summary}
    return [
        Route(r"/admin", AdminOverviewPage, overview_parts, "admin overview"),
        Route(r"/admin/live", AdminOverviewStreamHandler, parts, "admin overview stream"),
    ]


class AdminOverviewPage(AdminPage):
    """`/admin/`: the overview."""

    def initialize(
        self,
        dashboard: DashboardRenderer,
        readiness: Callable[[], ReadinessReport],
        load_summary: Callable[[], Awaitable[dict[str, Any]]],
    ) -> None:
        """Keep the parameters of `routes`."""
        self._dashboard = dashboard
        self._readiness = readiness
        self._load_summary = load_summary

    async def get(self) -> None:
        """Send the page with the current charts."""
        if self.request.path == "/admin":
            self.redirect("/admin/", status=303)
            return
        self.send_page(
            "overview.html",
            "Overview",
            cards=self._dashboard.cards(),
            readiness=self._readiness(),
            **await self._load_summary(),
        )


class AdminOverviewStreamHandler(AdminPage):
    """`/admin/live`: the charts of each sample as server-sent events."""

    def initialize(self, dashboard: DashboardRenderer) -> None:
        """Keep `dashboard`, which renders the charts."""
        self._dashboard = dashboard

    async def get(self) -> None:
        """Send each sample until the client disconnects, is logged out, or the server stops."""
        if self._dashboard.viewers >= MAX_DASHBOARD_VIEWERS:
            raise ApiError(503, "Too many overview pages are open.")
        self.set_header("Content-Type", "text/event-stream")
        # nginx would buffer the stream.
        self.set_header("X-Accel-Buffering", "no")
        if self.request.method == "HEAD":
            return
        self._dashboard.viewers += 1
        try:
            self.write(b"retry: 3000\n\n")
            await self.flush()
            while await self._dashboard.sampler.beat():
                if (
                    self._dashboard.sampler.beats % SESSION_CHECK_SAMPLES == 0
                    and not await self._still_logged_in()
                ):
                    return
                self.write(self._dashboard.sse_message())
                await self.flush()
        except StreamClosedError:
            return
        finally:
            self._dashboard.viewers -= 1

    def redirect_to_login(self) -> None:
        """Raise 401: an `EventSource` cannot show the login page."""
        raise ApiError(401, "Your session has ended.")

    async def _still_logged_in(self) -> bool:
        return await self.logged_in() is not None
