"""How the server is: what `/readyz` and `/metrics` know, in words."""

from collections.abc import Callable, Iterable
from typing import Any

from domain.common import formatting
from handlers.admin.admin_page import AdminPage
from handlers.common.route import Route
from handlers.operations.health import ReadinessReport
from handlers.operations.metrics import MetricSample

READINESS_TEXTS = {
    "migrated": ("The database has this program's tables", "The database is of another version"),
    "warm": ("Campaigns are in memory", "Campaigns are still being read"),
    "writer": ("The database can be written", "The database is broken: restart, look at the disk"),
    "taking": ("Visitors may come", "The server is ending"),
}


def routes(
    readiness: Callable[[], ReadinessReport],
    figures: Callable[[], Iterable[MetricSample]],
    facts: Callable[[], dict[str, str]],
) -> list[Route]:
    """Where this is; `facts` are words by their names."""
    parts = {"readiness": readiness, "figures": figures, "facts": facts}
    return [Route(r"/admin/health", AdminHealthPage, parts, "admin health")]


class AdminHealthPage(AdminPage):
    """`/admin/health`."""

    def initialize(self, **parts: Any) -> None:
        """See `routes`."""
        self._parts = parts

    async def get(self) -> None:
        """All of it."""
        readiness: ReadinessReport = self._parts["readiness"]()
        checks = [
            (well, READINESS_TEXTS.get(name, (name, name))[0 if well else 1])
            for name, well in readiness.checks.items()
        ]
        rows = [
            (figure.description, figure.label[1] if figure.label else "", _format_metric(figure))
            for figure in self._parts["figures"]()
        ]
        self.show(
            "health.html",
            "Health",
            ready=readiness.ready,
            checks=checks,
            notes=readiness.notes,
            figures=rows,
            facts=self._parts["facts"](),
        )


def _format_metric(figure: MetricSample) -> str:
    name = figure.name.removesuffix("_total")
    if name.endswith("_seconds"):
        return formatting.format_duration(figure.value)
    if name.endswith("_bytes"):
        return formatting.format_size(figure.value)
    if name == "marquee_ready":
        return "yes" if figure.value else "no"
    return formatting.format_number(figure.value)
