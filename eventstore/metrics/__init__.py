"""Metrics of open stores, for Prometheus and OpenTelemetry.

Metrics are read from `stats()` at a scrape or an export, on the thread of the scrape. Nothing is
counted for metrics alone, and the commit path does not know the metrics. The extra `metrics` has
the dependency of each module::

    from eventstore.metrics.prometheus import StoreCollector
    from eventstore.metrics.opentelemetry import observe_store

The references to stores are weak. A forgotten store has no metrics any more.
"""
