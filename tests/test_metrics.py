"""Metrics: what a scrape gives, from any thread, and what the dashboard asks for."""

from __future__ import annotations

import asyncio
import gc
import json
import re
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from prometheus_client import CollectorRegistry, generate_latest, start_http_server
from prometheus_client.parser import text_string_to_metric_families

from eventstore import EventLog, EventStore, Histogram, StoreStats
from eventstore.metrics.opentelemetry import observe_store
from eventstore.metrics.prometheus import StoreCollector
from eventstore.metrics.table import DISTRIBUTIONS, METRICS, OPERATIONS, cumulative
from eventstore.testing import SimulatedDisk
from tests.support.bank import Withdraw, bank_registry, pay

DASHBOARD = Path(__file__).parents[1] / "examples" / "grafana" / "eventstore.json"
UNTOLD: set[str] = set()
"""Members of `StoreStats` without a metric."""


def samples(text: str) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def collecting(*stores: Any, names: tuple[str, ...] = ("bot",)) -> CollectorRegistry:
    registry, collector = CollectorRegistry(), StoreCollector()
    registry.register(collector)
    for store, name in zip(stores, names, strict=True):
        collector.add(store, name)
    return registry


def scrape(registry: CollectorRegistry) -> dict[Any, float]:
    return samples(generate_latest(registry).decode())


def of(name: str, **labels: str) -> tuple[str, frozenset[tuple[str, str]]]:
    return name, frozenset(({"store": "bot"} | labels).items())


class TestTable:
    def test_every_member_of_stats_has_a_metric(self) -> None:
        read: set[str] = set()

        class Recorder:
            def __getattr__(self, member: str) -> Any:
                read.add(member)
                return getattr(StoreStats(), member)

        recorder: Any = Recorder()
        for metric in (*METRICS, OPERATIONS):
            metric.value(recorder)
        for one in DISTRIBUTIONS:
            one.value(recorder)
        assert read | {"operations"} | UNTOLD == set(StoreStats.__struct_fields__)

    def test_names_are_those_of_prometheus(self) -> None:
        for metric in METRICS:
            assert re.fullmatch(r"eventstore_[a-z0-9_]+", metric.name)
            assert metric.name.endswith("_total") == (metric.kind == "counter")

    def test_buckets_do_not_move_with_the_values(self) -> None:
        bounds = (1.0, 2.0, 4.0)
        assert cumulative(Histogram(), bounds) == [(1.0, 0), (2.0, 0), (4.0, 0), (float("inf"), 0)]
        found = cumulative(Histogram((2.0, 4.0, 8.0), (5, 3, 1)), bounds)
        assert found == [(1.0, 0), (2.0, 5), (4.0, 8), (float("inf"), 9)]


class TestPrometheus:
    @pytest.mark.asyncio
    async def test_a_scrape_tells_what_stats_tells(self, tmp_path: Path) -> None:
        async with EventStore.open(tmp_path / "s", bank_registry()) as store:
            await store.append(pay(5), pay(1))
            await store.append(Withdraw(account="a", amount=1))
            registry = collecting(store)
            found, stats = scrape(registry), store.stats()
            assert found[of("eventstore_seq")] == 3
            assert found[of("eventstore_commits_total")] == stats.commits == 2
            assert found[of("eventstore_operations_total", operation="deposit")] == 2
            assert found[of("eventstore_operations_total", operation="withdraw")] == 1
            assert found[of("eventstore_commit_duration_seconds_bucket", le="+Inf")] == 2
            assert found[of("eventstore_failed")] == 0
            assert of("eventstore_snapshot_age_seconds") not in found

    @pytest.mark.asyncio
    async def test_over_http_from_another_thread_while_the_store_works(
        self, tmp_path: Path
    ) -> None:
        async with EventStore.open(tmp_path / "s", bank_registry()) as store:
            server, thread = start_http_server(0, "127.0.0.1", registry=collecting(store))
            address = f"http://127.0.0.1:{server.server_port}/metrics"
            try:
                last = -1.0
                for _ in range(5):
                    receipts = [store.submit(pay()) for _ in range(200)]
                    text = await asyncio.to_thread(
                        lambda: urllib.request.urlopen(address).read().decode()
                    )
                    await receipts[-1]
                    found = samples(text)[of("eventstore_seq")]
                    assert last <= found <= store.seq
                    last = found
            finally:
                server.shutdown()
                server.server_close()
                thread.join()

    @pytest.mark.asyncio
    async def test_stores_and_logs_by_name_until_they_are_forgotten(self) -> None:
        store = await EventStore.open("", bank_registry(), disk=SimulatedDisk())
        log = await EventLog.open(disk=SimulatedDisk())
        await log.append("a", "b")
        registry = collecting(store, log, names=("bot", "journal"))
        found = scrape(registry)
        assert found[of("eventstore_seq")] == 0
        assert found[of("eventstore_seq", store="journal")] == 2
        await log.close()
        await store.close()
        assert of("eventstore_seq", store="journal") in scrape(registry)
        del log
        gc.collect()
        assert of("eventstore_seq", store="journal") not in scrape(registry)
        assert of("eventstore_seq") in scrape(registry)


class TestOpenTelemetry:
    @pytest.mark.asyncio
    async def test_an_export_tells_what_stats_tells(self, tmp_path: Path) -> None:
        reader = InMemoryMetricReader()
        provider = MeterProvider(metric_readers=[reader])
        async with EventStore.open(tmp_path / "s", bank_registry()) as store:
            await store.append(pay(5), Withdraw(account="a", amount=1))
            observe_store(provider.get_meter("test"), store, "bot")
            found: dict[str, list[tuple[dict[str, Any], float]]] = {}
            data: Any = reader.get_metrics_data()
            for metric in data.resource_metrics[0].scope_metrics[0].metrics:
                points = metric.data.data_points
                found[metric.name] = [(dict(point.attributes), point.value) for point in points]
            assert found["eventstore_seq"] == [({"store": "bot"}, 2.0)]
            assert found["eventstore_operations_total"] == [
                ({"store": "bot", "operation": "deposit"}, 1),
                ({"store": "bot", "operation": "withdraw"}, 1),
            ]
            quantiles = found["eventstore_commit_duration_seconds"]
            assert [labels["quantile"] for labels, _ in quantiles] == ["0.5", "0.99", "1.0"]
            assert all(value > 0 for _, value in quantiles)
            assert not found.get("eventstore_snapshot_age_seconds")
        provider.shutdown()


class TestDashboard:
    @pytest.mark.asyncio
    async def test_it_asks_for_metrics_that_there_are(self, tmp_path: Path) -> None:
        dashboard = json.loads(DASHBOARD.read_text("utf-8"))
        asked = {
            name
            for panel in dashboard["panels"]
            for target in panel["targets"]
            for name in re.findall(r"eventstore_\w+", target["expr"])
        }
        async with EventStore.open(tmp_path / "s", bank_registry()) as store:
            await store.append(pay())
            await store.snapshot()
            there = {name for name, _ in scrape(collecting(store))}
        assert asked <= there
        assert len(asked) > 20
        assert re.findall(r"\((\w+),", dashboard["templating"]["list"][1]["query"]) == [
            "eventstore_seq"
        ]

    def test_its_panels_lie_side_by_side(self) -> None:
        dashboard = json.loads(DASHBOARD.read_text("utf-8"))
        places = [
            (x, y)
            for panel in dashboard["panels"]
            for place in [panel["gridPos"]]
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        ]
        assert len(places) == len(set(places))
        assert max(x for x, _ in places) < 24
        identities = [panel["id"] for panel in dashboard["panels"]]
        assert len(identities) == len(set(identities))


def test_the_core_loads_neither_library() -> None:
    code = (
        "import sys, eventstore; print(*{'prometheus_client', 'opentelemetry'} & set(sys.modules))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.split() == []
