"""The operations feature: health, metrics, retention, control socket, home page, API reference."""

import os
import platform
from collections.abc import Iterable
from functools import partial
from time import monotonic

from app.core import STATIC_SETTINGS, Core
from app.feature import Feature, OverviewPart
from background.events.projection_worker import REST_RATIO
from background.events.retention_worker import RetentionWorker
from domain.common import formatting
from domain.common.timestamp import format_timestamp
from handlers.admin import health as admin_health
from handlers.admin.overview import DashboardChart
from handlers.common.base_handler import StaticAssetHandler
from handlers.common.route import Route
from handlers.openapi import docs_page
from handlers.operations import health
from handlers.operations.control_socket import ControlService
from handlers.operations.home import HomeHandler
from handlers.operations.metrics import MetricSample, MetricsCollector, MetricsHandler
from httpserver import Server
from store.sqlite.core.clock_record import save_clock_state
from store.sqlite.core.data_folder import DATABASE_FILE, IMAGES_FOLDER, PROJECTIONS_FILE
from store.sqlite.core.integrity_check import SAFE_SQLITE_VERSION, SQLITE_VERSION
from store.sqlite.events.event_queries import EventQueries
from store.sqlite.events.rejected_event_replay import RejectedEventReplayer
from store.sqlite.imports.import_staging import ImportStaging

SQLITE_VERSION_TEXT = ".".join(map(str, SQLITE_VERSION))


def build(core: Core) -> Feature:
    """Build the feature."""
    database = core.database
    staging = ImportStaging(database, core.data / IMAGES_FOLDER)
    control = ControlService(
        database,
        staging,
        core.import_published,
        partial(core.projections.rebuild, rest=REST_RATIO),
        EventQueries(database, core.projections, internal=True),
        RejectedEventReplayer(database, core.event_log, core.schemas),
    )
    retention = RetentionWorker(
        core.retention_steps,
        core.cleanup_steps,
        trust=core.clock_state,
        note=partial(save_clock_state, database),
    )
    readiness = Route(r"/readyz", health.ReadinessHandler, {"readiness": core.readiness}, "readyz")
    collector = MetricsCollector(core.request_counts, core.metrics)

    def notes() -> Iterable[str]:
        yield from _database_notes(core)
        yield from filter(None, (retention.doubt, retention.failing))

    def metrics() -> Iterable[MetricSample]:
        yield MetricSample(
            "marquee_ready", "Whether all readiness checks hold", core.readiness().ready
        )
        yield from _database_metrics(core)
        yield MetricSample(
            "marquee_retention_failing",
            "Whether the last retention step failed",
            bool(retention.failing),
        )
        yield from _request_metrics(core)
        if isinstance(core.http_server, Server):
            yield from _connection_metrics(core.http_server)

    return Feature(
        name="operations",
        fast_routes=health.fast_routes(),
        routes=[
            Route(r"/", HomeHandler, {"pages": core.pages}, "home"),
            readiness,
            Route(r"/metrics", MetricsHandler, {"metrics": collector}, "metrics"),
            *docs_page.routes(core.pages),
            Route(
                r"/static/(.*)",
                StaticAssetHandler,
                {"path": STATIC_SETTINGS["static_path"]},
                "static file",
            ),
        ],
        control_routes=[*control.routes(), readiness],
        admin_pages=admin_health.routes(core.readiness, core.metrics, lambda: _process_facts(core)),
        workers=[retention.run, staging.clean_up],
        close=control.close,
        metrics=metrics,
        readiness_checks={
            "migrated": lambda: True,  # `Database.open` fails otherwise
            "writer": lambda: database.failed is None,
            "taking": lambda: not core.stopping.is_set(),
        },
        readiness_notes=notes,
        startup_lines=lambda base_url: [
            f"health      {base_url}/readyz and {base_url}/metrics",
            f"data        {core.data.resolve()}",
        ],
        overview=OverviewPart(
            count_charts=[
                (DashboardChart("commits", "Commits", "per second"), lambda: database.commits)
            ]
        ),
    )


def _database_notes(core: Core) -> Iterable[str]:
    database = core.database
    if SQLITE_VERSION < SAFE_SQLITE_VERSION:
        yield (
            f"SQLite {SQLITE_VERSION_TEXT} can corrupt a database that two connections write to "
            "(fixed in 3.51.3); Marquee writes with one connection: let no other program write"
        )
    if database.held_back:
        yield (
            f"marquee.db-wal has {database.wal_bytes // 1_000_000} MB: another program has "
            "marquee.db open in a long read; the file shrinks when that read ends"
        )
    if database.lost:
        yield f"{database.lost} commits in marquee.db-wal were missing at the start"
    elif core.events_lost_at is not None:
        yield (
            f"on {format_timestamp(core.events_lost_at)[:10]}, acknowledged events were missing "
            f"from {DATABASE_FILE} (a corrupt or removed {DATABASE_FILE}-wal, or an older copy "
            "restored)"
        )


def _database_metrics(core: Core) -> Iterable[MetricSample]:
    database = core.database
    yield MetricSample("marquee_commits_total", "Commits to marquee.db", database.commits)
    yield MetricSample("marquee_wal_bytes", "Size of marquee.db-wal in bytes", database.wal_bytes)
    yield MetricSample(
        "marquee_writer_longest_hold_seconds",
        "Longest time that one job held the writer connection",
        database.longest_hold / 1000,
    )


def _request_metrics(core: Core) -> Iterable[MetricSample]:
    yield MetricSample(
        "marquee_request_body_bytes",
        "Bytes of request bodies in memory",
        core.memory_budget.reserved,
    )
    for limit in filter(None, (core.rate_limits.per_address, core.rate_limits.per_token)):
        yield MetricSample(
            "marquee_rate_limited_requests_total",
            "Requests rejected by a rate limit",
            limit.rejected_count,
            ("by", limit.name),
        )


def _connection_metrics(server: Server) -> Iterable[MetricSample]:
    stats = server.stats
    yield MetricSample("marquee_connections", "Open connections", server.open_connections)
    yield MetricSample("marquee_connections_total", "Accepted connections", stats.accepted)
    yield MetricSample(
        "marquee_connections_refused_total",
        "Connections refused because of max_connections",
        stats.refused_connections,
    )
    yield MetricSample(
        "marquee_requests_rejected_early_total",
        "Requests rejected before the body was read (overload or missing scope)",
        stats.rejected_before_body,
    )
    yield MetricSample(
        "marquee_slow_readers_total",
        "Connections closed because their unread responses filled the memory budget",
        stats.closed_slow_readers,
    )
    yield MetricSample(
        "marquee_malformed_requests_total", "Requests rejected as malformed HTTP", stats.errors
    )
    for kind in ("header", "body", "idle", "write"):
        yield MetricSample(
            "marquee_connection_timeouts_total",
            "Connections closed by a timeout",
            stats.timeouts[kind],
            ("kind", kind),
        )


def _process_facts(core: Core) -> dict[str, str]:
    """Return the facts of `/admin/health` by label."""
    sizes = []
    for name in (DATABASE_FILE, PROJECTIONS_FILE):
        path = core.data / name
        sizes.append(
            f"{name} {formatting.format_size(path.stat().st_size if path.exists() else 0)}"
        )
    return {
        "Uptime": formatting.format_duration(monotonic() - core.started_at),
        "Data folder": str(core.data.resolve()),
        "Database size": ", ".join(sizes),
        "Time zone": core.settings.tz,
        "Python": platform.python_version(),
        "SQLite": SQLITE_VERSION_TEXT,
        "Process id": str(os.getpid()),
    }
