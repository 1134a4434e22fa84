"""One cluster for all tests of a worker, and a stream of its own for each test."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.replication.cluster import Cluster

_numbers = itertools.count()


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Three servers. A test that kills one starts it again."""
    made = Cluster(tmp_path_factory.mktemp("nats"))
    try:
        made.start()
        yield made
    finally:
        made.stop()


@pytest.fixture
def replicate(cluster: Cluster) -> dict[str, Any]:
    """The configuration of a stream that no other test has.

    A server that the test before has started or let go on may not take a new stream yet.
    """
    if any(node.disturbed for node in cluster.nodes):
        asyncio.run(cluster.ready())
    name = f"s{next(_numbers)}"
    return {"servers": cluster.urls, "stream": name, "acknowledge": "quorum", "lease": 2.0}


@pytest.fixture
def directories(tmp_path: Path) -> list[Path]:
    """Two machines, each with a directory for a store."""
    return [tmp_path / "one", tmp_path / "two"]
