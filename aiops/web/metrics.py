"""Our own ``/metrics``: families become prometheus_client metrics, fresh at each scrape."""

from collections.abc import Callable, Iterable, Iterator

from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from aiops.signals.telemetry import Family, FamilyKind


class _Families(Collector):
    """Ask for the families anew at each scrape, so that what is gone is gone."""

    def __init__(self, families: Callable[[], Iterable[Family]]) -> None:
        self._families = families

    def collect(self) -> Iterator[Metric]:
        for family in self._families():
            if not family.samples:
                continue
            names = sorted({name for labels, _ in family.samples for name in labels})
            metric = (
                CounterMetricFamily(family.name, family.help, labels=names)
                if family.kind is FamilyKind.COUNTER
                else GaugeMetricFamily(family.name, family.help, labels=names)
            )
            for labels, value in family.samples:
                metric.add_metric([labels.get(name, "") for name in names], value)
            yield metric


class MetricsPage:
    """Writes the page in the format that the scraper asked for."""

    def __init__(self, families: Callable[[], Iterable[Family]]) -> None:
        self._registry = CollectorRegistry(auto_describe=False)
        ProcessCollector(registry=self._registry)
        PlatformCollector(registry=self._registry)
        self._registry.register(_Families(families))

    def render(self, accept: str) -> tuple[bytes, str]:
        """Return the body and its Content-Type for an ``Accept`` header (text 0.0.4 or OpenMetrics 1.0)."""
        encoder, content_type = choose_encoder(accept)
        return encoder(self._registry), content_type
