"""The health page: readiness checks and metrics with readable labels."""

from collections.abc import Callable, Iterable
from typing import Any

from domain.common import formatting
from handlers.admin.admin_page import AdminPage
from handlers.common.route import Route
from handlers.operations.health import ReadinessReport
from handlers.operations.metrics import MetricSample

# Texts of a passed and a failed check, by the check's name in `/readyz`.
READINESS_TEXTS = {
    "migrated": ("Database schema is current", "Database schema has another version"),
    "warm": ("Campaigns are loaded", "Campaigns are loading"),
    "writer": ("Database is writable", "Database is not writable: check the disk and restart"),
    "taking": ("Requests are accepted", "Server is shutting down"),
}


def routes(
    readiness: Callable[[], ReadinessReport],
    metrics: Callable[[], Iterable[MetricSample]],
    facts: Callable[[], dict[str, str]],
) -> list[Route]:
    """Return the route; `facts` returns values of the server by label."""
    parts = {"readiness": readiness, "metrics": metrics, "facts": facts}
    return [Route(r"/admin/health", AdminHealthPage, parts, "admin health")]


class AdminHealthPage(AdminPage):
    """`/admin/health`: readiness, metrics and facts about the server."""

    def initialize(self, **parts: Any) -> None:
        """Keep the parameters of `routes`."""
        self._parts = parts

    async def get(self) -> None:
        """Send the page."""
        readiness: ReadinessReport = self._parts["readiness"]()
        checks = [
            (passed, READINESS_TEXTS.get(name, (name, name))[0 if passed else 1])
            for name, passed in readiness.checks.items()
        ]
        rows = [
            (metric.description, metric.label[1] if metric.label else "", _format_metric(metric))
            for metric in self._parts["metrics"]()
        ]
        self.send_page(
            "health.html",
            "Health",
            ready=readiness.ready,
            checks=checks,
            notes=readiness.notes,
            metrics=rows,
            facts=self._parts["facts"](),
        )


def _format_metric(metric: MetricSample) -> str:
    name = metric.name.removesuffix("_total")
    if name.endswith("_seconds"):
        return formatting.format_duration(metric.value)
    if name.endswith("_bytes"):
        return formatting.format_size(metric.value)
    if name == "marquee_ready":
        return "yes" if metric.value else "no"
    return formatting.format_number(metric.value)
