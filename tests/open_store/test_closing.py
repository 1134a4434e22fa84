"""Closing a store: one order of steps, cut off at each, beside whatever else the program does."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import threading
import time
import warnings
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from eventstore import (
    EventLog,
    EventStore,
    EventStoreError,
    StoreClosedError,
    StoreLockedError,
    StoreResourceError,
    blocking_calls,
)
from eventstore.blocking_calls import BackgroundCalls
from eventstore.detached_work import DetachedWork
from eventstore.disk.local import LocalDisk
from eventstore.log import runner
from eventstore.log.commit import GroupCommit
from eventstore.log.durable import DurableLog
from eventstore.log.stall_watch import CommitWatch
from eventstore.shared_threads import Crew
from eventstore.testing import SimulatedDisk
from eventstore.testing.virtual_time import run_in_virtual_time
from tests.support.bank import Bank, bank_after, bank_registry, pay
from tests.support.gates import PATIENCE, GatedDisk, commits, snapshot_writes

NEVER: dict[str, Any] = {"wal_max_entries": None, "auto_save_interval": None}
ONLY: dict[str, Any] = {**NEVER, "use_wal": False}
EVENT_CODEC = "eventstore.event_log.EventCodec"


def cancel_every_task() -> set[asyncio.Task[Any]]:
    """Do as shutdown routines do: cancel all tasks but the one that asks."""
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    return tasks


def forget(stores: list[EventStore[Bank]]) -> None:
    stores.clear()
    gc.collect()


async def turns(number: int) -> None:
    for _ in range(number):
        await asyncio.sleep(0)


# ---- every step, in virtual time -------------------------------------------------------------

Beside = Callable[[EventStore[Bank], list[int]], Awaitable[object]]


async def appends(store: EventStore[Bank], acknowledged: list[int]) -> None:
    """Append until refused."""
    while True:
        acknowledged.append((await store.append(pay(1))).seq)
        await asyncio.sleep(0)  # without a log nothing is waited for


async def flushes(store: EventStore[Bank], acknowledged: list[int]) -> None:
    store.submit(pay(1))
    await store.flush()
    acknowledged.append(store.seq)


async def snapshots(store: EventStore[Bank], acknowledged: list[int]) -> None:
    while True:
        acknowledged.append(await store.snapshot())
        await store.append(pay(1))
        await asyncio.sleep(0)


async def follows(store: EventStore[Bank], acknowledged: list[int]) -> None:
    async with store.subscribe(after=0) as events:
        seen = [event.seq async for event in events]
    assert seen == list(range(1, len(seen) + 1))
    acknowledged += seen


async def subscribes(store: EventStore[Bank], acknowledged: list[int]) -> None:
    while True:
        async with store.subscribe() as events:
            async for event in events:
                acknowledged.append(event.seq)
                break
            else:
                return


async def reads(store: EventStore[Bank], acknowledged: list[int]) -> None:
    while True:
        seen = [event.seq async for event in store.events()]
        assert seen == list(range(1, len(seen) + 1))
        acknowledged += seen


async def closes(store: EventStore[Bank], acknowledged: list[int]) -> None:
    await store.close()


BESIDE: list[Beside] = [appends, flushes, snapshots, follows, subscribes, reads, closes]
KINDS: dict[str, dict[str, Any]] = {
    "with a log": {**NEVER, "wal_max_entries": 4},
    "synced at times": {**NEVER, "wal_max_entries": 4, "durability": "interval"},
    "snapshots only": ONLY,
}


async def cut_off(kind: str, beside: Beside, after: int, cancels: str) -> bool:
    """Close beside something, and cancel a number of turns later. Says whether it was over."""
    disk = SimulatedDisk()
    options = {"segment_size": 4096, **KINDS[kind]}
    store = await EventStore.open("", bank_registry(), disk=disk, **options)
    acknowledged = [(await store.append(pay(1))).seq for _ in range(3)]
    acknowledged += [store.submit(pay(1)).seq for _ in range(3)]  # durable when close returns
    others = asyncio.ensure_future(beside(store, acknowledged))
    await turns(3)
    closing = asyncio.ensure_future(store.close())
    await turns(after)
    over = closing.done()
    if cancels == "all":
        await asyncio.wait(cancel_every_task() | {closing})
    elif cancels == "one":
        closing.cancel()
        await asyncio.wait([closing])
    await store.close()
    calls = len(disk.calls)
    with pytest.raises(StoreClosedError):
        store.submit(pay(1))
    with pytest.raises(StoreClosedError):
        store.subscribe()
    with pytest.raises(StoreClosedError):
        await store.snapshot()
    outcome = (await asyncio.gather(others, return_exceptions=True))[0]  # nothing waits any more
    if beside in (follows, reads) and kind == "snapshots only":
        assert isinstance(outcome, EventStoreError | asyncio.CancelledError)
    elif not isinstance(outcome, asyncio.CancelledError | StoreClosedError):
        assert outcome is None
    await asyncio.sleep(1000)
    assert disk.calls[calls:] == [], "nothing of the store is at work"
    assert [name for name in disk.files() if "tmp" in name] == []
    async with EventStore.open("", bank_registry(), disk=disk.reopen(), **options) as again:
        assert again.seq >= max(acknowledged)
        assert again.seq == store.seq
        assert again.state == bank_after(*[1] * again.seq)
        assert again.recovery.clean
    return over


@pytest.mark.parametrize("kind", list(KINDS))
@pytest.mark.parametrize("beside", BESIDE)
@pytest.mark.parametrize("cancels", ["none", "one", "all"])
def test_every_step_of_closing_may_be_the_last(
    kind: str, beside: Beside, cancels: str, caplog: pytest.LogCaptureFixture
) -> None:
    after, over = 0, False
    while not over:
        over = run_in_virtual_time(cut_off(kind, beside, after, cancels))
        after += 1
    assert after > 3
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


# ---- real threads ----------------------------------------------------------------------------


class TestThreads:
    """A thread cannot be cancelled: its end is waited for, not the end of who waits for it."""

    @pytest.mark.asyncio
    @pytest.mark.parametrize("options", [NEVER, ONLY])
    async def test_the_next_snapshot_begins_when_the_thread_has_ended(
        self, options: dict[str, Any], tmp_path: Path
    ) -> None:
        disk = GatedDisk(tmp_path / "s", snapshot_writes)
        store = await EventStore.open("", bank_registry(), disk=disk, **options)
        await store.append(pay(5))
        disk.gate.shut()
        asked = asyncio.ensure_future(store.snapshot())
        await disk.gate.reached()
        await asyncio.wait(cancel_every_task())
        assert asked.cancelled()
        await store.append(pay(6))
        second = asyncio.ensure_future(store.snapshot())
        await turns(20)
        assert not second.done()
        assert os.listdir(tmp_path / "s" / "snapshots") == ["new.tmp"]
        disk.gate.open()
        async with asyncio.timeout(PATIENCE):
            assert await second == 2
            await store.close()
        assert sorted(os.listdir(tmp_path / "s" / "snapshots")) == [
            f"{seq:020d}.snap" for seq in (1, 2)
        ]
        async with EventStore.open(tmp_path / "s", bank_registry(), **options) as again:
            assert (again.seq, again.state) == (2, bank_after(5, 6))
            assert again.recovery.snapshots_rejected == ()

    @pytest.mark.asyncio
    @pytest.mark.parametrize("options", [NEVER, ONLY])
    async def test_a_closing_goes_on_when_every_task_is_cancelled(
        self, options: dict[str, Any], tmp_path: Path
    ) -> None:
        at = snapshot_writes if options is ONLY else commits
        disk = GatedDisk(tmp_path / "s", at)
        store = await EventStore.open("", bank_registry(), disk=disk, **options)
        await store.append(pay(5))
        disk.gate.shut()
        receipt = store.submit(pay(6))
        closing = asyncio.ensure_future(store.close())
        await disk.gate.reached()
        await asyncio.wait(cancel_every_task())
        assert closing.cancelled()
        disk.gate.open()
        async with asyncio.timeout(PATIENCE):
            await store.close()
        assert (await receipt).seq == 2
        async with EventStore.open(tmp_path / "s", bank_registry(), **options) as again:
            assert (again.state, again.recovery.clean) == (bank_after(5, 6), True)

    @pytest.mark.asyncio
    @pytest.mark.parametrize("kind", ["writer", "read_only", "snapshots only"])
    async def test_the_disk_is_closed_after_the_last_call(self, kind: str, tmp_path: Path) -> None:
        """Also where nobody waits for the call any more."""
        path = tmp_path / "s"
        options = {
            **(ONLY if kind == "snapshots only" else NEVER),
            "read_only": kind == "read_only",
        }
        async with EventStore.open(path, bank_registry(), use_wal=kind != "snapshots only"):
            pass
        disk = LocalDisk(path, read_only=kind == "read_only")
        store = await EventStore.open("", bank_registry(), disk=disk, **options)
        begun, goes_on = threading.Event(), threading.Event()

        def late() -> list[str]:
            begun.set()
            assert goes_on.wait(PATIENCE)
            return disk.list()

        reading = asyncio.ensure_future(store.log.run(late))
        assert await asyncio.to_thread(begun.wait, PATIENCE)
        reading.cancel()
        closing = asyncio.ensure_future(store.close())
        for _ in range(10):
            await asyncio.sleep(0.001)
        assert not closing.done()
        assert "store.json" in disk.list(), "the disk is open as long as somebody uses it"
        with pytest.raises(StoreClosedError):
            await store.log.run(disk.list)
        goes_on.set()
        async with asyncio.timeout(PATIENCE):
            await closing
        with pytest.raises(OSError, match="the disk is closed"):
            disk.list("log")

    @pytest.mark.asyncio
    @pytest.mark.parametrize("kind", ["writer", "read_only", "snapshots only"])
    async def test_a_forgotten_store_frees_its_lock_after_the_last_call(
        self, kind: str, tmp_path: Path
    ) -> None:
        path = tmp_path / "s"
        options = {
            **(ONLY if kind == "snapshots only" else NEVER),
            "read_only": kind == "read_only",
        }
        async with EventStore.open(path, bank_registry(), use_wal=kind != "snapshots only"):
            pass
        disk = LocalDisk(path, read_only=kind == "read_only")
        stores = [await EventStore.open("", bank_registry(), disk=disk, **options)]
        begun, goes_on = threading.Event(), threading.Event()
        closed: list[bool] = []

        def late() -> None:
            begun.set()
            assert goes_on.wait(PATIENCE)
            closed.append("store.json" not in disk.list())

        log = stores[0].log
        reading = asyncio.ensure_future(log.run(late))
        assert await asyncio.to_thread(begun.wait, PATIENCE)
        with pytest.warns(ResourceWarning, match="was not closed"):
            stores.clear()
        gc.collect()
        with pytest.raises(StoreClosedError, match="was not closed"):
            await log.run(disk.list)
        goes_on.set()
        await reading
        assert closed == [False]
        async with asyncio.timeout(PATIENCE):
            while disk._folders:  # noqa: ASYNC110  another thread empties it
                await asyncio.sleep(0.001)

    @pytest.mark.asyncio
    @pytest.mark.parametrize("kind", ["store", "log"])
    @pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
    async def test_a_forgotten_one_frees_its_lock_where_warnings_are_errors(
        self, kind: str, tmp_path: Path
    ) -> None:
        disk = LocalDisk(tmp_path)
        if kind == "store":
            opened: list[Any] = [await EventStore.open("", bank_registry(), disk=disk, **NEVER)]
        else:
            opened = [await EventLog.open(disk=disk)]
        with warnings.catch_warnings():
            warnings.simplefilter("error", ResourceWarning)
            opened.clear()
            gc.collect()
        async with asyncio.timeout(PATIENCE):
            while disk._folders:  # noqa: ASYNC110  another thread empties it
                await asyncio.sleep(0.001)

    @pytest.mark.asyncio
    @pytest.mark.parametrize("durability", ["interval", "none", "commit"])
    async def test_whoever_asks_while_a_store_is_closed_is_answered(
        self, durability: str, tmp_path: Path
    ) -> None:
        disk = GatedDisk(tmp_path / "s", snapshot_writes)
        store = await EventStore.open(
            "", bank_registry(), disk=disk, durability=durability, sync_interval=60.0, **NEVER
        )
        await store.append(pay(1))
        disk.gate.shut()
        first = asyncio.ensure_future(store.snapshot())
        await disk.gate.reached()
        await store.append(pay(2))
        second = asyncio.ensure_future(store.snapshot())  # waits for the first, then begins another
        flushing = asyncio.ensure_future(store.flush())
        await asyncio.sleep(0)
        closing = asyncio.ensure_future(store.close())
        await asyncio.sleep(0)
        disk.gate.open()
        async with asyncio.timeout(PATIENCE):
            await closing
            assert await first == 1
            with pytest.raises(StoreClosedError, match="no snapshot was taken"):
                await second
            await flushing
        for ask in (store.snapshot, store.flush):
            with pytest.raises(StoreClosedError):
                await asyncio.wait_for(ask(), PATIENCE)

    @pytest.mark.asyncio
    async def test_a_snapshot_that_the_last_commits_make_due_is_not_begun(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        disk = GatedDisk(tmp_path / "s", snapshot_writes)
        store = await EventStore.open(
            "",
            bank_registry(),
            disk=disk,
            wal_max_entries=3,
            auto_save_interval=None,
            slow_sync=3600.0,
        )
        await store.append(pay(5))
        disk.gate.shut()
        for _ in range(5):
            store.submit(pay(5))
        closing = asyncio.ensure_future(store.close())
        for _ in range(20):
            await asyncio.sleep(0.001)
        disk.gate.open()
        async with asyncio.timeout(PATIENCE):
            await closing
        assert not (tmp_path / "s" / "snapshots").exists()
        assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []
        async with EventStore.open(tmp_path / "s", bank_registry(), **NEVER) as again:
            assert again.state == bank_after(*[5] * 6)

    @pytest.mark.asyncio
    async def test_what_is_put_behind_the_end_is_refused(self, tmp_path: Path) -> None:
        """By a fault of eventstore, perhaps: nobody is told that it was written."""
        store = await EventStore.open(tmp_path, bank_registry(), **NEVER)
        await store.append(pay(1))
        appender = store.log.appender
        await store.close()
        receipt = appender.submit(2, b"an event", 1, 0, 0)
        with pytest.raises(StoreClosedError):
            await asyncio.wait_for(receipt, PATIENCE)

    @pytest.mark.asyncio
    async def test_the_last_job_syncs_for_whoever_asks_behind_it(self, tmp_path: Path) -> None:
        disk = GatedDisk(tmp_path / "s", commits)
        store = await EventStore.open(
            "", bank_registry(), disk=disk, durability="interval", sync_interval=60.0, **NEVER
        )
        await store.append(pay(5))
        disk.gate.shut()
        closing = asyncio.ensure_future(store.close())
        await disk.gate.reached()
        asked = [asyncio.ensure_future(store.log.sync()) for _ in range(2)]
        await asyncio.sleep(0)
        asked[0].cancel()
        await asyncio.wait(asked[:1])
        assert not asked[1].done()
        disk.gate.open()
        async with asyncio.timeout(PATIENCE):
            await closing
            await asked[1]

    def test_a_store_whose_loop_has_ended_says_so(self, tmp_path: Path) -> None:
        stores = [asyncio.run(_opened(tmp_path / "s"))]

        async def closes() -> str:
            try:
                await asyncio.wait_for(stores[0].close(), PATIENCE)
            except StoreClosedError as error:
                return str(error)
            return ""

        assert "the event loop of its opening, which is closed" in asyncio.run(closes())
        with pytest.warns(ResourceWarning, match="was not closed"):
            forget(stores)

    def test_a_store_on_a_loop_that_lives_is_closed_there(self, tmp_path: Path) -> None:
        with asyncio.Runner() as own:
            store = own.run(_opened(tmp_path / "s"))
            log = own.run(_opened_log(tmp_path / "log"))
            for thing in (store, log):
                with pytest.raises(StoreClosedError, match="which is another one"):
                    asyncio.run(asyncio.wait_for(thing.close(), PATIENCE))
            own.run(store.close())
            own.run(log.close())

    def test_an_interrupt_in_a_step_leaves_the_rest_to_the_next_close(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with asyncio.Runner() as runner:
            store = runner.run(_opened(tmp_path / "s"))
            with monkeypatch.context() as patch:
                patch.setattr(store.log, "drain", _interrupt)
                with pytest.raises(KeyboardInterrupt):
                    runner.run(store.close())
            runner.run(store.close())
            runner.run(_opens_clean(tmp_path / "s"))

    @pytest.mark.parametrize("opens", ["store", "log"])
    def test_an_exception_of_a_signal_handler_leaves_no_lock(
        self, opens: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def out_of_time(calls: BackgroundCalls) -> None:
            raise TimeoutError("of a signal handler")

        with asyncio.Runner() as runner:
            opened = _opened(tmp_path / "s") if opens == "store" else _opened_log(tmp_path / "s")
            thing: Any = runner.run(opened)
            monkeypatch.setattr(BackgroundCalls, "finish", out_of_time)
            with pytest.raises(TimeoutError, match="of a signal handler"):
                runner.run(thing.close())
            disk = LocalDisk(tmp_path / "s")
            disk.lock()
            disk.close()

    @pytest.mark.parametrize("opens", ["store", "log"])
    @pytest.mark.parametrize(
        "step",
        [
            (GroupCommit, "close"),
            (GroupCommit, "_run_between_commits"),
            (GroupCommit, "_start_next_guarded"),
            (CommitWatch, "end"),
            (DurableLog, "drain"),
        ],
    )
    @pytest.mark.parametrize("error", [TimeoutError, KeyboardInterrupt])
    @pytest.mark.parametrize("before", [True, False])
    def test_an_exception_of_a_signal_handler_in_the_last_step_leaves_no_lock(
        self,
        opens: str,
        step: tuple[type[Any], str],
        error: type[BaseException],
        before: bool,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """Raised once, as such an exception is, and then nobody else closes the store."""
        with asyncio.Runner() as runner:
            opened = _opened(tmp_path / "s") if opens == "store" else _opened_log(tmp_path / "s")
            thing: Any = runner.run(opened)
            _raise_once(monkeypatch, *step, error, before=before)
            with contextlib.suppress(error):
                runner.run(thing.close())
            if error is KeyboardInterrupt:
                runner.run(asyncio.wait_for(thing.close(), PATIENCE))
            disk = LocalDisk(tmp_path / "s")
            disk.lock()
            disk.close()
            with contextlib.suppress(error):  # the outcome of the closing
                runner.run(asyncio.wait_for(thing.close(), PATIENCE))


def _raise_once(
    patch: pytest.MonkeyPatch,
    owner: type[Any],
    name: str,
    error: type[BaseException],
    *,
    before: bool,
) -> None:
    """Have the next call of a method raise `error`, before or after all that the call does."""
    real, left = getattr(owner, name), [error]

    def interrupted(*arguments: Any) -> Any:
        raised = left.pop() if left else None
        if raised is not None and before:
            raise raised
        result = real(*arguments)
        if raised is None:
            return result
        if not asyncio.iscoroutine(result):
            raise raised

        async def then_interrupted() -> None:
            await result
            raise raised

        return then_interrupted()

    patch.setattr(owner, name, interrupted)


async def _opened(path: Path) -> EventStore[Bank]:
    store = await EventStore.open(path, bank_registry())
    await store.append(pay(5))
    return store


async def _opens_clean(path: Path) -> None:
    async with EventStore.open(path, bank_registry()) as store:
        assert (store.state, store.recovery.clean) == (bank_after(5), True)


async def _opened_log(path: Path) -> EventLog[bytes]:
    return await EventLog.open(path)


async def _interrupt() -> None:
    raise KeyboardInterrupt


# ---- what a forgotten store says -------------------------------------------------------------


async def forgotten(opening: Any, *amounts: int, snapshot_after: int = 0) -> str:
    """What is said of a store that is dropped after some events."""
    stores = [await opening]
    for number, amount in enumerate(amounts, 1):
        await stores[0].append(pay(amount))
        if number == snapshot_after:
            await stores[0].snapshot()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        stores.clear()
        gc.collect()
    [warning] = caught
    assert warning.category is ResourceWarning
    text = str(warning.message)
    assert "was not closed: use `async with`, or await close()." in text
    return text


@pytest.mark.asyncio
class TestWhatAForgottenStoreSays:
    async def test_with_a_log(self) -> None:
        opening = EventStore.open("", bank_registry(), disk=SimulatedDisk(), **NEVER)
        assert (await forgotten(opening, 1, 2)).endswith("Nothing that was acknowledged is lost")

    async def test_with_a_log_that_is_synced_at_times(self) -> None:
        opening = EventStore.open(
            "", bank_registry(), disk=SimulatedDisk(), durability="none", **NEVER
        )
        assert "unless the system fails before" in await forgotten(opening, 1, 2)

    async def test_snapshots_only(self) -> None:
        disk = SimulatedDisk()
        said = await forgotten(
            EventStore.open("", bank_registry(), disk=disk, **ONLY), 1, 2, 3, snapshot_after=1
        )
        assert "Events 2 to 3 are lost" in said
        assert "Nothing" not in said
        async with EventStore.open("", bank_registry(), disk=disk.reopen(), **ONLY) as again:
            assert again.seq == 1

    async def test_snapshots_only_and_one_of_everything(self) -> None:
        opening = EventStore.open("", bank_registry(), disk=SimulatedDisk(), **ONLY)
        said = await forgotten(opening, 1, 2, snapshot_after=2)
        assert "Nothing that was acknowledged is lost" in said

    async def test_in_memory(self) -> None:
        assert "in memory only" in await forgotten(EventStore.in_memory(bank_registry()), 1)


# ---- an opening that fails at its end --------------------------------------------------------


class TestAnOpeningThatFails:
    """It frees the directory before it is told, and says what happened in the store's words."""

    @pytest.mark.asyncio
    @pytest.mark.parametrize("kind", ["store", "log"])
    async def test_without_a_thread(
        self, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        opens = _opened if kind == "store" else _opened_log
        await (await opens(tmp_path / "s")).close()
        before = _descriptors()
        start = threading.Thread.start

        def refuses(thread: threading.Thread) -> None:
            if thread.name == "eventstore-writer":
                raise RuntimeError("can't start new thread")
            start(thread)

        with monkeypatch.context() as patch:
            patch.setattr(runner, "WRITERS", Crew("eventstore-writer", 8))
            patch.setattr(threading.Thread, "start", refuses)
            with pytest.raises(StoreResourceError, match="no thread") as caught:
                await opens(tmp_path / "s")
        assert caught.value.__cause__ is not None  # the error, and so its traceback, is held
        assert _descriptors() == before
        await (await opens(tmp_path / "s")).close()

    @pytest.mark.asyncio
    async def test_without_a_pipe(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuses() -> tuple[int, int]:
            raise OSError(24, "Too many open files")

        with monkeypatch.context() as patch:
            patch.setattr(os, "pipe", refuses)
            with pytest.raises(StoreResourceError, match="EMFILE") as caught:
                await _opened(tmp_path / "s")
        assert caught.value.errno == 24
        await (await _opened(tmp_path / "s")).close()

    @pytest.mark.asyncio
    @pytest.mark.parametrize("kind", ["store", "log"])
    async def test_in_a_part_that_is_made_last(
        self, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuses(*arguments: object, **options: object) -> None:
            raise ValueError("no such part")

        part = "eventstore.open_store.parts.SnapshotKeeper" if kind == "store" else EVENT_CODEC
        opens = _opened if kind == "store" else _opened_log
        with monkeypatch.context() as patch:
            patch.setattr(part, refuses)
            with pytest.raises(ValueError, match="no such part") as caught:
                await opens(tmp_path / "s")
        assert caught.tb is not None  # the error, and so its traceback, is held
        async with asyncio.timeout(PATIENCE):
            while True:
                try:  # the log's thread frees the lock
                    await (await opens(tmp_path / "s")).close()
                    return
                except StoreLockedError:
                    await asyncio.sleep(0.001)

    @pytest.mark.asyncio
    async def test_without_a_thread_to_open_on(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuses(thread: threading.Thread) -> None:
            raise RuntimeError("can't start new thread")

        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", refuses)
            with pytest.raises(StoreResourceError, match="no thread"):
                await _opened(tmp_path / "s")
        await asyncio.to_thread(lambda: None)  # a thread that finds what was queued before
        assert not (tmp_path / "s").exists(), "nothing was begun, and nothing begins later"

    @pytest.mark.asyncio
    async def test_a_snapshot_and_a_reading_without_a_thread(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(blocking_calls, "BACKGROUND", Crew("eventstore-background", 4))
        async with EventStore.open(tmp_path / "s", bank_registry(), **NEVER) as store:

            def refuses(thread: threading.Thread) -> None:
                raise RuntimeError("can't start new thread")

            with monkeypatch.context() as patch:
                patch.setattr(threading.Thread, "start", refuses)
                await store.append(pay(5))
                with pytest.raises(StoreResourceError):
                    await store.snapshot()
                with pytest.raises(StoreResourceError):
                    [event async for event in store.events()]
            await store.append(pay(6))
            assert await store.snapshot() == 2


def _descriptors() -> int:
    folder = "/proc/self/fd" if os.path.isdir("/proc/self/fd") else "/dev/fd"
    return len(os.listdir(folder))


# ---- detached work and background calls ------------------------------------------------------


@pytest.mark.asyncio
class TestDetachedWork:
    async def test_it_is_no_task(self) -> None:
        before = asyncio.all_tasks()
        work = DetachedWork(turns(3))
        assert asyncio.all_tasks() == before
        await work.wait()
        assert work.done
        assert not work.interrupted

    async def test_everybody_who_waits_gets_an_error_of_their_own(self) -> None:
        async def fails() -> None:
            raise StoreClosedError("closed", path="p")

        told: list[BaseException | None] = []
        work = DetachedWork(fails(), told.append)
        caught = await asyncio.gather(work.wait(), work.wait(), return_exceptions=True)
        assert [str(error) for error in caught] == ["closed", "closed"]
        assert caught[0] is not caught[1]
        assert [str(error) for error in told] == ["closed"]

    async def test_it_awaits_what_others_await(self) -> None:
        future = asyncio.get_running_loop().create_future()

        async def awaits() -> int:
            return int(await future)

        work = DetachedWork(awaits())
        other = asyncio.ensure_future(awaits())
        await turns(2)
        future.set_result(7)
        assert (await work.wait(), await other) == (7, 7)

    async def test_a_flood_of_leaving_waiters_takes_linear_time(self) -> None:
        """Eight times as many take eight times as long, where a quadratic cost takes 64 times."""

        async def seconds(count: int) -> float:
            gate = asyncio.get_running_loop().create_future()

            async def waits() -> None:
                await gate

            work = DetachedWork(waits())
            tasks = [asyncio.ensure_future(work.settled()) for _ in range(count)]
            await turns(3)
            gc.collect()
            gc.disable()  # the collector's walks are not what is compared
            began = time.process_time()
            try:
                for task in tasks:
                    task.cancel()
                await asyncio.wait(tasks)
                return time.process_time() - began
            finally:
                gc.enable()
                gate.set_result(None)
                await work.wait()

        few, many = [min([await seconds(count) for _ in range(3)]) for count in (2000, 16000)]
        assert many < 24 * few

    async def test_background_calls_say_what_they_are_about(self, tmp_path: Path) -> None:
        calls = BackgroundCalls(LocalDisk(tmp_path), 1)
        assert "0 under way" in repr(calls)
        await calls.close(lambda: None)
        assert "refused" in repr(calls)
        with pytest.raises(StoreClosedError):
            await calls.run(os.getpid)


@pytest.mark.asyncio
@pytest.mark.parametrize("kind", ["in memory", "read-only", "log", "read-only log"])
async def test_a_running_store_is_closed_on_its_own_loop(kind: str, tmp_path: Path) -> None:
    """Another thread would end its waits where nobody is woken."""
    path, registry = tmp_path / "store", bank_registry()
    read_only = kind.startswith("read-only")
    opening: Any
    if kind.endswith("log"):
        async with EventLog.open(path) as log:
            await log.append(1)
        opening = EventLog.open(path, read_only=read_only)
    elif read_only:
        await (await EventStore.open(path, registry)).close()
        opening = EventStore.open(path, registry, read_only=True)
    else:
        opening = EventStore.in_memory(registry)
    store = await opening
    with pytest.raises(StoreClosedError, match="is another one: close the store there"):
        await asyncio.to_thread(lambda: asyncio.run(store.close()))
    if not read_only:
        await store.append(1 if kind == "log" else pay(1))
    await store.close()


def test_what_needs_no_loop_is_closed_on_any_loop_once_its_own_has_ended() -> None:
    store = asyncio.run(_in_memory())
    asyncio.run(store.close())
    assert "closed" in repr(store)


async def _in_memory() -> EventStore[Bank]:
    return await EventStore.in_memory(bank_registry())
