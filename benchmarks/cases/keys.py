"""Case 16: what identity keys cost, by their number.

A store gets so many events, each with a key of its own, in groups of 1000, and is opened again.
`find` then asks for keys that no event has, and for keys that are there.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import msgspec

from benchmarks.cases.base import Case, Cell, Profile, Task
from benchmarks.cases.histories import resident_trimmed
from benchmarks.contenders import Contender
from eventstore import Event, EventStore, HandlerRegistry, Operation, handler

__all__ = ["Keys"]

_GROUP = 1000


class Fill(Operation, tag="fill", key="fill_id"):
    """A fill with an identity."""

    fill_id: str


class Filled(msgspec.Struct, frozen=True):
    """A number of fills."""

    fills: int = 0


@handler
def fill(state: Filled, event: Event[Fill]) -> Filled:
    """Count a fill."""
    return Filled(state.fills + 1)


class Keys(Case):
    """Identity keys, resident and looked up."""

    name = "keys"
    title = "16. Identity keys: memory, opening and look-ups"
    headline = "unknown"
    figures: ClassVar = {"unknown": "us", "known": "us", "open": "ms", "resident": "B"}

    COUNT: ClassVar = {"tiny": 3000, "quick": 100_000, "full": 10_000_000}
    ASKED: ClassVar = {"tiny": 100, "quick": 10_000, "full": 10_000}

    def cells(self, profile: Profile, contenders: Sequence[Contender]) -> Iterator[Cell]:
        for contender in self.only(contenders, ("EventStore",)):
            count = self.COUNT[profile]
            options = {"count": count, "asked": self.ASKED[profile]}
            yield Cell(self.name, f"{count:,}", contender.name, options, fresh=True, once=True)

    async def run(self, task: Task) -> dict[str, float]:
        count, asked, path = task.count("count"), task.count("asked"), task.folder / "store"
        options: dict[str, Any] = {
            "wal_max_entries": 1_000_000,
            "auto_save_interval": None,
            "history": "discard",
        }
        registry = HandlerRegistry(fill)
        async with EventStore.open(path, registry, durability="none", **options) as store:
            for first in range(0, count, _GROUP):
                await store.append(*[Fill(fill_id=f"f{n}") for n in range(first, first + _GROUP)])
            await store.snapshot()
        del store
        before = resident_trimmed()
        began = time.perf_counter()
        async with EventStore.open(path, registry, **options) as store:
            opened = time.perf_counter() - began
            unknown = await _seconds(store, [f"g{n}" for n in range(asked)])
            known = await _seconds(store, [f"f{n * 7 % count}" for n in range(asked // 10)])
            resident = (
                resident_trimmed() - before
            )  # a look-up begins the reading of five bytes a key
        return {
            "unknown": unknown / asked,
            "known": known / (asked // 10),
            "open": opened,
            "resident": resident / count,
        }


async def _seconds(store: EventStore[Filled], keys: list[str]) -> float:
    began = time.perf_counter()
    for key in keys:
        await store.find(key, Fill)
    return time.perf_counter() - began
