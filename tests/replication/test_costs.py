"""The costs of replication for an append, counted and not timed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support.bank import pay
from tests.test_costs import LONE, RECORD, THREADSAFE, Calls, calls, counting, store_at

__all__ = ["calls"]

ADDED = 2
"""Calls of the product for each record with `acknowledge: local`, on the writer's thread: the
record is added to the backlog, and the backlog learns that the record is durable."""


@pytest.mark.asyncio
async def test_a_record_costs_two_calls_and_wakes_nobody(calls: Calls, tmp_path: Path) -> None:
    replicate: dict[str, Any] = {"servers": ["nats://127.0.0.1:1"], "stream": "bot"}
    async with store_at(tmp_path / "store", replicate=replicate) as store:
        with counting(calls):
            for number in range(50):
                await store.append(pay(number + 1))
        assert store.stats().unreplicated == 51
    assert calls.product["loop"] <= 50 * LONE
    assert calls.product["writer"] <= 50 * (RECORD + ADDED)
    assert calls.writer[THREADSAFE] == 0
    assert calls.writer["Backlog.add"] == calls.writer["Shipper.synced"] == 50
