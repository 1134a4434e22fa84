"""Coroutines beside an open store, cancelled at every await point: each store stays usable."""

from __future__ import annotations

import asyncio
import importlib
import inspect
import json
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from eventstore import EventStore
from eventstore.tools import migrate_events, migrate_plan0d, snapshot_store
from handlers import trading_registry
from tests.project.test_site import PUBLIC
from tests.replication import test_cancelling as replication
from tests.shutdown.awaits import WAYS, CancelledAt
from tests.shutdown.test_cancelling import CONFIG, Add, coroutines_of, sum_registry

Run = Callable[[Path, int], Coroutine[Any, Any, Any]]


def new_store(path: Path, number: int) -> Path:
    return path.with_name(f"new-{number}")


async def snapshot(path: Path, number: int) -> None:
    await snapshot_store(path, sum_registry())


async def events_migrated(path: Path, number: int) -> None:
    file = path.with_name("events.jsonl")
    lines = [{"time": second, "operation": "add", "data": {"amount": 1}} for second in range(3)]
    file.write_text("\n".join(map(json.dumps, lines)))
    await migrate_events(file, new_store(path, number), sum_registry())


async def plan0d_migrated(path: Path, number: int) -> None:
    old = path.with_name("old")
    old.mkdir(exist_ok=True)
    (old / "engine_state.json").write_text(json.dumps({"cash": 7.0, "positions": {}}))
    await migrate_plan0d(old, new_store(path, number), trading_registry())


RUNS: dict[str, Run] = {
    "eventstore.tools.snapshot_store": snapshot,
    "eventstore.tools.migrate_events": events_migrated,
    "eventstore.tools.migrate_plan0d": plan0d_migrated,
}


async def prepared(path: Path) -> None:
    async with EventStore.open(path, sum_registry(), **CONFIG) as store:
        await store.append(*[Add(amount=1) for _ in range(3)])


async def check_usable(path: Path, registry: Any) -> None:
    """Check that a store can be opened at once, and takes an append."""
    async with EventStore.open(path, registry, create=False) as store:
        before = store.seq
        if registry.state_type is int:
            assert (before, store.state) == (3, 3)
        await store.flush()


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", RUNS)
def test_every_await_point(name: str, way: str, tmp_path: Path) -> None:
    """A new store is whole, or is not there. The lock of an old one is free."""

    async def run() -> None:
        path, number, reached = tmp_path / "store", 0, True
        await prepared(path)
        while reached:
            number += 1
            driven = CancelledAt(RUNS[name](path, number), number, way)

            async def awaits(driven: CancelledAt = driven) -> None:
                await driven

            task = asyncio.ensure_future(awaits())
            await asyncio.wait([task])
            if not task.cancelled():
                task.result()
            reached = driven.reached
            made = new_store(path, number)
            if name.endswith("plan0d") and made.exists():
                await check_usable(made, trading_registry())
            elif name.endswith("events") and made.exists():
                await check_usable(made, sum_registry())
            await check_usable(path, sum_registry())
        assert number > 2
        assert name.endswith("snapshot_store") or made.exists()

    asyncio.run(run())
    known = ("store", "events.jsonl", "old", "new-")
    assert [one.name for one in tmp_path.iterdir() if not one.name.startswith(known)] == []


ELSEWHERE = {
    "eventstore.history.compare": "tests/shutdown/test_cancelling.py",
    **dict.fromkeys(replication.SCENARIOS, "tests/replication/test_cancelling.py"),
    "VenueClient": "tests/testing: no store is behind a simulated venue",
    "VirtualTimeLoop": "asyncio's own",
}


def test_every_public_coroutine_of_every_package_has_a_place() -> None:
    """The classes of `eventstore` itself are counted in `test_cancelling.py`."""
    missing = []
    for package in PUBLIC[1:]:
        module = importlib.import_module(package)
        for name in module.__all__:
            found = getattr(module, name)
            place = f"{package}.{name}"
            if inspect.isclass(found):
                if name not in ELSEWHERE:
                    coroutines = [one for one in coroutines_of(found) if "._" not in one]
                    missing += [one for one in coroutines if one not in ELSEWHERE]
            elif inspect.iscoroutinefunction(inspect.unwrap(found)):
                missing += [place] if place not in RUNS | ELSEWHERE else []
    assert missing == []
