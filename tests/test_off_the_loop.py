"""No file call is made on the event loop's thread, in the whole life of a store."""

from __future__ import annotations

import inspect
import threading
from pathlib import Path
from typing import Any

import pytest

from eventstore import Event, EventLog, EventStore, HandlerRegistry, Operation, handler
from eventstore.disk.local import LocalDisk


class Add(Operation, tag="add"):
    amount: int


@handler
def add(state: int, event: Event[Add]) -> int:
    return state + event.data.amount


WITHOUT_FILE = {"entropy"}
"""Calls that ask the kernel for random bytes, and no file."""


class Watched:
    """Passes every call on, and notes the threads they are made on."""

    def __init__(self, inner: Any, calls: list[tuple[str, int]]) -> None:
        self._inner = inner
        self._calls = calls

    def __setattr__(self, name: str, value: object) -> None:
        if name.startswith("_"):
            super().__setattr__(name, value)
        else:  # the writer gives a file its new name
            setattr(self._inner, name, value)

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._inner, name)
        if not inspect.ismethod(value) and not inspect.isbuiltin(value):
            return value

        def call(*args: Any, **kwargs: Any) -> Any:
            if name not in WITHOUT_FILE:
                self._calls.append((name, threading.get_ident()))
            result = value(*args, **kwargs)
            return Watched(result, self._calls) if name in ("open", "create") else result

        return call


@pytest.mark.asyncio
@pytest.mark.parametrize("use_wal", [True, False])
async def test_a_whole_life_touches_no_file_on_the_loop(tmp_path: Path, use_wal: bool) -> None:
    calls: list[tuple[str, int]] = []

    def disk(**options: Any) -> Any:
        return Watched(LocalDisk(tmp_path / "store", create=True, **options), calls)

    registry = HandlerRegistry[int](add)
    options: dict[str, Any] = {"segment_size": 4096, "backup_count": 1, "use_wal": use_wal}
    for _ in range(2):
        async with EventStore.open("", registry, disk=disk(), **options) as store:
            for amount in range(100):
                await store.append(Add(amount=amount))
            await store.snapshot()
            if use_wal:
                assert len([event async for event in store.events(50)]) > 0
            await store.flush()
            store.stats()
    async with EventStore.open("", registry, disk=disk(read_only=True), read_only=True) as store:
        assert store.state == 2 * 4950
    seen = {name for name, _ in calls}
    assert {"lock", "create", "write", "sync", "rename", "sync_folder", "read", "close"} <= seen
    assert not use_wal or "remove" in seen
    assert [name for name, thread in calls if thread == threading.get_ident()] == []


@pytest.mark.asyncio
async def test_nor_does_an_event_log(tmp_path: Path) -> None:
    calls: list[tuple[str, int]] = []
    disk: Any = Watched(LocalDisk(tmp_path / "log", create=True), calls)
    async with EventLog.open(disk=disk, segment_size=4096) as log:
        for _ in range(100):
            await log.append(b"x" * 100)
        assert [event.seq async for event in log.read(99)] == [99, 100]
    assert len(calls) > 200
    assert [name for name, thread in calls if thread == threading.get_ident()] == []
