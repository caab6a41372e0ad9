"""What the running program counts, for `/metrics` and the owner's pages."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from background.audience.toppages_client import UpstreamToppagesClient
from handlers.operations.metrics import MetricSample
from httpserver import Server

if TYPE_CHECKING:
    from server import Marquee


def all_metrics(marquee: "Marquee") -> Iterable[MetricSample]:
    """What the parts count, fresh."""
    yield MetricSample("marquee_ready", "Whether visitors may come", marquee.readiness().ready)
    yield MetricSample("marquee_commits_total", "Commits to marquee.db", marquee.database.commits)
    yield MetricSample("marquee_wal_bytes", "Size of marquee.db-wal", marquee.database.wal_bytes)
    hold = marquee.database.longest_hold / 1000
    yield MetricSample(
        "marquee_longest_hold_seconds", "The longest that a step held the writer", hold
    )
    for name, words in (
        ("received", "Events of authenticated requests"),
        ("stored", "Events on disk"),
        ("duplicate", "Events that were on disk already"),
        ("rejected", "Events that were wrong"),
        ("refused", "Events turned away, to be sent again"),
    ):
        yield MetricSample(f"marquee_events_{name}_total", words, getattr(marquee.log.counts, name))
    words = "Times that an app's stories were read into memory"
    yield MetricSample("marquee_stories_reads_total", words, marquee.shelves.cache.loads)
    views = marquee.views
    words = "Whether the last update of views.db failed, or it cannot be read"
    failing = bool(views.trouble or marquee.folding.failing)
    yield MetricSample("marquee_projections_failing", words, failing)
    words = "Whether the last step of retention failed"
    yield MetricSample("marquee_retention_failing", words, bool(marquee.upkeep.failing))
    yield MetricSample("marquee_folded_total", "Events folded into views.db", views.folded)
    yield MetricSample("marquee_fold_lag_events", "Events not in views.db yet", views.lag)
    words = "How long the oldest of those has waited"
    yield MetricSample("marquee_fold_lag_seconds", words, views.lag_seconds)
    dropped = marquee.retention.dropped
    yield MetricSample("marquee_dropped_events_total", "Events dropped for their age", dropped)
    yield MetricSample("marquee_held_bytes", "Bytes that bodies hold", marquee.room.held)
    for limit in filter(None, (marquee.rates.per_address, marquee.rates.per_token)):
        words = "Requests turned away as too many came"
        yield MetricSample("marquee_limited_total", words, limit.rejected_count, ("by", limit.name))
    yield from _audience_metrics(marquee)
    if not isinstance(marquee.listener, Server):
        return
    stats = marquee.listener.stats
    yield MetricSample("marquee_connections", "Connections open", marquee.listener.connections)
    yield MetricSample("marquee_connections_total", "Connections accepted", stats.accepted)
    yield MetricSample("marquee_connections_refused_total", "Connections too many", stats.refused)
    words = "Requests turned away by their heads, for want of room or of a right"
    yield MetricSample("marquee_turned_away_total", words, stats.turned_away)
    words = "Connections closed because too many bytes waited for slow readers"
    yield MetricSample("marquee_slow_readers_total", words, stats.slow_readers)
    yield MetricSample("marquee_wire_errors_total", "Requests refused for their form", stats.errors)
    for kind in ("header", "body", "idle", "write"):
        words = "Connections cut for the time that they took"
        cut = stats.timeouts[kind]
        yield MetricSample("marquee_timeouts_total", words, cut, ("kind", kind))


def _audience_metrics(marquee: "Marquee") -> Iterable[MetricSample]:
    presence, sampler = marquee.presence, marquee.sampler
    yield MetricSample("marquee_visits", "Visits: a session on a page", presence.visits)
    words = "Signs of life for which there was no room"
    yield MetricSample("marquee_visits_turned_away_total", words, presence.turned_away)
    words = "Visits that made room for those of an app or host with fewer"
    yield MetricSample("marquee_visits_displaced_total", words, presence.displaced)
    yield MetricSample("marquee_watched_hosts", "Hosts that are watched", len(sampler.watches))
    yield MetricSample("marquee_readings_total", "Readings of watched hosts", sampler.readings)
    words = "Readings that failed"
    yield MetricSample("marquee_readings_failed_total", words, sampler.failures)
    yield MetricSample("marquee_listeners", "Listeners to streams", marquee.feeds.listeners)
    words = "Listeners let go, as they were slow"
    yield MetricSample("marquee_listeners_dropped_total", words, marquee.feeds.dropped)
    if isinstance(marquee.source, UpstreamToppagesClient):
        asked, failed = marquee.source.requests, marquee.source.failures
        yield MetricSample("marquee_upstream_requests_total", "Requests to the upstream", asked)
        yield MetricSample("marquee_upstream_failed_total", "Of them, without an answer", failed)
        words, skipped = "Invalid pages skipped in upstream responses", marquee.source.skipped
        yield MetricSample("marquee_upstream_pages_skipped_total", words, skipped)
