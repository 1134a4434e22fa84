"""Flipped bits of a store whose writer was killed: with an idle seal, without one, and repaired.

The unsealed end of a log is the one place where damage can look like a torn write. There, and only
there, a flipped bit may cost an event. The event is then set aside and reported.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator

import pytest

from eventstore import CorruptLogError, EventStore
from eventstore.log.format import HEADER_SIZE, SEAL_SIZE, SegmentHeader, read_record
from eventstore.testing import SimulatedDisk
from eventstore.testing.virtual_time import run_in_virtual_time
from tests.damage.golden_store import PATH, REGISTRY, Golden, golden
from tests.damage.judge import Damage, verdicts
from tests.damage.test_bits import SPARSE, flips
from tests.torture.ledger import Deposit, Ledger, ledger_after

EVENTS = 3


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Thousands of torn ends are nothing to log here."""
    logging.disable()
    yield
    logging.disable(logging.NOTSET)


async def killed(store: Golden, *, idle: bool) -> tuple[SimulatedDisk, list[Ledger]]:
    """Return the store `EVENTS` appends later, killed, and the states from then on."""
    disk = store.disk.clone()
    states = [store.state]
    opening = EventStore.open(PATH, REGISTRY, store.config, disk=disk, clock=store.clock)
    async with opening as opened:
        for number in range(store.seq + 1, store.seq + 1 + EVENTS):
            deposit = Deposit(number=number, account="cash", amount=1)
            await opened.append(deposit)
            states.append(ledger_after(states[-1], deposit))
        if idle:
            await asyncio.sleep(1)
        return disk.after_kill(), states


def last_segment(disk: SimulatedDisk) -> tuple[str, list[int]]:
    """Return the last segment's name, and the end of each record."""
    name = [name for name in disk.files() if name.startswith("log/0")][-1]
    data = disk.read_file(name)
    salt = SegmentHeader.decode(data[:HEADER_SIZE]).salt
    ends = [HEADER_SIZE]
    while data[ends[-1] : ends[-1] + 8] == salt:
        ends.append(read_record(data, ends[-1], salt).end)
    return name, ends


@pytest.mark.parametrize("idle", [False, True], ids=["unsealed", "idle seal"])
def test_only_the_end_can_be_taken_for_torn(idle: bool) -> None:
    """Before an idle seal every bit is refused. Behind an idle seal nothing can be lost."""

    store = golden("archive")

    async def program() -> None:
        disk, states = await killed(store, idle=idle)
        name, ends = last_segment(disk)
        assert len(ends) == 1 + EVENTS + idle
        size = len(disk.read_file(name))
        for bit in range(0, 8 * size, 5):
            byte = bit // 8
            if byte > ends[-1] + 64 and bit % 35:
                continue
            damaged = disk.clone()
            damaged.flip_bit(name, bit)
            damaged.remove_file("writer.pid")  # the killed writer's; opening makes a new one
            before = damaged.contents()
            opening = EventStore.open(PATH, REGISTRY, store.config, disk=damaged, clock=store.clock)
            try:
                async with opening as opened:
                    assert byte >= ends[-2], f"bit {bit} was taken for torn"
                    lost = not idle and byte < ends[-1]
                    assert opened.state == states[-2 if lost else -1], f"bit {bit}"
                    report = opened.recovery
                    assert report.torn_bytes > 0, f"bit {bit} went unnoticed"
                    assert report.quarantined in damaged.files(), f"bit {bit}"
            except CorruptLogError as error:
                refused = error
            else:
                continue
            assert byte < ends[-2], f"bit {bit}: {refused}"
            assert name in str(refused), f"bit {bit}"
            assert damaged.contents() == before, f"bit {bit}"

    run_in_virtual_time(program())


def test_every_flipped_bit_of_a_mended_segment_is_refused() -> None:
    golden_store = golden("archive")

    async def repaired(store: Golden) -> Golden:
        disk, states = await killed(store, idle=False)
        opening = EventStore.open(PATH, REGISTRY, store.config, disk=disk, clock=store.clock)
        async with opening as opened:
            assert opened.recovery.rewritten is not None
            events = [event async for event in opened.events(1)]
        return store._replace(
            disk=disk.reopen(), state=states[-1], seq=store.seq + EVENTS, events=events
        )

    store = run_in_virtual_time(repaired(golden_store))
    name, ends = last_segment(store.disk)
    assert len(store.disk.read_file(name)) == ends[-1] == ends[-2] + SEAL_SIZE
    for what, verdict in verdicts(store, flips(store, name), inside=False):
        assert verdict.refuses(name), f"{what}: {verdict}"
    for other in store.segments[:-1]:
        for what, verdict in verdicts(store, flips(store, other, step=SPARSE), inside=False):
            assert verdict.refuses(other), f"{what}: {verdict}"
    content = store.disk.read_file(name)
    for length in range(0, len(content), 3):
        disk = store.disk.clone()
        disk.write_file(name, content[:length])
        ((what, verdict),) = verdicts(store, [Damage(f"cut to {length}", disk)], inside=False)
        assert verdict.refuses(name), f"{what}: {verdict}"
