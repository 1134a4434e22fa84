"""One writer: across processes, threads and forks, and however the last one ended."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import threading
import warnings
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from eventstore import EventStore, StoreClosedError, StoreLockedError
from eventstore.disk.local import LocalDisk
from tests.real.children import PATIENCE, Parent
from tests.real.conftest import Start
from tests.torture.ledger import Deposit, Ledger, ledger_registry


def deposit(number: int) -> Deposit:
    return Deposit(number=number, account="cash", amount=1)


async def opened(path: Path | str) -> EventStore[Ledger]:
    return await EventStore.open(path, ledger_registry())


async def can_write(path: Path, seq: int) -> None:
    """Check that the lock is free, and event `seq` the last one."""
    async with EventStore.open(path, ledger_registry()) as store:
        assert store.seq == seq
        await store.append(deposit(seq + 1))


async def owner(parent: Parent, path: str) -> None:
    """Hold the store until told to close."""
    async with EventStore.open(path, ledger_registry()) as store:
        await store.append(deposit(1))
        parent.report("open")
        await asyncio.to_thread(parent.order)
    parent.report("closed")


async def contender(parent: Parent, path: str) -> None:
    """Try to open the store for writing and for reading. Report both outcomes."""
    try:
        await opened(path)
    except StoreLockedError as error:
        parent.report(error.pid, error.path)
    async with EventStore.open(path, ledger_registry(), read_only=True) as reader:
        parent.report(reader.seq)


@pytest.mark.asyncio
async def test_another_process_is_refused_with_the_pid_and_may_read(
    tmp_path: Path, start: Start
) -> None:
    holder = start(owner, str(tmp_path))
    assert holder.report() == ("open",)
    with pytest.raises(StoreLockedError, match=f"process {holder.pid}") as refused:
        await opened(tmp_path)
    assert (refused.value.pid, refused.value.path) == (holder.pid, str(tmp_path))
    other = start(contender, str(tmp_path))
    assert other.report() == (holder.pid, str(tmp_path))
    assert other.report() == (1,)
    holder.tell()
    assert holder.report() == ("closed",)
    await can_write(tmp_path, 1)


@pytest.mark.asyncio
async def test_the_lock_of_a_killed_process_is_free(tmp_path: Path, start: Start) -> None:
    holder = start(owner, str(tmp_path))
    assert holder.report() == ("open",)
    holder.kill()
    assert (tmp_path / "writer.pid").read_text().startswith(f"{holder.pid}\n")
    await can_write(tmp_path, 1)


@pytest.mark.asyncio
async def test_a_stopped_process_still_owns_the_store(tmp_path: Path, start: Start) -> None:
    holder = start(owner, str(tmp_path))
    assert holder.report() == ("open",)
    holder.stop()
    with pytest.raises(StoreLockedError):
        await opened(tmp_path)


@pytest.mark.asyncio
async def test_many_contenders_of_whom_one_wins(tmp_path: Path, start: Start) -> None:
    async with EventStore.open(tmp_path, ledger_registry()):
        pass  # the store exists
    contenders = [start(race, str(tmp_path)) for _ in range(6)]
    for child in contenders:
        child.tell()
    outcomes = [child.report()[0] for child in contenders]
    assert sorted(outcomes) == ["refused"] * 5 + ["won"]
    for child in contenders:
        child.tell()
        child.wait()
    await can_write(tmp_path, 1)


async def race(parent: Parent, path: str) -> None:
    """Open at a signal. The winner appends, and keeps the store until a second signal."""
    parent.order()
    try:
        store = await opened(path)
    except StoreLockedError:
        parent.report("refused")
        parent.order()
        return
    await store.append(deposit(1))
    parent.report("won")
    parent.order()
    await store.close()


@pytest.mark.asyncio
async def test_another_thread_of_the_same_process_is_refused(tmp_path: Path) -> None:
    errors: list[BaseException] = []

    def elsewhere() -> None:
        try:
            asyncio.run(opened_and_closed())
        except StoreLockedError as error:
            errors.append(error)

    async def opened_and_closed() -> None:
        await (await opened(tmp_path)).close()

    async with EventStore.open(tmp_path, ledger_registry()) as store:
        with pytest.raises(StoreLockedError) as refused:
            await opened(tmp_path)
        thread = threading.Thread(target=elsewhere)
        thread.start()
        await asyncio.to_thread(thread.join, PATIENCE)
        (error,) = errors
        assert isinstance(error, StoreLockedError)
        assert error.pid == refused.value.pid == os.getpid()
        # An unrelated open and close in this process drops no lock. With lockf, the lock would be
        # dropped.
        os.close(os.open(tmp_path, os.O_RDONLY))
        (tmp_path / "store.json").read_bytes()
        with pytest.raises(StoreLockedError):
            await opened(tmp_path)
        await store.append(deposit(1))
    await can_write(tmp_path, 1)


# ---- forks -----------------------------------------------------------------------------------


async def forks(parent: Parent, path: str) -> None:
    """Fork with a store open. The fork tries to append, and then lives on without end."""
    store = await opened(path)
    await store.append(deposit(1))
    receipt = store.submit(deposit(2))
    fork = os.fork()
    if fork == 0:
        attempts: list[Callable[[], Awaitable[object]]] = [
            lambda: store.append(deposit(3)),
            lambda: store.submit(deposit(3)),
            lambda: receipt,
            store.flush,
            store.snapshot,
        ]
        for attempt in attempts:
            try:
                await attempt()
            except StoreClosedError as error:
                parent.report("refused", str(error))
            else:
                parent.report("not refused", str(attempt))
        await store.close()  # does nothing
        parent.report("fork", os.getpid())
        signal.pause()
        os._exit(0)
    await receipt
    await store.append(deposit(3))
    parent.report("parent", fork)
    while True:
        await asyncio.to_thread(parent.order)
        await store.close()
        parent.report("closed", 0)


@pytest.mark.asyncio
@pytest.mark.parametrize("end", ["killed", "closed"])
async def test_a_fork_is_refused_and_holds_no_lock(end: str, tmp_path: Path, start: Start) -> None:
    child = start(forks, str(tmp_path))
    reports = [child.report() for _ in range(7)]
    (fork,) = {pid for who, pid in reports if who in ("parent", "fork")}
    try:
        refusals = [text for what, text in reports if what == "refused"]
        assert len(refusals) == 5
        assert all("belongs to the process that opened it" in text for text in refusals)
        with pytest.raises(StoreLockedError) as refused:
            await opened(tmp_path)
        assert refused.value.pid == child.pid
        if end == "killed":
            child.kill()
        else:
            child.tell()
            assert child.report() == ("closed", 0)
        os.kill(fork, 0)  # the child lives, with everything inherited
        await can_write(tmp_path, 3)
    finally:
        os.kill(fork, signal.SIGKILL)


async def forks_while_it_opens(parent: Parent, path: str) -> None:
    """Fork between the opening of the directory and its lock. The fork lives on without end."""
    disk = LocalDisk(path, create=True)
    fork = os.fork()
    if fork == 0:
        parent.report("fork", os.getpid())
        signal.pause()
        os._exit(0)
    async with EventStore.open("", ledger_registry(), disk=disk) as store:
        await store.append(deposit(1))
    parent.report("closed", fork)
    parent.order()


@pytest.mark.asyncio
async def test_a_fork_from_before_the_lock_holds_none_either(tmp_path: Path, start: Start) -> None:
    child = start(forks_while_it_opens, str(tmp_path / "store"))
    told = dict(child.report() for _ in range(2))
    try:
        assert told["fork"] == told["closed"]
        await can_write(tmp_path / "store", 1)
    finally:
        os.kill(told["fork"], signal.SIGKILL)


async def forks_and_ends(parent: Parent, path: str) -> None:
    """Let the fork end first. The fork collects the inherited objects, without a warning."""
    store = await opened(path)
    await store.append(deposit(1))
    fork = os.fork()
    if fork == 0:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            del store
            gc.collect()
        os._exit(len(caught))
    assert (await asyncio.to_thread(os.waitpid, fork, 0))[1] == 0
    parent.report("fork ended")
    await store.append(deposit(2))
    await asyncio.to_thread(parent.order)
    await store.close()


@pytest.mark.asyncio
async def test_the_end_of_a_fork_leaves_the_lock_with_its_parent(
    tmp_path: Path, start: Start
) -> None:
    child = start(forks_and_ends, str(tmp_path))
    assert child.report() == ("fork ended",)
    with pytest.raises(StoreLockedError) as refused:
        await opened(tmp_path)
    assert refused.value.pid == child.pid
    child.tell()
    child.wait()
    await can_write(tmp_path, 2)


async def runs_another_program(parent: Parent, path: str) -> None:
    """Start another program with the store open, and even with descriptors inherited."""
    store = await opened(path)
    await store.append(deposit(1))
    program = await asyncio.create_subprocess_exec("sleep", "1000", close_fds=False)
    parent.report(program.pid)
    parent.order()


@pytest.mark.asyncio
async def test_a_program_started_by_the_owner_inherits_no_lock(
    tmp_path: Path, start: Start
) -> None:
    child = start(runs_another_program, str(tmp_path))
    (program,) = child.report()
    try:
        child.kill()
        await can_write(tmp_path, 1)
    finally:
        os.kill(program, signal.SIGKILL)
