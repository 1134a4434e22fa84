"""What a store says that does not open, or that opens with less than there was."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

from eventstore import (
    Event,
    EventStore,
    HandlerRegistry,
    Operation,
    SystemClock,
    handler,
)
from eventstore.testing import SimulatedDisk
from eventstore.tools.backup.entrance import make_backup, open_place
from eventstore.tools.backup.restore import plan_restore, restore
from handlers import EngineState, UpdatePosition, trading_registry, update_position
from tests.project.runbook.situations import command, failing, filled, hold, logged, situation

REGISTRY = trading_registry()
STORE = Path("engine-state")


def opening(path: str = "engine-state", registry: Any = REGISTRY, **options: Any) -> Any:
    return EventStore.open(path, registry, **options)


def segments() -> list[Path]:
    return sorted((STORE / "log").glob("0*.log"))


def flip(file: Path, at: int) -> None:
    content = bytearray(file.read_bytes())
    content[at] ^= 1
    file.write_bytes(content)


@situation("StoreNotFoundError")
async def not_found() -> str:
    await filled()
    return command("eventstore info engine-stat")


@situation("StoreExistsError")
async def exists() -> str:
    await filled()
    return await failing(opening(create="new"))


@situation("StoreLockedError")
async def locked() -> str:
    await filled()
    async with opening():
        return await failing(opening())


@situation("StoreAccessError")
async def access() -> str:
    await filled()
    os.rename(STORE, "moved")
    os.symlink("moved", STORE)
    return await failing(opening())


@situation("StoreFormatError")
async def newer() -> str:
    await filled()
    manifest = STORE / "store.json"
    manifest.write_text(manifest.read_text().replace('"format": 1', '"format": 2,\n  "news": []'))
    return command("eventstore info engine-state")


@situation("ReadFailedError")
async def unreadable() -> str:
    disk = SimulatedDisk(path="engine-state")
    async with opening(disk=disk) as store:
        await store.append(hold())
    again = disk.reopen()
    name = next(one for one in again.files() if one.startswith("log/0"))
    again.fail(kind="read", name=name, errno=errno.EIO)
    return await failing(opening(disk=again))


@situation("recovery without space")
async def no_space_to_recover() -> str:
    disk = SimulatedDisk(path="engine-state")
    store = await opening(disk=disk)
    await store.append(hold())
    killed = disk.after_kill()
    await store.close()
    killed.fail(kind="write", errno=errno.ENOSPC, forever=True)
    killed.fail(kind="create", errno=errno.ENOSPC, forever=True)
    return await failing(opening(disk=killed))


@situation("CorruptLogError")
async def corrupt() -> str:
    await filled(events=200, segment_size=4096, history="keep")
    flip(segments()[1], 1700)
    return f"{await failing(opening())}\n\n{command('eventstore repair engine-state')}"


@situation("CorruptStoreError")
async def corrupt_manifest() -> str:
    await filled()
    (STORE / "store.json").unlink()
    return f"{await failing(opening())}\n\n{command('eventstore repair engine-state')}"


@situation("CorruptSnapshotError")
async def corrupt_snapshots() -> str:
    await filled(use_wal=False, snapshot=True)
    for snapshot in (STORE / "snapshots").iterdir():
        flip(snapshot, 300)
    return await failing(opening(use_wal=False))


class Dividend(Operation):
    symbol: str
    amount: float


@handler
def dividend(state: EngineState, event: Event[Dividend]) -> EngineState:
    return state


@situation("UnknownOperationError")
async def unknown_operation() -> str:
    registry = trading_registry()
    registry.register(dividend)
    async with opening(registry=registry) as store:
        await store.append(Dividend(symbol="AAPL", amount=0.25))
    return await failing(opening())


@situation("ReplayError")
async def refusing() -> str:
    await filled()

    @handler
    def update_position(state: EngineState, event: Event[UpdatePosition]) -> EngineState:
        raise ValueError("shares: expected at most 2")

    registry: HandlerRegistry[EngineState] = HandlerRegistry(update_position)
    return await failing(opening(registry=registry))


@situation("RegistrationError")
async def registered_twice() -> str:
    async def registers() -> None:
        @handler
        def update_position(state: EngineState, event: Event[UpdatePosition]) -> EngineState:
            return state

        trading_registry().register(update_position)

    return await failing(registers())


@situation("InitialStateError")
async def other_beginning() -> str:
    await filled()
    registry: HandlerRegistry[EngineState] = HandlerRegistry(
        update_position, initial=lambda: EngineState(base_currency="EUR")
    )
    return await failing(opening(registry=registry))


@situation("SnapshotMismatchError")
async def other_handlers() -> str:
    await filled(use_wal=False, snapshot=True)

    @handler(version=2)
    def update_position(state: EngineState, event: Event[UpdatePosition]) -> EngineState:
        return state

    registry: HandlerRegistry[EngineState] = HandlerRegistry(update_position)
    return await failing(opening(registry=registry, use_wal=False))


@situation("ConfigError")
async def misconfigured() -> str:
    return await failing(opening(config={"backup_counts": 3}))


class Stops(SystemClock):
    """A clock that ends in the middle of an opening, as a generator of times does."""

    calls = 0

    def time_ns(self) -> int:
        self.calls += 1
        if self.calls > 1:
            raise StopIteration("no more times")
        return super().time_ns()


@situation("EventStoreError")
async def stops() -> str:
    return await failing(opening(clock=Stops()))


@situation("went back")
async def went_back() -> str:
    async with opening() as store:
        await store.append(hold(), hold(), hold())
    make_backup("engine-state", "backup")
    restore(plan_restore(open_place("backup"), 2), "day2")
    with logged() as lines:
        async with opening("day2"):
            pass
    return "\n".join(lines)
