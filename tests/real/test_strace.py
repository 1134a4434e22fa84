"""The real system calls, and the store's answer to errors from the kernel."""

from __future__ import annotations

import asyncio
import ctypes
import errno
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from eventstore import EventStore, EventStoreError, ReadFailedError, SimulatedClock, StoreConfig
from eventstore.disk.base import Disk
from eventstore.disk.local import LocalDisk
from eventstore.testing import Call, SimulatedDisk
from tests.real.children import Parent
from tests.real.conftest import Start
from tests.real.lives import contents, payload
from tests.real.tracing import NOTES, Syscall, disk_calls, merged, read_trace, traced
from tests.torture.ledger import Ledger, ledger_registry

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="strace traces Linux only")

CONFIG = StoreConfig(
    segment_size=8192,
    wal_max_entries=None,
    auto_save_interval=None,
    idle_seal=3600.0,
    backup_count=1,
)
TRACE_ME = 0x59616D61  # PR_SET_PTRACER: also where only descendants may be traced


def wait_to_be_traced(parent: Parent) -> None:
    ctypes.CDLL(None).prctl(TRACE_ME, ctypes.c_ulong(-1), 0, 0, 0)
    parent.report("ready")
    assert parent.order() == "begin"


async def append(store: EventStore[Ledger], number: int) -> None:
    """Append event `number`. On return, nothing goes on in the background."""
    await store.append(payload(0, number))
    while not store.stats().spare_ready:
        if store.stats().failed:
            return
        await asyncio.sleep(0)


# ---- the simulated disk, held against the real one -------------------------------------------


async def first_life(store: EventStore[Ledger]) -> None:
    """A new store, through rolls, snapshots and archiving, to a clean close."""
    for number in range(1, 41):
        await append(store, number)
    await store.snapshot()
    for number in range(41, 81):
        await append(store, number)
    await store.append(*(payload(0, number) for number in range(81, 86)))
    await store.snapshot()
    assert store.stats().segments_archived >= 3


async def second_life(store: EventStore[Ledger]) -> None:
    """Append to a store that was closed. This process will be killed."""
    for number in range(86, 101):
        await append(store, number)


async def third_life(store: EventStore[Ledger]) -> None:
    """Open after an unclean end: repair, and further appends."""
    assert store.recovery.rewritten is not None
    for number in range(101, 111):
        await append(store, number)


LIVES = (first_life, second_life, third_life)
KILLED = (second_life,)


class SameChance(LocalDisk):
    """A real directory with the salts and store ids of a simulated disk."""

    def __init__(self, path: str, seed: int) -> None:
        super().__init__(path)
        self._chance = SimulatedDisk(seed)

    def entropy(self, length: int) -> bytes:
        return self._chance.entropy(length)


async def opened(disk: Disk) -> EventStore[Ledger]:
    return await EventStore.open("", ledger_registry(), CONFIG, disk=disk, clock=SimulatedClock())


async def really(parent: Parent, path: str, number: int) -> None:
    """Live life `number` on the disk of this machine."""
    wait_to_be_traced(parent)
    store = await opened(SameChance(path, number))
    await LIVES[number](store)
    if LIVES[number] in KILLED:
        os.kill(os.getpid(), signal.SIGKILL)
    await store.close()


async def simulated(
    before: dict[str, bytes], number: int
) -> tuple[Sequence[Call], dict[str, bytes]]:
    """Live a life on a simulated disk. Returns the calls and the remaining files."""
    disk = SimulatedDisk(number)
    for name, content in before.items():
        disk.write_file(name, content)
    store = await opened(disk)
    await LIVES[number](store)
    if LIVES[number] not in KILLED:
        await store.close()
        return disk.calls, disk.contents()
    calls, left = list(disk.calls), disk.after_kill().contents()
    await store.close()
    return calls, left


def comparable(calls: Sequence[Call], before: dict[str, bytes]) -> list[Call]:
    """Drop calls without effect, calls on missing folders, and those on hints."""
    folders = {"", *(name.rpartition("/")[0] for name in before)}
    kept = []
    for call in calls:
        if call.kind == "make_folder":
            folders.add(call.name)
        folder = call.name.rpartition("/")[0]
        # The trace knows nothing outside the directory, where `sync_path` syncs the parents.
        unseen = ("list", "size", "close", "close_disk", "sync_path")
        if call.kind not in unseen and folder in folders and call.name not in NOTES:
            kept.append(call)
    return merged(kept)


@pytest.mark.asyncio
async def test_the_simulated_disk_sees_the_calls_that_the_kernel_sees(
    tmp_path: Path, start: Start
) -> None:
    path = tmp_path / "store"
    path.mkdir(mode=0o700)
    left: dict[str, bytes] = {}
    for number in range(len(LIVES)):
        calls, after = await simulated(left, number)
        child, trace = start(really, str(path), number), tmp_path / f"trace-{number}"
        child.report()
        with traced(child, trace, "that the simulated disk is like a real one"):
            assert list(child.reports()) == []
            child.wait()
        real = merged(disk_calls(read_trace(trace), path))
        assert len(real) > 50
        assert real == comparable(calls, left)
        left = {name: content for name, content in after.items() if name not in NOTES}
        assert in_any_order(contents(path)) == in_any_order(left)


def in_any_order(files: dict[str, bytes]) -> dict[str, bytes]:
    """The order of a map's entries in a snapshot follows the hash seed of each process."""
    return {
        name: bytes(len(content)) if name.startswith("snapshots/") else content
        for name, content in files.items()
    }


# ---- failing system calls ---------------------------------------------------------------------

FIRST = 6
"""By then the writer's thread has begun a segment, and is committing records one by one."""


async def appends(parent: Parent, path: str, number: int, traced_open: bool) -> None:
    """Append `number` events one by one, and report the outcome of each. Then close."""
    if traced_open:
        wait_to_be_traced(parent)
    store = await EventStore.open(path, ledger_registry(), CONFIG, clock=SimulatedClock())
    if not traced_open:
        wait_to_be_traced(parent)
    for _ in range(number):
        seq = store.seq + 1
        try:
            await append(store, seq)
        except EventStoreError as error:
            parent.report(seq, type(error).__name__, getattr(error, "errno", None))
            seqs = [event.seq async for event in store.events()]
            assert seqs == list(range(1, seq)), "reading goes on, and shows what is durable"
            assert store.state.count == seq - 1
        else:
            parent.report(seq, "durable", None)
    parent.report(store.seq, "failed" if store.stats().failed else "well", None)
    await store.close()
    parent.report("closed")


class Outcome:
    """The outcome of a run of `appends` with failing system calls."""

    def __init__(self, reports: list[tuple[Any, ...]], calls: list[Syscall], path: Path) -> None:
        assert reports.pop() == ("closed",)
        self.seq, self.condition, _ = reports.pop()
        self.appends = [(outcome, code) for _, outcome, code in reports]
        self.calls = calls
        self.path = path

    @property
    def spoilt(self) -> list[Syscall]:
        return [call for call in self.calls if call.injected]

    def after(self, call: Syscall) -> list[Syscall]:
        """Return the system calls after `call`."""
        return self.calls[self.calls.index(call) + 1 :]

    async def reopened(self) -> EventStore[Ledger]:
        store = await EventStore.open(self.path, ledger_registry(), CONFIG)
        assert [event.data async for event in store.events()] == [
            payload(0, number) for number in range(1, store.seq + 1)
        ]
        await store.append(payload(0, store.seq + 1))
        await store.close()
        return store


@pytest.fixture
def spoil(tmp_path: Path, start: Start) -> Any:
    """Run `appends` with an injection."""

    def spoil(inject: str, promise: str, number: int = 8, *, traced_open: bool = True) -> Outcome:
        path, trace = tmp_path / "store", tmp_path / "trace"
        child = start(appends, str(path), number, traced_open)
        child.report()
        with traced(child, trace, promise, inject):
            reports = list(child.reports())
            child.wait()
        return Outcome(reports, read_trace(trace), path)

    return spoil


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("when", "code"),
    [
        pytest.param(when, code, id=f"{what}-{code}")
        for when, what, codes in (
            (1, "the zeros of a segment", ("EIO", "ENOSPC")),
            (2, "its header", ("EIO", "ENOSPC")),
            (3, "the seal of the one before", ("EIO", "ENOSPC")),
            (4, "the first record", ("EIO", "ENOSPC")),
            (6, "a later record", ("EIO", "ENOSPC", "EDQUOT", "EROFS")),
        )
        for code in codes
    ],
)
async def test_a_sync_that_fails_is_the_end_and_is_never_tried_again(
    when: int, code: str, tmp_path: Path, spoil: Any
) -> None:
    async with EventStore.open(tmp_path / "store", ledger_registry(), CONFIG) as store:
        await append(store, 1)  # made in advance, so that the first syncs are the writer's
    (tmp_path / "store" / "log" / "spare").unlink()
    outcome = spoil(f"fdatasync:error={code}:when={when}", "that no failed sync is retried")
    kinds = [kind for kind, _ in outcome.appends]
    failed = kinds.index("StoreFailedError")
    assert failed == max(0, when - 4)
    assert kinds == ["durable"] * failed + ["StoreFailedError"] * (len(kinds) - failed)
    assert (outcome.seq, outcome.condition) == (1 + failed, "failed")
    (spoilt,) = outcome.spoilt
    later = {call.name for call in outcome.after(spoilt)}
    assert not later & {"fdatasync", "fsync", "pwrite64"}
    store = await outcome.reopened()
    if when >= 4:
        assert store.recovery.rewritten is not None
        # nobody knows the outcome, as reported
        assert store.recovery.seq - 1 in (failed, failed + 1)
    else:
        assert store.recovery.seq == 1


@pytest.mark.asyncio
async def test_a_folder_that_cannot_be_synced_is_the_end_too(tmp_path: Path, spoil: Any) -> None:
    path = tmp_path / "store"
    async with EventStore.open(path, ledger_registry(), CONFIG) as store:
        await append(store, 1)
    # In an open store, the first sync is of a new segment's name, before the segment has any
    # record.
    outcome = spoil(
        "fsync:error=EIO:when=1",
        "that no failed sync of a folder is retried",
        traced_open=False,
    )
    assert [kind for kind, _ in outcome.appends] == ["StoreFailedError"] * 8
    assert (outcome.seq, outcome.condition) == (1, "failed")
    (spoilt,) = outcome.spoilt
    assert f"<{path}/log>" in spoilt.args
    later = [call.name for call in outcome.after(spoilt)]
    assert not {"fsync", "fdatasync", "pwrite64"} & set(later)
    assert (await outcome.reopened()).recovery.seq == 1


@pytest.mark.asyncio
@pytest.mark.parametrize("code", ["ENOSPC", "EDQUOT", "EFBIG"])
async def test_a_write_without_space_is_refused_and_the_next_one_is_not(
    code: str, spoil: Any
) -> None:
    outcome = spoil(f"pwrite64:error={code}:when={FIRST}", "that a full disk refuses one commit")
    kinds = [kind for kind, _ in outcome.appends]
    assert kinds.count("StoreFullError") == 1
    assert kinds.count("durable") == len(kinds) - 1
    assert (outcome.seq, outcome.condition) == (len(kinds) - 1, "well")
    assert len(outcome.spoilt) == 1
    store = await outcome.reopened()
    assert (store.recovery.seq, store.recovery.clean) == (outcome.seq, True)


@pytest.mark.asyncio
async def test_a_write_that_fails_is_the_end(spoil: Any) -> None:
    outcome = spoil(f"pwrite64:error=EIO:when={FIRST}", "that EIO on a write ends the store")
    kinds = [kind for kind, _ in outcome.appends]
    failed = kinds.index("StoreFailedError")
    assert kinds == ["durable"] * failed + ["StoreFailedError"] * (len(kinds) - failed)
    (spoilt,) = outcome.spoilt
    assert [call for call in outcome.after(spoilt) if call.name == "fdatasync"] == []
    store = await outcome.reopened()
    assert store.recovery.seq == failed


@pytest.mark.asyncio
@pytest.mark.parametrize("call", ["pwrite64", "fdatasync", "pread64", "openat", "fsync"])
async def test_interruptions_are_invisible(call: str, spoil: Any) -> None:
    outcome = spoil(f"{call}:error=EINTR:when=1+2", "that EINTR is invisible")
    assert {kind for kind, _ in outcome.appends} == {"durable"}
    assert outcome.spoilt != []
    store = await outcome.reopened()
    assert (store.recovery.seq, store.recovery.clean) == (8, True)


@pytest.mark.asyncio
async def test_a_read_that_fails_is_not_taken_for_the_end(tmp_path: Path, start: Start) -> None:
    path, trace = tmp_path / "store", tmp_path / "trace"
    async with EventStore.open(path, ledger_registry(), CONFIG) as store:
        await store.append(*(payload(0, number) for number in range(1, 9)))
    before = contents(path)
    for number in range(1, 6):
        child = start(opens, str(path))
        child.report()
        inject = f"pread64:error=EIO:when={number}+"
        with traced(child, trace, "that EIO on a read is never taken for the end", inject):
            reports = list(child.reports())
            child.wait()
        assert contents(path) == before
        if not any(call.injected for call in read_trace(trace)):
            break
        ((outcome, name, code),) = reports
        assert (outcome, code) == ("ReadFailedError", errno.EIO)
        assert (path / name).is_file()
    assert number > 3, "several reads were spoilt, each in turn"


async def opens(parent: Parent, path: str) -> None:
    """Open a store, and report the error."""
    wait_to_be_traced(parent)
    try:
        async with EventStore.open(path, ledger_registry(), CONFIG):
            parent.report("opened", "", None)
    except ReadFailedError as error:
        parent.report(type(error).__name__, error.path, error.errno)
