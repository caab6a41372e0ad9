"""The events feature: ingest, queries, event schemas, rejected events, projections, retention."""

from collections.abc import Iterable

from app.core import Core
from app.feature import Feature, OverviewFact, OverviewPart
from background.events.projection_worker import ProjectionWorker
from handlers.admin import events as admin_events
from handlers.admin import rejected_events as admin_rejected_events
from handlers.admin import schemas as admin_schemas
from handlers.admin.overview import DashboardChart
from handlers.events import (
    event_detail,
    event_export,
    event_ingest,
    event_schemas,
    rejected_events,
)
from handlers.events import events as event_routes
from handlers.events.event_ingest_stream import EventStreamContext
from handlers.operations.metrics import MetricSample
from httpserver import MemoryBudget
from store.sqlite.admin.apps import APPS_CHANGED
from store.sqlite.events.event_mutations import EventMutations
from store.sqlite.events.event_queries import EventQueries
from store.sqlite.events.event_retention import EventRetention
from store.sqlite.events.rejected_event_replay import RejectedEventReplayer

EVENT_COUNTS = (
    ("received", "Events of authenticated requests"),
    ("stored", "Events committed to the event log"),
    ("duplicate", "Events with a known sender_id"),
    ("rejected", "Events rejected as invalid"),
    ("refused", "Events refused because of overload; senders retry"),
)


def build(core: Core) -> Feature:
    """Build the feature."""
    settings, database, log, schemas = core.settings, core.database, core.event_log, core.schemas
    projections = core.projections
    database.watch(APPS_CHANGED, schemas.reload)
    worker = ProjectionWorker(
        projections.step, crowded=lambda: log.is_backlogged, mend=projections.mend
    )
    ingest = event_ingest.EventIngest(core.apps, log, schemas, limit=core.rate_limits.per_token)
    queries = EventQueries(database, projections)
    mutations = EventMutations(database, log, projections)
    replayer = RejectedEventReplayer(database, log, schemas)
    retention = EventRetention(database, projections, settings.retention_days)

    def metrics() -> Iterable[MetricSample]:
        for name, words in EVENT_COUNTS:
            yield MetricSample(f"marquee_events_{name}_total", words, getattr(log.counts, name))
        yield MetricSample(
            "marquee_projections_failing",
            "Whether the last projection update failed or views.db cannot be read",
            bool(projections.trouble or worker.failing),
        )
        yield MetricSample(
            "marquee_projected_events_total", "Events added to the projections", projections.folded
        )
        yield MetricSample(
            "marquee_projection_lag_events", "Events not in the projections yet", projections.lag
        )
        yield MetricSample(
            "marquee_projection_lag_seconds",
            "Age of the oldest event that is not in the projections yet",
            projections.lag_seconds,
        )
        yield MetricSample(
            "marquee_retention_dropped_events_total",
            "Events dropped by retention",
            retention.dropped,
        )

    def notes() -> Iterable[str]:
        if projections.trouble:
            yield f"events cannot be queried: {projections.trouble}"
        if worker.failing:
            yield f"projection update failed: {worker.failing}"

    async def facts() -> list[OverviewFact]:
        return [
            ("Events stored", "/admin/events", f"{log.counts.stored:,}"),
            ("Events rejected", "/admin/rejected-events", f"{log.counts.rejected:,}"),
        ]

    return Feature(
        name="events",
        fast_routes=ingest.fast_routes(),
        routes=[
            *event_routes.routes(
                queries,
                mutations,
                EventStreamContext(
                    ingest=ingest.ingest,
                    log=log,
                    schemas=schemas,
                    max_stream_bytes=settings.max_batch,
                    max_item_bytes=settings.max_body,
                    memory_budget=core.memory_budget,
                ),
            ),
            *event_export.routes(queries, MemoryBudget()),
            *event_detail.routes(queries, mutations, core.apps, schemas),
            *rejected_events.routes(database, replayer),
            *event_schemas.routes(schemas, queries),
        ],
        admin_pages=[
            *admin_events.routes(database, queries, mutations),
            *admin_schemas.routes(database, schemas, queries),
            *admin_rejected_events.routes(database, replayer),
        ],
        workers=[worker.run],
        retention_steps=[retention.run_step],
        cleanup_steps=[mutations.retry_scrub],
        metrics=metrics,
        readiness_checks={"projections": lambda: not (projections.trouble or worker.failing)},
        readiness_notes=notes,
        overview=OverviewPart(
            count_charts=[
                (DashboardChart("events", "Events", "per second"), lambda: log.counts.stored)
            ],
            level_charts=[
                (
                    DashboardChart("wait", "Commit latency", "ms p99", 1000.0),
                    lambda: log.latencies.take(0.99),
                ),
                (
                    DashboardChart("lag", "Projection lag", "events"),
                    lambda: projections.lag,
                ),
            ],
            facts=facts,
        ),
    )
