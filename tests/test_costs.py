"""The costs of an append and a read, counted and not timed: calls, hops, system calls, copies.

Nobody notices a second sync, an event encoded twice or a call more for each event in any other
test, and a benchmark shows such a cost only to an attentive reader. The counts are exact where a
promise or the design fixes the count (one write, one sync, one hop there and one back). Elsewhere
the counts are upper bounds with little room. A change that makes a bound smaller may write the
smaller number down. A change that needs a larger bound has shown the cost of the change.
"""

from __future__ import annotations

import asyncio
import fcntl
import gc
import os
import sys
import threading
import tracemalloc
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from decimal import Decimal
from pathlib import Path
from types import FrameType
from typing import Any

import msgspec
import pytest
from immutables import Map

import eventstore
from eventstore import (
    Event,
    EventLog,
    EventStore,
    Operation,
    handler,
    read_events,
    replay,
    state_at,
)
from eventstore.disk.layout import MANIFEST_TEMPORARY, SEGMENT_TEMPORARY, segment_name
from eventstore.disk.local import LocalDisk
from eventstore.disk.manifest import load_manifest
from eventstore.log import runner
from eventstore.log.archive import compact
from eventstore.log.base import Chunk
from eventstore.log.format import HEADER_SIZE
from eventstore.log.reader import CACHED_BYTES, LogReader
from eventstore.log.segment import WINDOW
from eventstore.model.map_changes import ABSENT
from eventstore.model.state_codec import StateCodec
from eventstore.shared_threads import Crew
from eventstore.testing import Call, SimulatedDisk
from handlers import Position
from tests.real.children import Child, Parent
from tests.real.tracing import disk_calls, read_trace, traced
from tests.support.bank import Bank, bank_registry, pay

PRODUCT = str(Path(eventstore.__file__).parent)
SEGMENT = segment_name(1)
CALL_SOON = "BaseEventLoop.call_soon"
THREADSAFE = "BaseEventLoop.call_soon_threadsafe"
HOP = "Lane.put"
CREATE_FUTURE = "BaseEventLoop.create_future"
SYNC = "fcntl" if hasattr(fcntl, "F_FULLFSYNC") else "fdatasync"
QUIET: dict[str, Any] = {
    "segment_size": 1 << 20,
    "low_space": "refuse",
    "idle_seal": 3600.0,
    "slow_sync": 3600.0,
    "wal_max_entries": None,
    "auto_save_interval": None,
}
"""Nothing but appends: no seal, no snapshot, no second segment, no look at a slow disk. With
`low_space`, the first segment has its whole size."""


class Calls:
    """The function calls of this thread and of the writer's, between `begin` and `end`.

    `loop` and `writer` count functions by qualified name, with functions of the interpreter and of
    libraries. `product` counts, for either thread, only the Python functions of the product.
    """

    def __init__(self) -> None:
        self.loop: Counter[str] = Counter()
        self.writer: Counter[str] = Counter()
        self.product: Counter[str] = Counter()
        self._here = threading.get_ident()
        self._counting = False

    def begin(self) -> None:
        self._counting = True

    def end(self) -> None:
        self._counting = False

    def seen(self, frame: FrameType, event: str, function: Any) -> None:
        if not self._counting or event not in ("call", "c_call"):
            return
        here = threading.get_ident() == self._here
        if not here and threading.current_thread().name != "eventstore-writer":
            return
        names = self.loop if here else self.writer
        if event == "c_call":
            names[getattr(function, "__qualname__", repr(function))] += 1
        else:
            names[frame.f_code.co_qualname] += 1
            if frame.f_code.co_filename.startswith(PRODUCT):
                self.product["loop" if here else "writer"] += 1


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Iterator[Calls]:
    """Count in this thread and in every thread that starts from now on, as a new crew's do."""
    calls = Calls()
    monkeypatch.setattr(runner, "WRITERS", Crew("eventstore-writer", 8))
    before = sys.getprofile()
    threading.setprofile(calls.seen)
    sys.setprofile(calls.seen)
    try:
        yield calls
    finally:
        sys.setprofile(before)
        threading.setprofile(None)


@contextmanager
def counting(calls: Calls) -> Iterator[None]:
    gc.collect()  # what other tests have left behind is finalised now, and not counted
    calls.begin()
    try:
        yield
    finally:
        calls.end()


@asynccontextmanager
async def begun(opening: Any) -> AsyncIterator[Any]:
    """Open, append one event, wait for the spare segment, and close in the end."""
    async with opening as opened:
        await (opened.append(pay()) if isinstance(opened, EventStore) else opened.append(b""))
        log: Any = opened.log if isinstance(opened, EventStore) else opened._log
        # The spare is there, and the work that made it has ended.
        while not opened.stats().spare_ready or log._spare_task is not None:  # noqa: ASYNC110  there is no event to wait for
            await asyncio.sleep(0)
        yield opened


def store_at(path: Path | str, **options: Any) -> Any:
    return begun(EventStore.open(path, bank_registry(), **QUIET | options))


def log_at(path: Path | str, **options: Any) -> Any:
    return begun(EventLog.open(path, **QUIET | options))


async def awaiters(store: EventStore[Bank], number: int, each: int) -> int:
    """Have `number` tasks append `each` events, one by one. Returns the number of commits."""

    async def one() -> None:
        for _ in range(each):
            await store.append(pay())

    before = store.stats().commits
    await asyncio.gather(*(one() for _ in range(number)))
    return store.stats().commits - before


# ---- calls on the disk -----------------------------------------------------------------------


class TestTheDisk:
    @pytest.mark.asyncio
    async def test_an_append_is_one_write_and_one_sync(self) -> None:
        disk = SimulatedDisk()
        async with store_at("", disk=disk) as store:
            before = len(disk.calls)
            for _ in range(5):
                await store.append(pay(), pay(2))
            assert [(call.kind, call.name) for call in disk.calls[before:]] == [
                ("write", SEGMENT),
                ("sync", SEGMENT),
            ] * 5

    @pytest.mark.asyncio
    async def test_nor_does_a_log_make_more_of_it(self) -> None:
        disk = SimulatedDisk()
        async with log_at("", disk=disk) as log:
            before = len(disk.calls)
            for _ in range(5):
                await log.append(b"a value")
            assert [call.kind for call in disk.calls[before:]] == ["write", "sync"] * 5

    @pytest.mark.parametrize("append", ["store", "log"])
    def test_the_kernel_sees_no_more(self, append: str, tmp_path: Path) -> None:
        seen: list[Counter[tuple[str, str]]] = []
        for number in (10, 30):
            path, trace = tmp_path / f"{number}", tmp_path / f"trace-{number}"
            child = Child(appends, append, str(path), number)
            try:
                child.report()
                with traced(child, trace, "that an append is one write and one sync"):
                    child.wait()
            finally:
                child.kill()
            made = disk_calls(read_trace(trace), path)
            seen.append(Counter((call.kind, call.name) for call in made))
        few, many = seen
        few.subtract(many)  # not `-`, which would drop negative counts
        assert {call: number for call, number in few.items() if number} == {
            ("write", SEGMENT): -20,
            ("sync", SEGMENT): -20,
        }


async def appends(parent: Parent, kind: str, path: str, number: int) -> None:
    """Open, append `number` times and close, in a new process."""
    parent.report("ready")
    parent.order()
    async with (store_at if kind == "store" else log_at)(path) as opened:
        for _ in range(number):
            await opened.append(pay() if kind == "store" else b"a value")


# ---- threads ---------------------------------------------------------------------------------


class TestHops:
    @pytest.mark.asyncio
    async def test_an_append_goes_to_the_thread_and_back_once(
        self, calls: Calls, tmp_path: Path
    ) -> None:
        async with store_at(tmp_path / "store") as store:
            with counting(calls):
                for _ in range(20):
                    await store.append(pay())
            assert calls.loop[HOP] == 20
            assert calls.loop["SimpleQueue.put"] <= 20, "a thread that is there is not called"
            assert calls.writer["LocalFile.write"] == calls.writer[SYNC] == 20
            assert calls.writer["LocalDisk.overwrite"] <= 21, "the frontier, beside the loop"
            assert calls.writer["write"] == calls.loop["read"] == 20, "the bell, rung and answered"
            assert calls.writer[THREADSAFE] == calls.loop[THREADSAFE] == 0
            assert calls.loop[CALL_SOON] == 20, "the waiter's future alone"
            assert not {"pwrite", SYNC, "fsync", "pread"} & set(calls.loop)

    @pytest.mark.asyncio
    async def test_it_goes_there_at_once(self, calls: Calls, tmp_path: Path) -> None:
        async with store_at(tmp_path / "store") as store:
            await store.append(pay())
            with counting(calls):
                receipt = store.submit(pay())
            assert calls.loop[HOP] == 1
            assert calls.loop[CALL_SOON] == 0
            await receipt

    @pytest.mark.asyncio
    async def test_a_batch_goes_there_and_back_once(self, calls: Calls, tmp_path: Path) -> None:
        async with store_at(tmp_path / "store") as store:
            with counting(calls):
                receipts = [store.submit(pay()) for _ in range(65)]  # the first one goes alone
                for receipt in receipts:
                    await receipt
            assert calls.loop[HOP] == calls.writer["write"] == 2
            assert calls.writer["LocalFile.write"] == calls.writer[SYNC] == 2

    @pytest.mark.asyncio
    @pytest.mark.parametrize("number", [2, 64])
    async def test_awaiters_share_commits_from_the_second_on(
        self, number: int, calls: Calls, tmp_path: Path
    ) -> None:
        async with store_at(tmp_path / "store") as store:
            with counting(calls):
                commits = await awaiters(store, number, 10)
            assert commits == 11, "the first of all goes alone, and from then on all go together"
            assert calls.loop[HOP] == calls.writer["write"] == 11
            assert calls.writer["LocalFile.write"] == calls.writer[SYNC] == 11

    @pytest.mark.asyncio
    async def test_so_they_do_without_threads(self) -> None:
        async with store_at("", disk=SimulatedDisk()) as store:
            assert await awaiters(store, 64, 10) == 11


# ---- calls -----------------------------------------------------------------------------------


class Audit(Operation, key="number", durability="interval"):
    number: int


@handler
def audit(state: Bank, event: Event[Audit]) -> Bank:
    return Bank(state.balances, event.seq)


LONE = 41
"""The most calls of the product's own functions for a lone append, on the loop. A coroutine or
generator that is resumed counts again. Three of the calls refuse what would break the order of
numbers, and give the fold its surroundings: `CallGuard.check`, `fold_context` and
`encode_and_fold`. Two more make and begin to await the object that names a forgotten `await`
(`missing_await.py`): Python's own coroutine cannot say that. Five check the new state by its
type: the call, the state, its map, the search for the map's changed entry, and the entry. One,
`GroupCommit._finish`, is a pass that can be repeated after an interruption. One more,
`CallGuard.run`, refuses calls from the class of a payload."""

SHARED = 29
"""For one of 64 that share a record, the same calls among them."""

GROUPED = 1
"""The same for one more event in a group. The event is folded."""

RECORD = 26
"""For a record, on the thread of the writers. One of the calls takes the lane, or two where work
comes while the thread stops. Two more tell other processes of the record, by the frontier, after
the loop was told."""

LOOK = 4
"""For the look whether the segment is in its place, which a record takes every few milliseconds."""


class TestCalls:
    @pytest.mark.asyncio
    async def test_for_a_lone_append(self, calls: Calls, tmp_path: Path) -> None:
        async with store_at(tmp_path / "store") as store:
            with counting(calls):
                for _ in range(50):
                    await store.append(pay())
            assert calls.product["loop"] <= 50 * LONE
            assert calls.product["writer"] <= 50 * RECORD
            assert calls.loop["Encoder.encode"] == calls.loop["Decoder.decode"] == 50
            assert calls.loop["deposit"] == 50, "folded once"
            assert "Encoder.encode" not in calls.writer

    @pytest.mark.asyncio
    async def test_keys_and_durabilities_of_other_operations_cost_nothing(
        self, calls: Calls, tmp_path: Path
    ) -> None:
        registry = bank_registry()
        registry.register(audit)
        async with begun(EventStore.open(tmp_path / "store", registry, **QUIET)) as store:
            with counting(calls):
                for _ in range(50):
                    await store.append(pay())
            assert calls.product["loop"] <= 50 * LONE
            assert calls.loop["AppendPath._level"] == calls.loop["KeyedAppends.submit"] == 0
            with counting(calls):
                assert not (await store.append(Audit(number=1))).duplicate
                assert (await store.append(Audit(number=1))).duplicate
            assert calls.loop["KeyedAppends.submit"] == 2
            assert calls.loop["AppendPath._level"] >= 1

    @pytest.mark.asyncio
    async def test_for_an_append_among_64_awaiters(self, calls: Calls, tmp_path: Path) -> None:
        async with store_at(tmp_path / "store") as store:
            with counting(calls):
                await awaiters(store, 64, 10)
            assert calls.product["loop"] <= 640 * SHARED
            assert calls.product["writer"] <= 11 * RECORD
            assert calls.loop["Encoder.encode"] == calls.loop["Decoder.decode"] == 640
            assert calls.loop[CREATE_FUTURE] == 640

    @pytest.mark.asyncio
    async def test_for_an_event_of_a_group(self, calls: Calls, tmp_path: Path) -> None:
        async with store_at(tmp_path / "store") as store:
            operations = [pay()] * 1000
            with counting(calls):
                await store.append(*operations)
            assert calls.product["loop"] <= LONE + 1000 * GROUPED
            assert calls.product["writer"] <= RECORD + LOOK
            assert calls.loop["Encoder.encode"] == calls.loop["Decoder.decode"] == 1

    @pytest.mark.asyncio
    async def test_for_a_value_of_a_log(self, calls: Calls, tmp_path: Path) -> None:
        async with log_at(tmp_path / "log") as log:
            with counting(calls):
                await log.append(*[b"a value"] * 1000)
            assert calls.product["loop"] <= LONE, "for a thousand of them"
            assert calls.loop["Encoder.encode"] == calls.loop["Decoder.decode"] == 1


class Generations(msgspec.Struct, frozen=True):
    recent: Map[str, tuple[str, int]] = Map()
    older: Map[str, tuple[str, int]] = Map()


class TestTheCheckOfAState:
    def test_a_map_that_moves_to_another_field_is_not_checked_again(self, calls: Calls) -> None:
        check = StateCodec[Generations](Generations).check
        full = Map({f"{number}": ("told", number) for number in range(500)})
        before = Generations(recent=full, older=Map({"forgotten": ("told", 0)}))
        check(before, ABSENT)
        with counting(calls):
            check(Generations(recent=Map({"new": ("told", 1)}), older=full), before)
        assert calls.product["loop"] <= 8, "the map of one entry, and the entry"


# ---- memory ----------------------------------------------------------------------------------

MIB = 1 << 20


def positions(count: int) -> dict[str, Position]:
    return {f"S{number}": Position(f"S{number}", Decimal(1), Decimal(2)) for number in range(count)}


class TestTheCutOfAState:
    def test_texts_and_literals_of_an_object_are_weighed_without_a_call(self, calls: Calls) -> None:
        codec = StateCodec[dict[str, Position]](dict[str, Position])
        list(codec.slices(positions(1)))  # looks at the fields, once for each class
        held = positions(500)
        with counting(calls):
            list(codec.slices(held))
        assert calls.product["loop"] <= 500 * 4 + 100


async def taken(append: Callable[[], Awaitable[Any]]) -> float:
    """Return the peak of allocated memory while `append` ran, in MiB."""
    gc.collect()
    tracemalloc.start()
    try:
        await append()
        return tracemalloc.get_traced_memory()[1] / MIB
    finally:
        tracemalloc.stop()


class TestMemory:
    @pytest.mark.asyncio
    async def test_nothing_of_an_append_is_kept(self, tmp_path: Path) -> None:
        # With syncs, the times of the last 4096 syncs are kept.
        async with store_at(tmp_path / "store", durability="none") as store:

            async def kept(number: int) -> int:
                gc.collect()
                before = sys.getallocatedblocks()
                for _ in range(number):
                    await store.append(pay())
                gc.collect()
                return sys.getallocatedblocks() - before

            await kept(500)
            assert await kept(2000) < 200, "blocks: not even one for ten appends"

    @pytest.mark.asyncio
    async def test_how_often_a_value_is_copied(self, tmp_path: Path) -> None:
        value = "x" * MIB
        async with log_at(tmp_path / "log") as log:
            assert await taken(lambda: log.append(value)) < 3.25

    @pytest.mark.asyncio
    async def test_how_often_a_payload_is_copied(self, tmp_path: Path) -> None:
        value = "x" * MIB
        async with store_at(tmp_path / "store") as store:
            assert await taken(lambda: store.append(pay(account=value))) < 4.75
            group = [pay(account="x" * 1024)] * 1024
            assert await taken(lambda: store.append(*group)) < 4.75

    @pytest.mark.asyncio
    async def test_a_segment_is_in_memory_once_while_it_is_archived(self, tmp_path: Path) -> None:
        async with EventLog.open(
            tmp_path / "log", config={**QUIET, "segment_size": 4 * MIB}
        ) as log:
            for _ in range(60):
                await log.append(*[b"x" * 1024] * 100)
        disk = LocalDisk(tmp_path / "log")
        manifest = load_manifest(disk)

        async def archives() -> None:
            assert len(compact(disk, manifest, 6000, "archive").archived) == 1

        assert await taken(archives) < 4.75
        disk.close()


# ---- opening ---------------------------------------------------------------------------------

FOLDERS = ["", "snapshots", "archive", "keys", "log"]
"""The folders that an opening lists."""


def folders_listed(disk: SimulatedDisk, before: int) -> list[str]:
    return [call.name for call in disk.calls[before:] if call.kind == "list"]


def syncs(disk: SimulatedDisk, since: int) -> list[tuple[str, str]]:
    found = ("sync", "sync_folder", "sync_path")
    return [(call.kind, call.name) for call in disk.calls[since:] if call.kind in found]


async def closed_store(*, kill: bool = False) -> SimulatedDisk:
    """Return the disk of a store with archives, two snapshots, and an event after the snapshots."""
    disk = SimulatedDisk()
    options = {**QUIET, "segment_size": 4096, "backup_count": 2}
    async with EventStore.open("", bank_registry(), options, disk=disk) as store:
        for _ in range(3):
            for _ in range(20):
                await store.append(pay(account="a" * 200))
            await store.snapshot()
        await store.append(pay())
        killed = disk.after_kill()
    return killed if kill else disk.reopen()


class TestOpening:
    """How often the directory is listed: once, and once more after names were created."""

    @pytest.mark.asyncio
    @pytest.mark.parametrize("read_only", [False, True])
    @pytest.mark.parametrize("kill", [False, True])
    async def test_a_store_lists_each_folder_once(self, read_only: bool, kill: bool) -> None:
        disk = await closed_store(kill=kill)
        before = len(disk.calls)
        opening = EventStore.open("", bank_registry(), QUIET, disk=disk, read_only=read_only)
        async with opening as store:
            assert folders_listed(disk, before) == FOLDERS
            assert (store.recovery.snapshot_seq, store.seq) == (60, 61)
            assert store.recovery.clean is not kill
            assert any(name.startswith("archive/") for name in disk.files())

    @pytest.mark.asyncio
    @pytest.mark.parametrize("read_only", [False, True])
    async def test_so_does_a_log(self, read_only: bool) -> None:
        disk = SimulatedDisk()
        async with EventLog.open(disk=disk, config=QUIET) as log:
            await log.append(b"a value")
        disk = disk.reopen()
        before = len(disk.calls)
        async with EventLog.open(disk=disk, config=QUIET, read_only=read_only) as log:
            assert folders_listed(disk, before) == FOLDERS
            assert log.seq == 1

    @pytest.mark.asyncio
    async def test_a_new_store_lists_its_new_names_again(self) -> None:
        disk = SimulatedDisk()
        async with EventStore.open("", bank_registry(), QUIET, disk=disk):
            assert folders_listed(disk, 0) == [*FOLDERS, "", "log"]

    @pytest.mark.asyncio
    async def test_a_new_store_makes_each_sync_once(self) -> None:
        """Data of the segment and its name, the folder, the parents, data and name of the rest."""
        disk = SimulatedDisk()
        async with EventStore.open("", bank_registry(), QUIET, disk=disk):
            assert syncs(disk, 0) == [
                ("sync", SEGMENT_TEMPORARY),
                ("sync_folder", "log"),
                ("sync_folder", ""),
                ("sync_path", ""),
                ("sync", MANIFEST_TEMPORARY),
                ("sync_folder", ""),
            ]
            assert "remove" not in {call.kind for call in disk.calls}

    @pytest.mark.asyncio
    async def test_the_path_is_resolved_for_openings_that_were_given_up_alone(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        resolved: list[object] = []
        resolve = os.path.realpath

        def counted(path: Any) -> Any:
            resolved.append(path)
            return resolve(path)

        monkeypatch.setattr(os.path, "realpath", counted)
        async with EventStore.open(tmp_path / "s", bank_registry(), QUIET):
            assert not resolved

    @pytest.mark.asyncio
    async def test_a_closed_store_makes_one_sync_and_removes_nothing(self) -> None:
        """A writer may have died between the rename of `store.json` and the sync of the folder."""
        disk = await closed_store(kill=False)
        before = len(disk.calls)
        async with EventStore.open("", bank_registry(), QUIET, disk=disk):
            assert syncs(disk, before) == [("sync_folder", "")]
            assert "remove" not in {call.kind for call in disk.calls[before:]}

    @pytest.mark.asyncio
    async def test_so_does_a_store_that_begins_a_log(self) -> None:
        disk = SimulatedDisk()
        async with EventStore.open("", bank_registry(), QUIET, disk=disk, use_wal=False) as store:
            await store.append(pay())
        disk = disk.reopen()
        before = len(disk.calls)
        async with EventStore.open("", bank_registry(), QUIET, disk=disk) as store:
            assert folders_listed(disk, before) == FOLDERS * 2
            assert store.seq == 1

    @pytest.mark.asyncio
    async def test_torn_bytes_make_the_quarantine_be_listed(self) -> None:
        disk = await closed_store(kill=True)
        last = max(name for name in disk.files() if name.startswith("log/0"))
        content = disk.read_file(last)
        end = len(content.rstrip(b"\0"))
        disk.write_file(last, content[: end - 4] + bytes(len(content) - end + 4))
        before = len(disk.calls)
        async with EventStore.open("", bank_registry(), QUIET, disk=disk) as store:
            assert folders_listed(disk, before) == [*FOLDERS, "quarantine"]
            assert store.recovery.quarantined is not None


# ---- reading ---------------------------------------------------------------------------------


def history(records: int, events: int) -> SimulatedDisk:
    """A closed store of so many records of so many events."""
    disk = SimulatedDisk()

    async def write() -> None:
        async with EventStore.open("", bank_registry(), disk=disk, **QUIET) as store:
            for _ in range(records):
                await store.append(*[pay()] * events)

    asyncio.run(write())
    return disk.reopen()


def folds(disk: SimulatedDisk) -> None:
    assert state_at("", bank_registry(), disk=disk).last > 0


def reads(disk: SimulatedDisk) -> None:
    assert sum(1 for _ in read_events("", bank_registry(), disk=disk)) > 0


def replays(disk: SimulatedDisk) -> None:
    assert sum(1 for _ in replay("", bank_registry(), disk=disk)) > 0


def calls_of(calls: Calls, read: Callable[[SimulatedDisk], None], disk: SimulatedDisk) -> int:
    calls.product.clear()
    calls.loop.clear()
    with counting(calls):
        read(disk)
    return calls.product["loop"]


def calls_on_segment(disk: SimulatedDisk, read: Callable[[SimulatedDisk], None]) -> list[Call]:
    before = len(disk.calls)
    read(disk)
    return [call for call in disk.calls[before:] if call.name == SEGMENT]


def chunks_of_log(disk: SimulatedDisk) -> Iterator[Chunk]:
    return LogReader(disk, load_manifest(disk).store, CACHED_BYTES).chunks()


class TestReading:
    @pytest.mark.parametrize(("read", "each"), [(folds, 0), (reads, 0), (replays, 1)])
    def test_an_event_more_of_a_record_costs_no_call(
        self, read: Callable[[SimulatedDisk], None], each: int, calls: Calls
    ) -> None:
        """`replay` is resumed for each event, when the caller asks for the next event."""
        few = calls_of(calls, read, history(20, 10))
        decoded = calls.loop["Decoder.decode"]
        many = calls_of(calls, read, history(20, 30))
        assert many - few <= 400 * each + 10
        assert calls.loop["Decoder.decode"] == decoded, "many records are decoded in one call"

    @pytest.mark.parametrize(("read", "each"), [(folds, 0), (reads, 0), (replays, 1)])
    def test_nor_does_a_record_more(
        self, read: Callable[[SimulatedDisk], None], each: int, calls: Calls
    ) -> None:
        """Records hold one event each. One call of the interpreter reads the lengths."""
        few = calls_of(calls, read, history(100, 1))
        many = calls_of(calls, read, history(300, 1))
        assert many - few <= 200 * each + 10

    @pytest.mark.parametrize("read", [folds, reads, replays])
    def test_a_small_segment_is_read_in_one_call(
        self, read: Callable[[SimulatedDisk], None]
    ) -> None:
        made = [calls_on_segment(history(records, 2), read) for records in (10, 300)]
        assert [call.kind for call in made[1]] == ["open", "size", "read", "close"]
        assert len(made[0]) == len(made[1])

    @pytest.mark.parametrize("read", [folds, reads, replays])
    def test_a_large_one_is_read_twice_in_windows(
        self, read: Callable[[SimulatedDisk], None]
    ) -> None:
        """The file is read once for the checksum and the seal, and once more for decoding."""
        disk = history(2500, 4)
        size = len(disk.read_file(SEGMENT))
        made = calls_on_segment(disk, read)
        windows = -(-size // WINDOW)
        assert windows > 5
        assert sum(call.kind == "read" for call in made) <= 2 * windows + 2
        assert [call.kind for call in made if call.kind != "read"] == [
            *("open", "size", "close"),
            *("open", "close"),
        ]

    def test_reading_a_large_one_takes_no_memory_for_all_of_it(self) -> None:
        disk = history(70, 1000)
        assert len(disk.read_file(SEGMENT)) > 12 * WINDOW
        for _ in chunks_of_log(disk):
            pass
        tracemalloc.start()
        try:
            for _ in chunks_of_log(disk):
                pass
            _, most = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert most < 8 * WINDOW

    @pytest.mark.asyncio
    async def test_opening_reads_the_last_segment_once(self) -> None:
        """Verification and fold use the same bytes. A repair also writes the bytes elsewhere."""
        disk = SimulatedDisk()
        async with EventStore.open("bank", bank_registry(), QUIET, disk=disk) as store:
            await store.append(pay(1))
            await store.snapshot()
            await store.append(pay(2))
            crashed = disk.after_kill()
        async with EventStore.open("bank", bank_registry(), QUIET, disk=crashed) as again:
            assert (again.recovery.events_folded, again.recovery.rewritten) == (1, SEGMENT)
            reads = [call for call in crashed.calls if call.kind == "read" and call.name == SEGMENT]
            assert [call.args for call in reads] == [(0, HEADER_SIZE), (0, 1 << 20)]
