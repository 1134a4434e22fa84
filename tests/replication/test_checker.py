"""A short run of the checker: faults at random, and three histories compared."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.replication.checker import Checker
from tests.replication.cluster import Cluster

SECONDS = float(os.environ.get("EVENTSTORE_REPLICATION_SECONDS", "8"))


@pytest.mark.slow
def test_every_promise_is_kept_under_faults(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path)
    try:
        cluster.start()
        checker = Checker(cluster, tmp_path, seed=7, stream="checked")
        checker.run(SECONDS)
    finally:
        cluster.stop()
    assert checker.acknowledged
    assert checker.faults
