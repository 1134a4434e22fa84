"""A real directory under many threads: writer, compaction and readers, all at once."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import pytest

from eventstore import EventStore, HistoryUnavailableError, SimulatedClock, read_events, state_at
from eventstore.tools import verify
from tests.support.bank import Bank, bank_after, bank_registry, pay

REGISTRY = bank_registry()
OPENING = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
EVENTS = 500
SNAPSHOTS = 10
OPTIONS: dict[str, Any] = {
    "segment_size": 4096,
    "wal_max_entries": 20,
    "auto_save_interval": None,
    "backup_count": 2,
}


def second(number: int) -> datetime:
    """Return the time at which event `number` was recorded."""
    return OPENING + timedelta(seconds=number)


def state_of(upto: int) -> Bank:
    return bank_after(*range(1, upto + 1))


def run_of(seqs: list[int], first: int) -> None:
    assert seqs == list(range(first, first + len(seqs)))


class Readers:
    """Readers of one store. Each asks for a recent event again and again until closed."""

    def __init__(self, path: Path, store: EventStore[Bank], history: str) -> None:
        self.path = path
        self.store = store
        self.over = threading.Event()
        self.looked = 0
        self._discards = history == "discard"

    def _recent_seq(self, random: Random) -> int:
        return max(self.store.seq - random.randrange(1, 30), 1)

    def _read_once(self, look: Callable[[int], None], number: int) -> None:
        try:
            look(number)
        except HistoryUnavailableError:  # the event was no longer so recent by the time of reading
            if not self._discards:
                raise
        self.looked += 1

    def outside(self, seed: int) -> None:
        """Read like another process, with a new disk each time."""
        random = Random(seed)
        looks = (self._read, self._ask, self._ask_for_a_time, self._verify)
        while not self.over.is_set():
            self._read_once(random.choice(looks), self._recent_seq(random))

    def _read(self, number: int) -> None:
        run_of([event.seq for event in read_events(self.path, start=second(number))], number)

    def _ask(self, number: int) -> None:
        assert state_at(self.path, REGISTRY, number) == state_of(number)

    def _ask_for_a_time(self, number: int) -> None:
        assert state_at(self.path, REGISTRY, second(number)) == state_of(number)

    def _verify(self, number: int) -> None:
        found = verify(self.path, REGISTRY, refold=number % 2 == 0)
        assert found.passed, found

    async def inside(self, seed: int) -> None:
        """Read on the store's own disk, whose descriptors all threads share."""
        random = Random(seed)
        while not self.over.is_set():
            number = self._recent_seq(random)
            start = number if random.random() < 0.5 else second(number)
            try:
                run_of([event.seq async for event in self.store.events(start)], number)
            except HistoryUnavailableError:
                if not self._discards:
                    raise
            self.looked += 1
            await asyncio.sleep(0)


@pytest.mark.asyncio
@pytest.mark.parametrize("history", ["archive", "discard"])
async def test_nobody_is_in_the_way_of_another(tmp_path: Path, history: str) -> None:
    path, clock = tmp_path / "store", SimulatedClock(OPENING)
    async with EventStore.open(path, REGISTRY, clock=clock, history=history, **OPTIONS) as store:
        clock.set(second(1))
        await store.append(pay(1))
        others = Readers(path, store, history)
        with ThreadPoolExecutor(2) as threads:
            loop = asyncio.get_running_loop()
            readers = [loop.run_in_executor(threads, others.outside, seed) for seed in range(2)]
            readers += [loop.create_task(others.inside(seed)) for seed in range(3)]
            try:
                while (store.seq < EVENTS or store.stats().snapshots <= SNAPSHOTS) and not any(
                    reader.done() for reader in readers
                ):
                    clock.set(second(store.seq + 1))
                    await store.append(pay(store.seq + 1))
            finally:
                others.over.set()
            await asyncio.gather(*readers)
        assert store.seq >= EVENTS
        assert store.state == state_of(store.seq)
        assert store.stats().snapshots > SNAPSHOTS
        assert others.looked > 20
