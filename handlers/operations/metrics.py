"""The server's figures, as Prometheus text."""

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
    """One number; a name that ends in _total is a counter. Those of a name follow each other."""

    name: str
    words: str
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


def _metric_family(name: str, figures: list[MetricSample]) -> Metric:
    kind = CounterMetricFamily if name.endswith("_total") else GaugeMetricFamily
    labels = [figure.label[0] for figure in figures[:1] if figure.label]
    family = kind(name.removesuffix("_total"), figures[0].words, labels=labels)
    for figure in figures:
        family.add_metric([figure.label[1]] if figure.label else [], figure.value)
    return family


class MetricsHandler(BaseHandler):
    """`/metrics`."""

    def initialize(self, metrics: MetricsCollector) -> None:
        """`metrics` are what is told."""
        self._metrics = metrics

    def get(self) -> None:
        """All figures, as text."""
        self.set_header("Content-Type", CONTENT_TYPE_PLAIN_0_0_4)
        self.finish(generate_latest(self._metrics.registry))
