"""Findings of the property tests, as programs of a few steps."""

from __future__ import annotations

import itertools

import msgspec

from eventstore import Durability, EventStore, StoreConfig
from eventstore.testing import SimulatedDisk
from eventstore.testing.virtual_time import run_in_virtual_time
from tests.stateful.session import Session
from tests.torture.crash_points import Point
from tests.torture.ledger import Deposit, ledger_registry
from tests.torture.oracle import Record

REGISTRY = ledger_registry()
CONFIG = StoreConfig(segment_size=4096, wal_max_entries=None, auto_save_interval=None)


def deposit(number: int, memo: str = "") -> Deposit:
    return Deposit(number=number, account="cash", amount=1, memo=memo)


def test_a_segment_that_compaction_takes_before_its_seal_was_written_again() -> None:
    """A crash between a new segment's name and its first record, then a snapshot and an append.

    Nobody knows whether the seal of the earlier segment is on the disk, so the next append writes
    the seal again. Meanwhile the snapshot has that segment archived. The append failed the store.
    """

    async def program() -> None:
        disk = SimulatedDisk()
        claims = Record().claim()
        before_the_record: list[SimulatedDisk] = []
        async with EventStore.open("ledger", REGISTRY, CONFIG, disk=disk) as store:
            await store.append(deposit(1, "x" * 5000))

            def watch(call: object) -> None:
                if str(call).startswith("write log/00000000000000000002.log 512"):
                    before_the_record.append(disk.clone())

            disk.add_rule(watch)
            await store.append(deposit(2, "x" * 5000))
        _, left, _ = Point(0, "before", before_the_record[0], claims).image("kill")
        async with EventStore.open("ledger", REGISTRY, CONFIG, disk=left) as store:
            assert await store.snapshot() == store.seq == 1
            assert "archive/00000000000000000001.log.zst" in left.files()
            assert "log/00000000000000000001.log" not in left.files()
            assert (await store.append(deposit(3))).seq == 2
        async with EventStore.open("ledger", REGISTRY, CONFIG, disk=left.reopen()) as store:
            assert [event.data.number async for event in store.events()] == [1, 3]

    run_in_virtual_time(program())


def test_a_store_that_tells_of_unsynced_events_dies_in_its_close() -> None:
    """The next one is opened with another durability, and the other processes were told before."""
    told = msgspec.structs.replace(CONFIG, durability=Durability.NONE)
    for calls, image in itertools.product(range(1, 12), ("extreme:0", "extreme:5")):
        session = Session(0)
        session.run(session.open(told))
        for _ in range(2):
            session.run(session.append([deposit(0)], named=False, key=None, metadata=None))
        session.crash_later(calls)
        session.run(session.close())
        session.run(session.open(CONFIG))
        point = session.crashed()
        if point is not None:
            session.run(session.die(point, image, CONFIG))
        session.end()
