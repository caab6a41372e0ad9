"""The audience feature: visitors of hosts, rising pages, the beacon, live pages."""

from collections.abc import Iterable
from random import Random

from app.core import Core
from app.feature import Feature, OverviewPart
from app.settings import Settings
from background.audience.host_poller import MAX_POLLED_HOSTS, HostPoller
from background.audience.toppages_client import (
    REQUEST_TIMEOUT_SECONDS,
    LocalToppagesSource,
    UpstreamToppagesClient,
)
from background.audience.visitor_tracker import VisitorTracker
from background.common.sse_hub import MAX_LISTENERS, SseHub
from demo.demo_audience import DemoAudience
from demo.demo_traffic import DEMO_HOST, DEMO_TOKEN
from handlers.admin import audience as admin_audience
from handlers.admin.overview import DashboardChart
from handlers.audience import beacon, host_audience, increasing_concurrents, live_page, toppages
from handlers.common.audience_base import AudienceContext
from handlers.operations.metrics import MetricSample
from httpserver import MemoryBudget
from store.cache.active_visitors import ActiveVisitors
from store.sqlite.admin.apps import APPS_CHANGED
from store.sqlite.audience.audience_history import AudienceHistory
from store.sqlite.audience.pageview_reader import PageviewReader
from store.sqlite.audience.site_registry import SiteRegistry

ToppagesSource = LocalToppagesSource | UpstreamToppagesClient


def build(core: Core) -> Feature:
    """Build the feature."""
    settings, database = core.settings, core.database
    sites = SiteRegistry(database)
    database.watch(APPS_CHANGED, sites.refresh)
    visitors = ActiveVisitors(settings.visit_seconds)
    pageviews = PageviewReader(database, sites, visitors)
    tracker = VisitorTracker(sites.refresh, pageviews.process_next, visitors.sweep)
    source = _source(settings, sites, visitors)
    history = AudienceHistory(database, source.name, settings.audience_days)
    poller = HostPoller(
        source, history.add_minute, history.read_baseline, period=settings.reading_seconds
    )
    streams = SseHub()
    ingest = beacon.BeaconIngest(sites, visitors, core.event_log)
    context = AudienceContext(poller, streams, MemoryBudget(MAX_LISTENERS), settings.rising_score)
    demo = DemoAudience(sites, visitors, poller, ingest, core.event_log, Random())
    wants_demo = settings.sample and settings.traffic and not settings.upstream

    async def start() -> None:
        await tracker.once()
        polled = await history.recent_hosts(MAX_POLLED_HOSTS)
        source.trust(polled)
        poller.resume(polled)
        if wants_demo:
            await demo.start()

    async def close() -> None:
        streams.close()

    async def stop() -> None:
        await source.close()
        await poller.close()

    def startup_lines(base_url: str) -> Iterable[str]:
        if demo.is_playing:
            yield f"rising      {base_url}/live/{DEMO_HOST}?apikey={DEMO_TOKEN}"

    return Feature(
        name="audience",
        fast_routes=[
            *increasing_concurrents.IncreasingConcurrents(poller).fast_routes(),
            *toppages.TopPages(sites, visitors).fast_routes(),
            *ingest.fast_routes(),
        ],
        routes=[
            *host_audience.routes(context, history),
            *live_page.routes(context, core.pages),
        ],
        admin_pages=admin_audience.routes(database, poller, settings.rising_score),
        workers=[demo.run, tracker.run, poller.run],
        start=start,
        close=close,
        stop=stop,
        retention_steps=[history.sweep],
        metrics=lambda: _metrics(visitors, poller, streams, source),
        startup_lines=startup_lines,
        overview=OverviewPart(
            level_charts=[
                (
                    DashboardChart(
                        "visitors",
                        "Active visitors",
                        "now",
                        current_unit=lambda: admin_audience.visitors_unit(poller),
                    ),
                    lambda: sum(map(admin_audience.visitor_count, poller.watches)),
                )
            ],
            rising_pages=lambda: admin_audience.rising_pages(poller, settings.rising_score),
        ),
    )


def _source(settings: Settings, sites: SiteRegistry, visitors: ActiveVisitors) -> ToppagesSource:
    """Return what the host poller reads: the upstream, or this server's own visitors."""
    if not (upstream := settings.upstream_url()):
        return LocalToppagesSource(sites, visitors)
    period = settings.reading_seconds
    return UpstreamToppagesClient(
        upstream,
        settings.upstream_version,
        period=period,
        deadline=min(REQUEST_TIMEOUT_SECONDS, 0.8 * period),
    )


def _metrics(
    visitors: ActiveVisitors, poller: HostPoller, streams: SseHub, source: ToppagesSource
) -> Iterable[MetricSample]:
    yield MetricSample("marquee_visits", "Active visits (one session on one page)", visitors.visits)
    yield MetricSample(
        "marquee_visits_rejected_total",
        "Beacons rejected because the visit table was full",
        visitors.turned_away,
    )
    yield MetricSample(
        "marquee_visits_evicted_total",
        "Visits evicted in favor of an app or host with fewer",
        visitors.displaced,
    )
    yield MetricSample("marquee_polled_hosts", "Polled hosts", len(poller.watches))
    yield MetricSample("marquee_readings_total", "Readings of polled hosts", poller.readings)
    yield MetricSample(
        "marquee_readings_failed_total", "Failed readings of polled hosts", poller.failures
    )
    yield MetricSample("marquee_sse_listeners", "Open server-sent event streams", streams.listeners)
    yield MetricSample(
        "marquee_sse_listeners_dropped_total",
        "Streams closed because the client read too slowly",
        streams.dropped,
    )
    if isinstance(source, UpstreamToppagesClient):
        yield MetricSample(
            "marquee_upstream_requests_total", "Requests to the upstream", source.requests
        )
        yield MetricSample(
            "marquee_upstream_failures_total", "Failed requests to the upstream", source.failures
        )
        yield MetricSample(
            "marquee_upstream_pages_skipped_total",
            "Invalid pages skipped in upstream responses",
            source.skipped,
        )
