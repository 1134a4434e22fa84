"""What a store says of trouble while it runs or is opened: errors of the disk, and warnings."""

from __future__ import annotations

import asyncio
import errno
import gc
from collections.abc import Callable
from pathlib import Path
from typing import Any

from eventstore import EventLog, EventStore, SimulatedClock
from eventstore.testing import SimulatedDisk
from eventstore.testing.faults import Call, Fault
from handlers import trading_registry
from tests.project.runbook.situations import (
    START,
    failing,
    filled,
    hold,
    logged,
    situation,
    warned,
)
from tests.repair.day_store import fill_and_die, flip, segments
from tests.support.gates import GatedDisk, commits
from tests.support.orders import PlaceOrder, order_registry

REGISTRY = trading_registry()
SMALL: dict[str, Any] = {"segment_size": 4096, "auto_save_interval": None, "wal_max_entries": None}


async def until(condition: Callable[[], bool]) -> None:
    """Wait for a thread of the store."""
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110  the store has no such event
            await asyncio.sleep(0.005)


def opening(registry: Any = REGISTRY, **options: Any) -> Any:
    """Open the store. A slow disk is told where the situation asks for it."""
    return EventStore.open("engine-state", registry, **{"slow_sync": 3600.0, **options})


class Full:
    """A rule: no space for any file whose name begins like this, until space is freed."""

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        self.active = True

    def __call__(self, call: Call) -> Fault | None:
        refused = call.kind in {"write", "create"} and call.name.startswith(self.prefix)
        return Fault(errno=errno.ENOSPC) if refused and self.active else None


@situation("StoreFullError")
async def no_space() -> str:
    disk = SimulatedDisk(path="engine-state")
    with logged() as lines:
        async with opening(disk=disk) as store:
            await store.append(hold())
            rule = Full("log/0")
            disk.add_rule(rule)
            text = await failing(store.append(hold()))
            rule.active = False
    return "\n".join([text, *lines])


@situation("LowSpaceError")
async def low_space() -> str:
    disk, begun = SimulatedDisk(path="engine-state"), list[Call]()

    def rule(call: Call) -> Fault | None:
        begun.extend([call] if call.kind == "rename" and call.name == "log/new.tmp" else [])
        ahead = call.kind == "write" and call.name == "log/new.tmp" and len(begun) > 1
        return Fault(errno=errno.ENOSPC) if ahead else None

    disk.add_rule(rule)
    with logged() as lines:
        async with opening(disk=disk, low_space="refuse", **SMALL) as store:
            await store.append(hold())
            await until(lambda: store.stats().space_warning is not None)
            await asyncio.sleep(0.05)  # the loop is told of the end of the thread's work
            text = await failing(store.append(hold()))
    return "\n".join([*lines[:1], text])


@situation("StoreFailedError")
async def failed() -> str:
    disk = SimulatedDisk(path="engine-state")
    with logged() as lines:
        async with opening(disk=disk) as store:
            await store.append(hold())
            disk.fail(kind="sync", errno=errno.EIO)
            text = await failing(store.append(hold()))
    return "\n".join([text, *lines])


@situation("OutcomeUnknownError")
async def unknown_outcome() -> str:
    disk = GatedDisk(Path("engine-state"), commits)
    async with opening(disk=disk, commit_timeout=0.5) as store:
        await store.append(hold())
        disk.gate.shut()
        text = await failing(store.append(hold()))
        disk.gate.open()
    return text


@situation("a disk that does not answer")
async def hanging() -> str:
    disk = GatedDisk(Path("engine-state"), commits)
    with logged() as lines:
        async with opening(disk=disk, slow_sync=0.2) as store:
            await store.append(hold())
            disk.gate.shut()
            receipt = store.submit(hold())
            await until(lambda: store.stats().stalled > 0)
            disk.gate.open()
            await receipt
            await until(lambda: not store.stats().stalled)
    return "\n".join(dict.fromkeys(lines))


@situation("a queue past half")
async def queue() -> str:
    disk = GatedDisk(Path("engine-state"), commits)
    with logged() as lines:
        async with opening(disk=disk, max_pending=10, slow_sync=0.2) as store:
            disk.gate.shut()
            receipts = [store.submit(hold()) for _ in range(8)]
            await until(lambda: "max_pending" in str(lines))
            disk.gate.open()
            await receipts[-1]
            await until(lambda: "0 events wait" in str(lines))
    return "\n".join(line for line in lines if "max_pending" in line or "0 events wait" in line)


@situation("a clock that stepped back")
async def clock_back() -> str:
    clock = SimulatedClock(START)
    with logged() as lines:
        async with opening(clock=clock) as store:
            for time in (START, START - 90 * 10**9, START + 10**9):
                clock.set(time)
                await store.append(hold())
    return "\n".join(lines)


@situation("a snapshot that could not be taken")
async def no_snapshot() -> str:
    disk = SimulatedDisk(path="engine-state")
    with logged() as lines:
        async with opening(disk=disk) as store:
            await store.append(hold())
            disk.add_rule(Full("snapshots/"))
            text = await failing(store.snapshot())
    return "\n".join([*lines[:1], text])


@situation("archiving that stands still")
async def no_archive() -> str:
    with logged() as lines:
        await filled(events=100, **SMALL)
        async with opening(backup_count=1, **SMALL) as store:
            flip(segments(Path("engine-state"))[0], 1700)
            await store.snapshot()
    return "\n".join(lines)


class WithoutFrontier(SimulatedDisk):
    """A disk that refuses the small file beside the log."""

    def overwrite(self, name: str, data: bytes) -> None:
        raise OSError(errno.EIO, "Input/output error", name)


@situation("no frontier")
async def no_frontier() -> str:
    with logged() as lines:
        async with opening(disk=WithoutFrontier(path="engine-state")) as store:
            await store.append(hold())
    return "\n".join(lines)


@situation("a killed writer")
async def killed() -> str:
    await fill_and_die(Path("alive"), Path("engine-state"))
    segment = segments(Path("engine-state"))[-1]
    data = bytearray(segment.read_bytes())
    end = len(data.rstrip(b"\0"))
    data[end - 200 :] = bytes(len(data) - end + 200)
    segment.write_bytes(data)
    (Path("engine-state") / "log" / "notes.txt").write_text("mine")
    with logged() as lines:
        async with opening():
            pass
    return "\n".join(lines)


@situation("one turned bit")
async def one_bit() -> str:
    await fill_and_die(Path("alive"), Path("engine-state"))
    segment = segments(Path("engine-state"))[-1]
    end = len(segment.read_bytes().rstrip(b"\0"))
    flip(segment, end - 40, 2)
    with logged() as lines:
        async with opening():
            pass
    return "\n".join(lines)


@situation("a snapshot passed over")
async def passed_over() -> str:
    await filled(snapshot=True)
    flip(next(iter((Path("engine-state") / "snapshots").iterdir())), 300)
    with logged() as lines:
        async with opening():
            pass
    return "\n".join(lines)


@situation("keys from the log")
async def lost_keys() -> str:
    async with opening() as store:
        await store.append(hold(), key="broker:1")
        await store.snapshot()
    flip(next(iter((Path("engine-state") / "keys").iterdir())), 100)
    with logged() as lines:
        async with opening():
            pass
    return "\n".join(lines)


@situation("in doubt")
async def in_doubt() -> str:
    clock = SimulatedClock(START)
    async with opening(order_registry(), clock=clock) as store:
        await store.append(PlaceOrder(client_order_id="bot-1", decision=1))
    clock.advance(90.0)
    with logged() as lines:
        async with opening(order_registry(), clock=clock):
            pass
    return "\n".join(lines)


@situation("not closed")
async def not_closed() -> str:
    with warned() as lines:
        store = await opening()
        await store.append(hold())
        del store
        log = await EventLog.open("prices")
        await log.append(1.0)
        del log
        gc.collect()
    return "\n".join(lines)
