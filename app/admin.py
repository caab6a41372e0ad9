"""The admin feature: login, users, apps, and the overview over all features."""

from collections.abc import Iterable, Sequence
from time import monotonic
from typing import Any

from app.core import Core
from app.feature import CacheCounts, Feature, OverviewFact, OverviewPart
from background.admin.dashboard_sampler import DashboardReading, DashboardSampler
from domain.admin.login_throttle import LoginThrottle
from domain.common import formatting
from handlers.admin import apps, login, overview, users
from handlers.admin.login import SetupInvitation
from handlers.admin.overview import DashboardChart, DashboardRenderer

# The order of the charts by name; others follow.
CHART_ORDER = ("events", "wait", "commits", "pages", "hits", "visitors", "lag")
CACHE_HITS_CHART = DashboardChart("hits", "Cache hit ratio", "%", 100.0)


class Dashboard:
    """What the overview shows: the charts, facts and hints of all features."""

    def __init__(self, core: Core) -> None:
        self._core = core
        # Hits and loads of all caches at the reading before.
        self._cache_counts = (0, 0)
        self.charts: list[DashboardChart] = []
        self.sampler = DashboardSampler(self._read)

    def start(self) -> None:
        """Collect the charts, once all features are built."""
        self.charts.append(CACHE_HITS_CHART)
        for part in self._parts():
            self.charts += [chart for chart, _ in (*part.count_charts, *part.level_charts)]
        places = {name: place for place, name in enumerate(CHART_ORDER)}
        self.charts.sort(key=lambda chart: places.get(chart.name, len(places)))

    def rising_pages(self) -> Sequence[Any]:
        """Return the rising pages of all features."""
        return [page for part in self._parts() for page in part.rising_pages()]

    async def glance(self) -> dict[str, Any]:
        """Return the facts and hints of all features."""
        facts: list[OverviewFact] = []
        hints: list[tuple[str, str]] = []
        for part in self._parts():
            facts += await part.facts()
            hints += part.hints()
        return {"facts": facts, "hints": hints}

    def _parts(self) -> Iterable[OverviewPart]:
        return (feature.overview for feature in self._core.features)

    def _read(self) -> DashboardReading:
        counts: dict[str, float] = {}
        levels: dict[str, float | None] = {CACHE_HITS_CHART.name: self._cache_hit_ratio()}
        for part in self._parts():
            counts |= {chart.name: read() for chart, read in part.count_charts}
            levels |= {chart.name: read() for chart, read in part.level_charts}
        return DashboardReading(counts, levels)

    def _cache_hit_ratio(self) -> float | None:
        """Return the ratio of lookups since the last reading that were hits; None without any."""
        caches: list[CacheCounts] = [self._core.apps.cache]
        caches += [cache for part in self._parts() for cache in part.caches]
        counts = sum(it.hits for it in caches), sum(it.loads for it in caches)
        before, self._cache_counts = self._cache_counts, counts
        hits, loads = counts[0] - before[0], counts[1] - before[1]
        return hits / (hits + loads) if hits + loads else None


def build(core: Core) -> Feature:
    """Build the feature."""
    database, logins = core.database, core.logins
    invitation = SetupInvitation(core.setup_token)
    throttle = LoginThrottle(salt=core.installation_salt)
    dashboard = Dashboard(core)
    renderer = DashboardRenderer(
        core.pages, dashboard.sampler, dashboard.charts, dashboard.rising_pages
    )

    async def start() -> None:
        dashboard.start()
        throttle.trust(await logins.known_addresses())

    async def close() -> None:
        dashboard.sampler.close()

    def startup_lines(base_url: str) -> Iterable[str]:
        if core.setup_token:
            yield f"admin       {base_url}/admin/setup?token={core.setup_token}"
            yield "            (create the first user there; the link works once)"
        else:
            yield f"admin       {base_url}/admin/"

    async def facts() -> list[OverviewFact]:
        return [("Uptime", "", formatting.format_duration(monotonic() - core.started_at))]

    return Feature(
        name="admin",
        admin_pages=[
            *overview.routes(renderer, core.readiness, dashboard.glance),
            *login.routes(database, logins, invitation, throttle),
            *users.routes(database, logins, throttle),
            *apps.routes(database),
        ],
        workers=[dashboard.sampler.run],
        start=start,
        close=close,
        startup_lines=startup_lines,
        overview=OverviewPart(facts=facts),
    )
