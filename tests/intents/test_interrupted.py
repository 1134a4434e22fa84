"""An exception of a signal handler between the steps of a group, and life afterwards."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from eventstore import EventStore
from eventstore.intents.live_intents import LiveIntents
from eventstore.testing import SimulatedDisk, VirtualTimeLoop
from tests.support.orders import Book, PlaceOrder, RecordFill, ids_in_doubt, opened


class TimeIsUpError(Exception):
    """The exception of a signal handler that keeps a time limit."""


def interrupted(method: str, *, before: bool, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Interrupt the next call of a method of `LiveIntents`, before or after its work."""
    left = [method]
    real: Callable[..., None] = getattr(LiveIntents, method)

    def broken(intents: LiveIntents, *arguments: Any) -> None:
        if before and left:
            left.clear()
            raise TimeIsUpError
        real(intents, *arguments)
        if left:
            left.clear()
            raise TimeIsUpError

    monkeypatch.setattr(LiveIntents, method, broken)
    return left


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("method", ["submitted", "committed", "reset"])
@pytest.mark.parametrize("kind", ["disk", "memory"])
def test_head_and_log_agree(
    method: str, before: bool, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = VirtualTimeLoop(patience=1000)
    disk = SimulatedDisk() if kind == "disk" else None

    async def begin() -> EventStore[Book]:
        store = await opened(disk)
        await store.append(PlaceOrder(decision=1, client_order_id="one"))
        return store

    store = loop.run_until_complete(begin())
    left = interrupted(method, before=before, monkeypatch=monkeypatch)

    async def go_on() -> None:
        try:
            await store.append(PlaceOrder(decision=2, client_order_id="two"))
        except TimeIsUpError:
            await asyncio.sleep(1)
        if left:  # a refused append is what resets the head
            with pytest.raises(ValueError, match="not negative"):
                await store.append(PlaceOrder(decision=3, qty=-1))

    loop.run_until_complete(go_on())
    monkeypatch.undo()

    async def check() -> None:
        events = [event async for event in store.events()]
        names = [event.data.client_order_id for event in events]
        assert ids_in_doubt(store) == names
        assert list(store.state.done.values()) == names
        await store.append(*[RecordFill(client_order_id=name, qty=1) for name in names])
        assert store.in_doubt == ()
        await store.append(PlaceOrder(decision=4, client_order_id="four"))
        assert ids_in_doubt(store) == ["four"]
        await store.close()

    loop.run_until_complete(check())
    loop.close()
