"""Metrics for OpenTelemetry: observable instruments that read `stats()` at each export.

OpenTelemetry has no observable histogram. A distribution is told by the median, the 99th percentile
and the largest value, as upper bounds (`Histogram.quantile`), under the attribute `quantile`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from opentelemetry.metrics import CallbackOptions, Meter, Observation

from eventstore.event_log import EventLog
from eventstore.metrics.table import (
    DISTRIBUTIONS,
    METRICS,
    OPERATIONS,
    Distribution,
    Metric,
    watched,
)
from eventstore.recovery_and_stats import StoreStats
from eventstore.store import EventStore

__all__ = ["observe_store"]

_QUANTILES = (0.5, 0.99, 1.0)

Callback = Callable[[CallbackOptions], Iterable[Observation]]


def observe_store(
    meter: Meter, store: EventStore[Any] | EventLog[Any], name: str | None = None
) -> None:
    """Make the instruments of `store` on `meter`, with the names of the Prometheus metrics.

    `name` is the value of the attribute `store`, by default the path. Every store needs
    a meter of its own, because an instrument keeps its first callbacks. An export may come from any
    thread. The instruments refer to the store weakly. Raises `ConfigError` for any other object.
    """
    name, reference = watched(store, name)
    attributes = {"store": name}

    def told() -> StoreStats | None:
        found = reference()
        return None if found is None else found.stats()

    for metric in METRICS:
        create = (
            meter.create_observable_counter
            if metric.kind == "counter"
            else meter.create_observable_gauge
        )
        callback = _number(told, metric, attributes)
        create(metric.name, [callback], unit=metric.unit, description=metric.meaning)
    meter.create_observable_counter(
        OPERATIONS.name, [_operations(told, attributes)], description=OPERATIONS.meaning
    )
    for one in DISTRIBUTIONS:
        meter.create_observable_gauge(
            one.name, [_quantiles(told, one, attributes)], unit=one.unit, description=one.meaning
        )


def _number(
    told: Callable[[], StoreStats | None], metric: Metric, attributes: dict[str, str]
) -> Callback:
    def observe(_options: CallbackOptions) -> Iterable[Observation]:
        stats = told()
        value = None if stats is None else metric.value(stats)
        return [] if value is None else [Observation(float(value), attributes)]

    return observe


def _operations(told: Callable[[], StoreStats | None], attributes: dict[str, str]) -> Callback:
    def observe(_options: CallbackOptions) -> Iterable[Observation]:
        stats = told()
        counts = {} if stats is None else stats.operations
        return [
            Observation(count, {**attributes, "operation": operation})
            for operation, count in sorted(counts.items())
        ]

    return observe


def _quantiles(
    told: Callable[[], StoreStats | None], one: Distribution, attributes: dict[str, str]
) -> Callback:
    def observe(_options: CallbackOptions) -> Iterable[Observation]:
        stats = told()
        histogram = None if stats is None else one.value(stats)
        if histogram is None or not histogram.total:
            return []
        return [
            Observation(histogram.quantile(share), {**attributes, "quantile": str(share)})
            for share in _QUANTILES
        ]

    return observe
