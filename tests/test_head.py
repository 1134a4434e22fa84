"""The head, and what a receipt knows: to decide by, before a crash is ruled out."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path

import pytest

from eventstore import (
    Event,
    EventLog,
    EventStore,
    HandlerRegistry,
    Operation,
    StoreFailedError,
    StoreFullError,
    StoreUsageError,
    handler,
)
from eventstore.testing import Call, Fault, SimulatedDisk
from tests.support.bank import bank_after, bank_registry, pay
from tests.support.gates import GatedDisk, commits


class Tick(Operation):
    name: str


@handler
def tick(state: dict[str, int], event: Event[Tick]) -> dict[str, int]:
    return {**state, event.data.name: state.get(event.data.name, 0) + 1}


def failing_once(kind: str, code: int) -> Callable[[Call], Fault | None]:
    """A rule: the next such call on a segment fails."""
    left = [Fault(code)]
    return lambda call: left.pop() if left and call.kind == kind and "log/0" in call.name else None


class TestHead:
    @pytest.mark.asyncio
    async def test_the_head_holds_what_is_in_flight_and_state_does_not(
        self, tmp_path: Path
    ) -> None:
        disk = GatedDisk(tmp_path / "s", commits)
        async with EventStore.open("", bank_registry(), disk=disk) as store:
            disk.gate.shut()
            first, second = store.submit(pay(1)), store.submit(pay(2))
            await disk.gate.reached()
            assert (store.head, store.state) == (bank_after(1, 2), bank_after())
            disk.gate.open()
            await second
            assert store.head == store.state == bank_after(1, 2)
            assert (first.state, second.state) == (bank_after(1), bank_after(1, 2))

    @pytest.mark.asyncio
    async def test_a_refused_commit_takes_the_head_back(self) -> None:
        disk = SimulatedDisk()
        async with EventStore.open("", bank_registry(), disk=disk) as store:
            await store.append(pay(1))
            disk.add_rule(failing_once("write", errno.ENOSPC))
            receipt = store.submit(pay(2))
            with pytest.raises(StoreFullError):
                await receipt
            assert store.head == store.state == bank_after(1)
            assert store.head_seq == 1
            with pytest.raises(StoreFullError):
                _ = receipt.state

    @pytest.mark.asyncio
    async def test_after_a_failed_commit_the_head_raises(self) -> None:
        disk = SimulatedDisk()
        store = await EventStore.open("", bank_registry(), disk=disk)
        disk.add_rule(failing_once("sync", errno.EIO))
        with pytest.raises(StoreFailedError):
            await store.append(pay(1))
        with pytest.raises(StoreFailedError):
            _ = store.head
        assert store.state == bank_after()
        await store.close()

    @pytest.mark.asyncio
    async def test_a_store_opened_to_read_has_its_state_as_head(self, tmp_path: Path) -> None:
        async with EventStore.open(tmp_path / "s", bank_registry()) as store:
            await store.append(pay(1))
        async with EventStore.open(tmp_path / "s", bank_registry(), read_only=True) as reader:
            assert (reader.head, reader.head_seq) == (bank_after(1), 1)

    @pytest.mark.asyncio
    async def test_a_mutable_head_and_a_receipts_state_are_copies(self) -> None:
        async with EventStore.in_memory(HandlerRegistry(tick)) as store:
            receipt = await store.append(Tick(name="a"))
            store.head["a"] = receipt.state["a"] = 5
            assert store.head == store.state == receipt.state == {"a": 1}


class TestReceipt:
    @pytest.mark.asyncio
    async def test_a_receipt_has_its_events_and_the_state_right_after_them(self) -> None:
        async with EventStore.open("", bank_registry(), disk=SimulatedDisk()) as store:
            receipt = await store.append(pay(1), pay(2), key="k")
            await store.append(pay(4))
            assert [event async for event in store.events(stop=3)] == list(receipt.events)
            assert (receipt.state, store.state) == (bank_after(1, 2), bank_after(1, 2, 4))
            assert receipt.duplicate is False

    @pytest.mark.asyncio
    async def test_the_state_of_a_pending_receipt_is_not_given_out(self, tmp_path: Path) -> None:
        disk = GatedDisk(tmp_path / "s", commits)
        async with EventStore.open("", bank_registry(), disk=disk) as store:
            disk.gate.shut()
            receipt = store.submit(pay(1))
            with pytest.raises(StoreUsageError, match=r"await the receipt first\. store\.head"):
                _ = receipt.state
            assert [event.seq for event in receipt.events] == [1]
            disk.gate.open()
            assert (await receipt).state == bank_after(1)

    @pytest.mark.asyncio
    async def test_a_log_folds_nothing(self) -> None:
        async with EventLog.open(disk=SimulatedDisk()) as log:
            receipt = await log.append("value")
            assert receipt.events == ()
            with pytest.raises(StoreUsageError, match="nothing was folded"):
                _ = receipt.state
