"""An exception of a signal handler between the steps of a group with keys, and life afterwards."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from eventstore import Event, EventStore, HandlerRegistry, Operation, handler
from eventstore.keys.index import KeyIndex
from eventstore.testing import SimulatedDisk, VirtualTimeLoop


class TimeIsUpError(Exception):
    """The exception of a signal handler that keeps a time limit."""


class Fill(Operation, key="fill_id"):
    fill_id: str


@handler
def fill(state: int, event: Event[Fill]) -> int:
    return state + 1


REGISTRY = HandlerRegistry[int](fill, initial=int)


def interrupted(method: str, *, before: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Interrupt the next call of a method of `KeyIndex`, before or after its work."""
    left = [method]
    real: Callable[..., None] = getattr(KeyIndex, method)

    def broken(index: KeyIndex, *arguments: Any) -> None:
        if before and left:
            left.clear()
            raise TimeIsUpError
        real(index, *arguments)
        if left:
            left.clear()
            raise TimeIsUpError

    monkeypatch.setattr(KeyIndex, method, broken)


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("method", ["submitted", "queued", "committed"])
@pytest.mark.parametrize("kind", ["disk", "memory"])
def test_every_key_stands_for_one_event(
    method: str, before: bool, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = VirtualTimeLoop(patience=1000)
    disk = SimulatedDisk()

    async def begin() -> EventStore[int]:
        if kind == "memory":
            return await EventStore.in_memory(REGISTRY)
        return await EventStore.open("", REGISTRY, disk=disk)

    store = loop.run_until_complete(begin())
    interrupted(method, before=before, monkeypatch=monkeypatch)

    async def go_on() -> None:
        try:
            await store.append(Fill(fill_id="1"))
        except TimeIsUpError:
            await asyncio.sleep(1)

    loop.run_until_complete(go_on())
    monkeypatch.undo()

    async def check() -> None:
        present = store.seq
        assert present in (0, 1)
        receipts = [store.submit(Fill(fill_id="1")) for _ in range(3)]
        assert [receipt.duplicate for receipt in receipts] == [bool(present), True, True]
        for receipt in receipts:
            assert (await receipt).seq == 1
        await store.append(Fill(fill_id="2"))
        assert [event.key async for event in store.events()] == ["1", "2"]
        found = await store.find("1")
        assert found is not None
        assert found.seq == 1
        await store.close()

    loop.run_until_complete(check())
    loop.close()
