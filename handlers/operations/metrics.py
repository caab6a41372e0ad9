"""`/metrics`: the Prometheus exposition."""

from collections.abc import Callable, Iterable, Mapping
from itertools import groupby
from typing import NamedTuple

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from handlers.common.base_handler import BaseHandler


class MetricSample(NamedTuple):
    """A sample of a metric; a name that ends in `_total` is a counter.

    Samples with the same name must be adjacent.
    """

    name: str
    description: str
    value: float
    label: tuple[str, str] | None = None


class MetricsCollector(Collector):
    """Reads the counts of all components at each scrape; requests carry no extra counters."""

    def __init__(
        self,
        request_counts: Callable[[], Mapping[tuple[str, int], int]],
        samples: Callable[[], Iterable[MetricSample]],
    ) -> None:
        """`request_counts` returns the number of responses by (route name, status)."""
        self._request_counts = request_counts
        self._samples = samples
        self.registry = CollectorRegistry()
        self.registry.register(self)
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)

    def collect(self) -> Iterable[Metric]:
        """Return the metric families with their current values."""
        requests = CounterMetricFamily(
            "marquee_http_requests", "Responses by route and status", labels=["route", "status"]
        )
        for (route, status), count in self._request_counts().items():
            requests.add_metric([route, str(status)], count)
        yield requests
        for name, samples in groupby(self._samples(), key=lambda sample: sample.name):
            yield _metric_family(name, list(samples))


def _metric_family(name: str, samples: list[MetricSample]) -> Metric:
    family_type = CounterMetricFamily if name.endswith("_total") else GaugeMetricFamily
    labels = [sample.label[0] for sample in samples[:1] if sample.label]
    family = family_type(name.removesuffix("_total"), samples[0].description, labels=labels)
    for sample in samples:
        family.add_metric([sample.label[1]] if sample.label else [], sample.value)
    return family


class MetricsHandler(BaseHandler):
    """`GET /metrics`."""

    def initialize(self, metrics: MetricsCollector) -> None:
        """Set the collector; called by Tornado for each request."""
        self._metrics = metrics

    def get(self) -> None:
        """Send all metrics in the Prometheus text format."""
        self.set_header("Content-Type", CONTENT_TYPE_PLAIN_0_0_4)
        self.finish(generate_latest(self._metrics.registry))
