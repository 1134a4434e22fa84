"""Records gathered at submission: their bounds, their outcomes, and what they keep alive."""

from __future__ import annotations

import asyncio
import errno
import gc
from typing import Any

import pytest

from eventstore import EventStore, StoreFullError
from eventstore.disk.layout import segment_name
from eventstore.log.base import Record, Submission
from eventstore.log.levels import SYNCED, TIMED, UNTIMED
from eventstore.log.record_queue import MAX_RECORD_BYTES, MAX_RECORD_EVENTS, RecordQueue
from eventstore.model.operation import Outcome, Receipt
from eventstore.testing import SimulatedDisk
from tests.support.bank import bank_after, bank_registry, pay

QUIET: dict[str, Any] = {"wal_max_entries": None, "auto_save_interval": None, "idle_seal": 3600.0}


def add(queue: RecordQueue, count: int = 1, body: bytes = b"x", level: int = SYNCED) -> Receipt:
    last = queue.waiting[-1].entries[-1].seq if queue.waiting else 0
    return queue.add(last + 1, body, count, 0, level, None, None, None)


def of_events(queue: RecordQueue) -> list[int]:
    return [record.events for record in queue.waiting]


class TestGathering:
    def test_submissions_join_one_record(self) -> None:
        queue = RecordQueue()
        receipts = [add(queue, count) for count in (1, 3, 2)]
        assert [(one.first_seq, one.seq) for one in receipts] == [(1, 1), (2, 4), (5, 6)]
        assert of_events(queue) == [6]

    def test_a_record_has_so_many_events_at_most(self) -> None:
        queue = RecordQueue()
        for count in (MAX_RECORD_EVENTS - 1, 1, 1, MAX_RECORD_EVENTS, 5):
            add(queue, count)
        assert of_events(queue) == [MAX_RECORD_EVENTS, 1, MAX_RECORD_EVENTS, 5]

    def test_and_so_many_bytes(self) -> None:
        queue = RecordQueue()
        for size in (MAX_RECORD_BYTES // 2, MAX_RECORD_BYTES // 2, 1, MAX_RECORD_BYTES + 1, 1):
            add(queue, body=bytes(size))
        assert of_events(queue) == [2, 1, 1, 1]

    def test_the_strictest_level_is_the_records(self) -> None:
        queue = RecordQueue()
        levels = []
        for level in (UNTIMED, TIMED, UNTIMED, SYNCED, TIMED):
            add(queue, level=level)
            levels.append(queue.waiting[0].level)
        assert levels == [UNTIMED, TIMED, TIMED, SYNCED, SYNCED]

    def test_the_state_of_the_last_submission_alone_is_kept(self) -> None:
        queue = RecordQueue()
        for number in range(1, 5):
            queue.add(number, b"x", 1, 0, SYNCED, None, f"state {number}", None)
        (record,) = queue.waiting
        assert [entry.state for entry in record.entries] == [None, None, None, "state 4"]

    def test_an_interruption_leaves_no_empty_record(self) -> None:
        """The exception came between the record and its first submission."""
        queue = RecordQueue()
        add(queue)
        queue.waiting.append(Record(Outcome()))
        queue.repair(None)
        assert of_events(queue) == [1]
        queue.repair(queue.waiting[0])  # in flight already
        assert not queue.waiting


class TestOutcomes:
    def test_receipts_of_one_record_share_one(self) -> None:
        queue = RecordQueue()
        first, second = add(queue), add(queue)
        third = add(queue, MAX_RECORD_EVENTS)
        queue.waiting[0].outcome.resolve()
        assert (first.done, second.done, third.done) == (True, True, False)
        queue.waiting[1].outcome.resolve(OSError("no"))
        assert (first.error, repr(third.error)) == (None, "OSError('no')")

    @pytest.mark.asyncio
    async def test_one_that_is_awaited_does_not_answer_for_the_others(self) -> None:
        """`flush` tells of a failed record until every receipt of the record was awaited."""
        disk = SimulatedDisk()
        async with EventStore.open("", bank_registry(), QUIET, disk=disk) as store:
            await store.append(pay())
            disk.fail(kind="write", name=segment_name(1), errno=errno.ENOSPC)
            first = store.submit(pay(1))  # in flight, alone
            others = [store.submit(pay(2)) for _ in range(3)]
            with pytest.raises(StoreFullError):
                await first
            for other in others[:2]:
                with pytest.raises(StoreFullError):
                    await other
            with pytest.raises(StoreFullError):
                await store.flush()
            await store.flush()
            assert store.state == bank_after(1)

    @pytest.mark.asyncio
    async def test_no_receipt_is_resolved_by_another_record(self) -> None:
        async with EventStore.open("", bank_registry(), QUIET, disk=SimulatedDisk()) as store:
            await store.append(pay())
            alone = store.submit(pay(1))
            shared = [store.submit(pay(2)) for _ in range(10)]
            done: list[tuple[bool, bool]] = []
            while not shared[-1].done:
                done.append((alone.done, shared[0].done))
                await asyncio.sleep(0)
            assert (True, False) in done


class TestGarbage:
    def test_a_submission_is_nothing_for_the_collector(self) -> None:
        assert not gc.is_tracked(Submission(1, 1, 0, b"x", None, {"a": 1}))

    @pytest.mark.asyncio
    async def test_a_burst_leaves_the_collector_nothing_to_walk_through(self) -> None:
        """The log keeps no object of a submission that the collector looks at."""
        async with EventStore.open("", bank_registry(), QUIET, disk=SimulatedDisk()) as store:
            await store.append(pay())
            operations = [pay() for _ in range(2000)]

            def tracked() -> int:
                gc.collect()
                return len(gc.get_objects())

            store.submit(operations[0])
            before = tracked()
            for operation in operations[1:]:
                store.submit(operation)
            assert tracked() - before < 20
            await store.flush()
            assert store.seq == 2001

    @pytest.mark.asyncio
    async def test_a_receipt_that_is_held_has_its_own_state(self) -> None:
        async with EventStore.open("", bank_registry(), QUIET, disk=SimulatedDisk()) as store:
            await store.append(pay())
            receipts = [store.submit(pay()) for _ in range(3)]
            for receipt in receipts:
                await receipt
            assert [receipt.state for receipt in receipts] == [
                bank_after(1, 1),
                bank_after(1, 1, 1),
                bank_after(1, 1, 1, 1),
            ]
