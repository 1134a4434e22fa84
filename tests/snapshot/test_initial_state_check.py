"""The initial state is recorded when a store is made, and compared by whoever folds."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
from immutables import Map

from eventstore import (
    Event,
    EventLog,
    EventStore,
    HandlerRegistry,
    InitialStateError,
    Operation,
    handler,
    replay,
    state_at,
    state_digest,
)
from eventstore.disk.manifest import load_manifest
from eventstore.history import branch
from eventstore.testing import SimulatedDisk
from eventstore.tools.verify import verify

ROOT = Path(__file__).resolve().parents[2]


class Deposit(Operation):
    amount: int


class Account(msgspec.Struct, frozen=True):
    cash: int = 0
    notes: Map[str, int] = Map()


def registry(cash: int = 0, **more: Any) -> HandlerRegistry[Account]:
    return HandlerRegistry(deposit, initial=lambda: Account(cash, **more))


@handler
def deposit(state: Account, event: Event[Deposit]) -> Account:
    return msgspec.structs.replace(state, cash=state.cash + event.data.amount)


async def made(disk: SimulatedDisk, *, snapshot: bool = False, **options: Any) -> None:
    async with EventStore.open("", registry(1000), disk=disk, **options) as store:
        await store.append(Deposit(amount=1))
        if snapshot:
            await store.snapshot()


class TestTheSameType:
    @pytest.mark.parametrize("snapshot", [False, True])
    @pytest.mark.parametrize("use_wal", [False, True])
    @pytest.mark.asyncio
    async def test_another_one_is_refused_and_both_digests_are_named(
        self, snapshot: bool, use_wal: bool
    ) -> None:
        disk = SimulatedDisk()
        await made(disk, snapshot=snapshot, use_wal=use_wal)
        before = {**disk.contents(), "writer.pid": b""}
        with pytest.raises(InitialStateError, match="append an event") as caught:
            await EventStore.open("", registry(5000), disk=disk.reopen(), use_wal=use_wal)
        assert caught.value.recorded == state_digest(Account(1000))
        assert caught.value.current == state_digest(Account(5000))
        assert {**disk.contents(), "writer.pid": b""} == before
        async with EventStore.open(
            "", registry(1000), disk=disk.reopen(), use_wal=use_wal
        ) as store:
            assert store.state.cash == 1001

    @pytest.mark.asyncio
    async def test_by_whoever_folds(self, tmp_path: Path) -> None:
        path = tmp_path / "s"
        async with EventStore.open(path, registry(1000)) as store:
            await store.append(Deposit(amount=1))
        other = registry(5000)
        with pytest.raises(InitialStateError):
            await EventStore.open(path, other, read_only=True)
        with pytest.raises(InitialStateError):
            state_at(path, other)
        with pytest.raises(InitialStateError):
            list(replay(path, other))
        with pytest.raises(InitialStateError):
            await branch(path, other)
        refolded = verify(path, other).refolded
        assert refolded is not None
        assert "another initial state" in str(refolded.refusal)
        assert verify(path, registry(1000)).passed

    @pytest.mark.asyncio
    async def test_a_branch_has_that_of_its_parent(self, tmp_path: Path) -> None:
        async with EventStore.open(tmp_path / "s", registry(1000)) as store:
            await store.append(Deposit(amount=1))
        async with branch(tmp_path / "s", registry(1000), to=tmp_path / "b"):
            pass
        with pytest.raises(InitialStateError):
            await EventStore.open(tmp_path / "b", registry(5000))

    @pytest.mark.asyncio
    async def test_a_large_one_is_compared_by_its_digest(self) -> None:
        def large(value: int) -> HandlerRegistry[Account]:
            return registry(0, notes=Map({f"note {n}": value for n in range(5000)}))

        disk = SimulatedDisk()
        async with EventStore.open("", large(1), disk=disk):
            pass
        assert len(disk.read_file("store.json")) < 2000
        async with EventStore.open("", large(1), disk=disk.reopen()):
            pass
        with pytest.raises(InitialStateError):
            await EventStore.open("", large(2), disk=disk.reopen())

    @pytest.mark.asyncio
    async def test_a_log_has_none(self) -> None:
        disk = SimulatedDisk()
        async with EventLog.open("", disk=disk):
            pass
        assert load_manifest(disk.reopen()).initial is msgspec.UNSET


class Wider(msgspec.Struct, frozen=True):
    cash: int = 0
    notes: Map[str, int] = Map()
    limit: float | None = None


@handler
def widened(state: Wider, event: Event[Deposit]) -> Wider:
    return msgspec.structs.replace(state, cash=state.cash + event.data.amount)


class Worded(msgspec.Struct, frozen=True):
    cash: str = ""


@handler
def worded(state: Worded, event: Event[Deposit]) -> Worded:
    return Worded(f"{state.cash}{event.data.amount}")


def wider(cash: int, **more: Any) -> HandlerRegistry[Wider]:
    return HandlerRegistry(widened, initial=lambda: Wider(cash, **more))


class TestAnotherType:
    @pytest.mark.asyncio
    async def test_a_new_field_may_begin_with_any_value(self) -> None:
        disk = SimulatedDisk()
        await made(disk, snapshot=True)
        async with EventStore.open("", wider(1000, limit=5.0), disk=disk.reopen()) as store:
            assert store.state == Wider(1001, limit=5.0)
        with pytest.raises(InitialStateError):
            await EventStore.open("", wider(1000, limit=6.0), disk=disk.reopen())
        async with EventStore.open("", registry(1000), disk=disk.reopen()) as store:
            assert store.state == Account(1001), "and back to the old class"

    @pytest.mark.asyncio
    async def test_what_both_types_have_must_be_the_same(self) -> None:
        disk = SimulatedDisk()
        await made(disk)
        with pytest.raises(InitialStateError):
            await EventStore.open("", wider(5000), disk=disk.reopen())

    @pytest.mark.asyncio
    async def test_one_that_cannot_be_read_any_more_is_told(self) -> None:
        disk = SimulatedDisk()
        await made(disk)
        async with EventStore.open("", HandlerRegistry(worded), disk=disk.reopen()) as store:
            assert store.state == Worded("1")
            (warning,) = store.recovery.warnings
            assert "initial state" in warning
        async with EventStore.open("", HandlerRegistry(worded), disk=disk.reopen()) as store:
            assert store.recovery.warnings == (), "it is recorded now"


SCRIPT = """
import asyncio, sys
from tests.snapshot.test_initial_state_check import registry
from eventstore import EventStore
from immutables import Map

async def main():
    async with EventStore.open(sys.argv[1], registry(0, notes=Map(a=1, b=2, c=3, d=4))):
        pass

asyncio.run(main())
"""


class TestTheRecord:
    def test_it_is_the_same_under_every_hash_seed(self, tmp_path: Path) -> None:
        found = set()
        for seed in ("0", "1", "2"):
            subprocess.run(
                [sys.executable, "-c", SCRIPT, str(tmp_path / "s")],
                env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)},
                check=True,
                cwd=ROOT,
            )
            found.add((tmp_path / "s" / "store.json").read_bytes())
        assert len(found) == 1
