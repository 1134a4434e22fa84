"""Metrics for Prometheus: a collector that reads the stores' `stats()` at each scrape."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from typing import Any

from prometheus_client import Metric as Family
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

from eventstore.event_log import EventLog
from eventstore.metrics.table import DISTRIBUTIONS, METRICS, OPERATIONS, cumulative, watched
from eventstore.recovery_and_stats import StoreStats
from eventstore.store import EventStore

__all__ = ["StoreCollector"]

_LABEL = "store"


class StoreCollector(Collector):
    """A collector of any number of open stores and logs, each under a name.

    >>> from prometheus_client import CollectorRegistry
    >>> registry = CollectorRegistry()
    >>> registry.register(StoreCollector())

    A scrape may come from any thread. The collector refers to stores weakly.
    """

    def __init__(self) -> None:
        self._stores: dict[str, weakref.ref[Any]] = {}

    def add(self, store: EventStore[Any] | EventLog[Any], name: str | None = None) -> None:
        """Collect the metrics of `store` from now on.

        `name` is the value of the label `store`, by default the path. A store under a known name
        takes the place of the store before. Raises `ConfigError` for any other object.
        """
        name, reference = watched(store, name)
        self._stores[name] = reference

    def collect(self) -> Iterator[Family]:
        """Read `stats()` of each store, and yield all metrics."""
        told: dict[str, StoreStats] = {}
        for name, reference in [*self._stores.items()]:
            store = reference()
            if store is None:
                self._stores.pop(name, None)
            else:
                told[name] = store.stats()
        yield from _numbers(told)
        yield from _distributions(told)

    def describe(self) -> Iterator[Family]:
        """Yield the metrics without values: no store is read at the registration."""
        yield from _numbers({})
        yield from _distributions({})


def _numbers(told: dict[str, StoreStats]) -> Iterator[Family]:
    for metric in METRICS:
        kind = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
        family = kind(metric.name, metric.meaning, labels=[_LABEL])
        for name, stats in told.items():
            value = metric.value(stats)
            if value is not None:
                family.add_metric([name], value)
        yield family
    family = CounterMetricFamily(OPERATIONS.name, OPERATIONS.meaning, labels=[_LABEL, "operation"])
    for name, stats in told.items():
        for operation, count in sorted(stats.operations.items()):
            family.add_metric([name, operation], count)
    yield family


def _distributions(told: dict[str, StoreStats]) -> Iterator[Family]:
    for one in DISTRIBUTIONS:
        family = HistogramMetricFamily(one.name, one.meaning, labels=[_LABEL])
        for name, stats in told.items():
            rows = cumulative(one.value(stats), one.bounds)
            buckets = [(_bound(bound), float(count)) for bound, count in rows]
            family.add_metric([name], buckets, sum_value=None)
        yield family


def _bound(bound: float) -> str:
    return "+Inf" if bound == float("inf") else f"{bound:.6g}"
