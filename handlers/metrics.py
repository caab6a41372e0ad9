"""The server's figures, as Prometheus text."""

from collections.abc import Callable, Iterable, Sequence

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from handlers.base import Handler
from wire import Lane

Figure = tuple[str, str, float]  # name, help, value; a name that ends in _total is a counter


class Metrics(Collector):
    """Gathers what the parts count for themselves: nothing is counted twice, or on the way."""

    def __init__(
        self,
        lanes: Sequence[Lane],
        routes: Callable[[], Iterable[tuple[str, int, int]]],
        figures: Callable[[], Iterable[Figure]],
    ) -> None:
        """`routes` gives (route, status, count) of the control plane; `figures` all else."""
        self._lanes = lanes
        self._routes = routes
        self._figures = figures
        self.registry = CollectorRegistry()
        self.registry.register(self)
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)

    def collect(self) -> Iterable[Metric]:
        """The families, fresh."""
        requests = CounterMetricFamily(
            "marquee_http_requests", "Answers by route and status", labels=["route", "status"]
        )
        for lane in self._lanes:
            for status, count in lane.statuses.items():
                requests.add_metric([lane.name, str(status)], count)
        for route, status, count in self._routes():
            requests.add_metric([route, str(status)], count)
        yield requests
        for name, words, value in self._figures():
            if name.endswith("_total"):
                yield CounterMetricFamily(name.removesuffix("_total"), words, value)
            else:
                yield GaugeMetricFamily(name, words, value)


class Exposition(Handler):
    """`/metrics`."""

    def initialize(self, metrics: Metrics) -> None:
        """`metrics` are what is told."""
        self._metrics = metrics

    def get(self) -> None:
        """All figures, as text."""
        self.set_header("Content-Type", CONTENT_TYPE_PLAIN_0_0_4)
        self.finish(generate_latest(self._metrics.registry))
