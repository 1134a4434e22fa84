"""A disk that is nearly full, and a store that keeps the rest for essential events."""

from __future__ import annotations

import asyncio
import errno
from typing import Any

import pytest

from eventstore import (
    ConfigError,
    Event,
    EventStore,
    HandlerRegistry,
    LowSpaceError,
    Operation,
    StoreFullError,
    handler,
)
from eventstore.testing import Call, SimulatedDisk
from eventstore.testing.faults import Fault
from eventstore.testing.virtual_time import run_in_virtual_time

SMALL: dict[str, Any] = {"segment_size": 4096, "idle_seal": 1e6, "wal_max_entries": None}


class Enter(Operation):
    shares: int


class Leave(Operation, essential=True):
    shares: int


class Answer(Operation, settles="order_id"):
    order_id: str


def position_registry() -> HandlerRegistry[int]:
    @handler
    def enter(state: int, event: Event[Enter]) -> int:
        return state + event.data.shares

    @handler
    def leave(state: int, event: Event[Leave]) -> int:
        return state - event.data.shares

    @handler
    def answer(state: int, event: Event[Answer]) -> int:
        return state

    return HandlerRegistry(enter, leave, answer, initial=int)


class FullDisk(SimulatedDisk):
    """A disk without space for a new segment, as long as `full` is set."""

    full = True

    def __init__(self) -> None:
        super().__init__()
        self._segments = 0
        self.add_rule(self._refuse)

    def _refuse(self, call: Call) -> Fault | None:
        if call.kind == "rename" and call.name == "log/new.tmp":
            self._segments += 1
        made = call.name == "log/new.tmp" and call.kind == "write"
        later = self._segments > 1  # opening has made one, and the first append another
        return Fault(errno=errno.ENOSPC) if self.full and made and later else None


async def low(**config: Any) -> tuple[FullDisk, EventStore[int]]:
    disk = FullDisk()
    store = await EventStore.open("", position_registry(), disk=disk, **SMALL, **config)
    await store.append(Enter(shares=5))
    await asyncio.sleep(0.1)
    assert store.stats().space_warning is not None
    return disk, store


def test_only_essential_events_are_taken() -> None:
    async def run() -> None:
        disk, store = await low(low_space="refuse")
        unclear: Any = "yes"
        for refused in (Enter(shares=1), ("enter", {"shares": 1})):
            before = len(disk.calls)
            with pytest.raises(LowSpaceError, match="kept for operations marked essential") as told:
                await store.append(refused)
            assert isinstance(told.value, StoreFullError)
            assert told.value.errno == errno.ENOSPC
            with pytest.raises(LowSpaceError):
                store.submit(refused)
            assert not [call for call in disk.calls[before:] if call.name.startswith("log/0")]
            assert store.head_seq == store.seq == 1
        with pytest.raises(ConfigError, match="essential"):
            await store.append(Leave(shares=2), essential=unclear)
        await store.append(Leave(shares=2))
        await store.append(Enter(shares=1), Leave(shares=1))
        await store.append(Answer(order_id="a"))
        await store.append(Enter(shares=1), essential=True)
        with pytest.raises(LowSpaceError):
            await store.append(Leave(shares=1), essential=False)
        assert (store.state, store.seq) == (4, 6)
        await store.close()

    run_in_virtual_time(run())


def test_the_reserve_is_a_segment_and_no_more() -> None:
    async def run() -> None:
        _, store = await low(low_space="refuse")
        taken = 0
        refusal: StoreFullError | None = None
        while refusal is None:
            try:
                await store.append(*[Leave(shares=0)] * 10)
                taken += 10
            except StoreFullError as error:
                refusal = error
        assert not isinstance(refusal, LowSpaceError)
        assert taken >= 50
        assert not store.stats().failed
        await store.close()

    run_in_virtual_time(run())


def test_everything_is_taken_again_when_there_is_space() -> None:
    """A refusal looks for space: nothing else might ever be committed."""

    async def run() -> None:
        disk, store = await low(low_space="refuse")
        disk.full = False
        await asyncio.sleep(6.0)
        with pytest.raises(LowSpaceError):
            await store.append(Enter(shares=1))
        await asyncio.sleep(0.1)
        await store.append(Enter(shares=1))
        assert store.stats().warnings == ()
        await store.close()

    run_in_virtual_time(run())


def test_by_default_everything_is_taken_until_the_segment_is_full() -> None:
    async def run() -> None:
        _, store = await low()
        await store.append(Enter(shares=1))
        assert store.stats().warnings
        await store.close()

    run_in_virtual_time(run())


def test_an_append_that_waited_for_room_is_refused_too() -> None:
    async def run() -> None:
        disk = FullDisk()
        opening = EventStore.open(
            "", position_registry(), disk=disk, low_space="refuse", max_pending=1, **SMALL
        )
        async with opening as store:
            appends = [asyncio.create_task(store.append(Enter(shares=1))) for _ in range(4)]
            outcomes = await asyncio.gather(*appends, return_exceptions=True)
            refused = sum(isinstance(outcome, LowSpaceError) for outcome in outcomes)
            assert store.seq == 4 - refused
            await asyncio.sleep(0.1)
            with pytest.raises(LowSpaceError):
                await store.append(Enter(shares=1))

    run_in_virtual_time(run())
