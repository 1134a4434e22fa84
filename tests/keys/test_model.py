"""Random lives of a store with keys, held against a dictionary: every answer, and every branch.

Each seed draws a configuration (history, how long keys are remembered, how often runs are written)
and about a hundred steps: appends with known and new keys, groups, snapshots, and openings after a
close, a kill or a power cut. `EVENTSTORE_KEY_MODELS` is the number of seeds.
"""

from __future__ import annotations

import contextlib
import os
from random import Random
from typing import Any

import pytest

from eventstore import (
    Event,
    EventStore,
    EventStoreError,
    HandlerRegistry,
    KeyConflictError,
    Operation,
    handler,
)
from eventstore.history import branch
from eventstore.keys import keeper
from eventstore.testing import SimulatedDisk, run_in_virtual_time

SEEDS = int(os.environ.get("EVENTSTORE_KEY_MODELS", "16"))
STEPS, NAMES = 100, 25


class Fill(Operation, key="fill_id"):
    fill_id: str
    fee: int = 0


class Quote(Operation, key="quote_id", on_conflict="first"):
    quote_id: str
    price: int = 0


class Note(Operation):
    number: int


@handler
def fill(state: int, event: Event[Fill]) -> int:
    return state + 1


@handler
def quote(state: int, event: Event[Quote]) -> int:
    return state + 1


@handler
def note(state: int, event: Event[Note]) -> int:
    return state + 1


REGISTRY = HandlerRegistry[int](fill, quote, note, initial=int)


def payload(kind: type[Operation], name: str, value: int) -> Operation:
    return Fill(fill_id=name, fee=value) if kind is Fill else Quote(quote_id=name, price=value)


class Model:
    """A store and the dictionary of its keys: operation and name give the number and the value."""

    def __init__(self, seed: int, random: Random) -> None:
        self.random = random
        self.remembered = random.choice((None, None, 6, 15))
        self.history = random.choice(("archive", "keep", "discard"))
        remember = {} if self.remembered is None else {"events": self.remembered}
        self.options: dict[str, Any] = {
            "wal_max_entries": random.choice((None, 5)),
            "auto_save_interval": None,
            "segment_size": 4096,
            "backup_count": random.choice((1, 3)),
            "history": self.history,
            "keys": {"remember": remember},
        }
        self.disk = SimulatedDisk(seed)
        self.known: dict[tuple[type[Operation], str], tuple[int, int]] = {}
        self.events: list[tuple[type[Operation], str] | None] = []

    async def open(self) -> None:
        self.store = await EventStore.open("", REGISTRY, disk=self.disk, **self.options)
        assert self.store.seq == len(self.events)

    def counts(self, seq: int, moment: int) -> bool:
        return self.remembered is None or moment + 1 - seq <= self.remembered

    def known_as(self, kind: type[Operation], name: str) -> tuple[int, int] | None:
        found = self.known.get((kind, name))
        return found if found and self.counts(found[0], len(self.events)) else None

    def note(self, kind: type[Operation], name: str, value: int) -> int:
        self.events.append((kind, name))
        self.known[kind, name] = len(self.events), value
        return len(self.events)

    async def append(self) -> None:
        name, value = str(self.random.randrange(NAMES)), self.random.randrange(2)
        kind = self.random.choice((Fill, Quote))
        found = self.known_as(kind, name)
        given = payload(kind, name, value)
        if found and found[1] != value and kind is Fill:
            with pytest.raises(KeyConflictError) as caught:
                await self.store.append(given)
            assert caught.value.first.seq == found[0]
            return
        receipt = await self.store.append(given)
        seq = found[0] if found else self.note(kind, name, value)
        assert (receipt.duplicate, receipt.seq) == (found is not None, seq)
        assert (receipt.differences is None) is (not found or found[1] == value)

    async def group(self) -> None:
        names = [str(self.random.randrange(NAMES)) for _ in range(4)]
        given = [Fill(fill_id=name) for name in names]
        found = [self.known_as(Fill, name) for name in names]
        if any(one is not None and one[1] for one in found):
            with pytest.raises(KeyConflictError):
                await self.store.append(*given)
            return
        new = [name for name in dict.fromkeys(names) if not self.known_as(Fill, name)]
        receipt = await self.store.append(*given)
        numbers = [self.note(Fill, name, 0) for name in new]
        assert receipt.duplicate is (not new)
        if numbers:
            assert (receipt.first_seq, receipt.seq) == (numbers[0], numbers[-1])

    async def unkeyed(self) -> None:
        self.events.append(None)
        await self.store.append(Note(number=len(self.events)))

    async def snapshot(self) -> None:
        await self.store.snapshot()

    async def find(self) -> None:
        for name in map(str, range(NAMES)):
            known, found = self.known_as(Fill, name), await self.store.find(name, Fill)
            assert (known is None) is (found is None)
            assert known is None or found is None or found.seq == known[0]

    async def reopen(self) -> None:
        end = self.random.choice(("close", "kill", "power cut"))
        store, disk = self.store, self.disk
        if end == "close":
            await store.close()
            self.disk = disk.reopen()
        else:
            cut = self.random.getrandbits(16)
            self.disk = disk.after_kill() if end == "kill" else disk.after_power_cut(cut)
            with contextlib.suppress(EventStoreError):
                await store.close()
        await self.open()

    async def live(self) -> None:
        steps = (self.append, self.group, self.unkeyed, self.snapshot, self.find, self.reopen)
        for _ in range(STEPS):
            await self.random.choices(steps, (55, 10, 8, 9, 8, 10))[0]()
        await self.store.close()

    async def check_branches(self) -> None:
        moments = range(1, len(self.events) + 1)
        for moment in self.random.sample(moments, 3) if self.history != "discard" else ():
            last = {key: seq for seq, key in enumerate(self.events[:moment], 1) if key}
            async with branch("", REGISTRY, moment, disk=self.disk.reopen()) as store:
                for name in map(str, range(NAMES)):
                    seq, found = last.get((Fill, name), 0), await store.find(name, Fill)
                    assert found is None or found.seq == seq
                    assert found is not None or not seq or not self.counts(seq, moment)


@pytest.mark.parametrize("seed", range(SEEDS))
def test_a_life_of_keys(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    random = Random(f"keys {seed}")
    monkeypatch.setattr(keeper, "MOST_RECENT", random.choice((3, 7, 65_536)))

    async def lives() -> None:
        model = Model(seed, random)
        await model.open()
        await model.live()
        await model.check_branches()

    run_in_virtual_time(lives())
